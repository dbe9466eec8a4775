"""The client's side of SOCKS5, bytes in and bytes out (RFC 1928, RFC 1929; spec 04 section 6).

Destinations are never looked up here: a name travels as a name. Every answer is waited for before the next message.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from struct import pack

from meshnode.transports.addresses import HostName, SocketAddress

REFUSED = 5
_NO_AUTHENTICATION, _PASSWORD = 0, 2
_IPV4, _NAME, _IPV6 = 1, 3, 4

_REPLIES = {
    1: "the proxy cannot reach it",
    2: "the proxy does not allow it",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "the time to live ran out",
    7: "the proxy does not know this command",
    8: "the proxy does not know this kind of address",
    # Extended answers of Tor (tor manual, ExtendedErrors).
    0xF0: "the onion service has published no descriptor",
    0xF1: "the descriptor of the onion service is invalid",
    0xF2: "the introduction to the onion service failed",
    0xF3: "the rendezvous with the onion service failed",
    0xF4: "the onion service wants client authorization",
    0xF5: "the onion service refuses our client authorization",
    0xF6: "this is no valid onion address",
    0xF7: "the introduction to the onion service timed out",
}


class SocksError(Exception):
    """The proxy said no, or nothing sensible; `reply` is its code, where it gave one."""

    def __init__(self, text: str, reply: int | None = None) -> None:
        super().__init__(text)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a proxy is told of the user; with Tor, streams of different ones never share a circuit."""

    user: str
    password: str

    def encode(self) -> bytes:
        """RFC 1929; raises ValueError when either is not 1 to 255 bytes long."""
        user, password = self.user.encode(), self.password.encode()
        if not (0 < len(user) < 256 and 0 < len(password) < 256):
            raise ValueError("SOCKS user names and passwords are 1 to 255 bytes long")
        return pack("BB", 1, len(user)) + user + pack("B", len(password)) + password


class SocksClient:
    """One request to connect: feed what arrives, send what `feed` returns, until `done`; `rest` is the stream's."""

    def __init__(self, target: SocketAddress | HostName, credentials: Credentials | None = None) -> None:
        self.done = False
        self.rest = b""
        self._request = pack("BBB", 5, 1, 0) + _encode(target)
        self._credentials = None if credentials is None else credentials.encode()
        self._expects = self._method

    def greeting(self) -> bytes:
        """The first message."""
        return b"\x05\x01\x00" if self._credentials is None else b"\x05\x02\x00\x02"

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the proxy; returns what to send next. Raises `SocksError`."""
        self.rest += data
        out = b""
        while not self.done:
            answer = self._expects()
            if answer is None:
                break
            out += answer
        return out

    def _take(self, count: int) -> bytes | None:
        if len(self.rest) < count:
            return None
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def _method(self) -> bytes | None:
        chosen = self._take(2)
        if chosen is None:
            return None
        if chosen[0] != 5:
            raise SocksError("the proxy does not speak SOCKS5")
        if chosen[1] == _PASSWORD and self._credentials is not None:
            self._expects = self._authenticated
            return self._credentials
        if chosen[1] != _NO_AUTHENTICATION:
            raise SocksError("the proxy wants another way of authentication")
        self._expects = self._reply
        return self._request

    def _authenticated(self) -> bytes | None:
        verdict = self._take(2)
        if verdict is None:
            return None
        if verdict[1] != 0:
            raise SocksError("the proxy refuses user name and password")
        self._expects = self._reply
        return self._request

    def _reply(self) -> bytes | None:
        if len(self.rest) >= 2 and self.rest[1] != 0:
            code = self.rest[1]
            raise SocksError(_REPLIES.get(code, f"the proxy answers with code {code}"), code)
        if len(self.rest) < 5:
            return None
        lengths = {_IPV4: 4, _IPV6: 16, _NAME: 1 + self.rest[4]}
        length = lengths.get(self.rest[3])
        if self.rest[0] != 5 or length is None:
            raise SocksError("the proxy does not speak SOCKS5")
        if self._take(4 + length + 2) is None:
            return None
        self.done = True
        return b""


def _encode(target: SocketAddress | HostName) -> bytes:
    if isinstance(target, HostName):
        name = target.host.encode("ascii")
        return pack("BB", _NAME, len(name)) + name + pack(">H", target.port)
    family, kind = (socket.AF_INET, _IPV4) if len(target) == 2 else (socket.AF_INET6, _IPV6)
    return pack("B", kind) + socket.inet_pton(family, target[0]) + pack(">H", target[1])
