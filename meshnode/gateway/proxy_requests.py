"""What clients of the proxy say, read from bytes: SOCKS5 (RFC 1928) and HTTP (RFC 9112), on one port.

No input or output. A conversation is fed with everything the client has sent so far that was not used up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

MOST_HEAD = 8192
"""Bytes a client may need to say what it wants."""

_SOCKS = 5
_NO_AUTHENTICATION, _NO_METHOD = 0, 0xFF
_CONNECT, _BY_NAME = 1, 3
_ADDRESS_SIZE = {1: 4, 4: 16}
_HOP_HEADERS = (b"connection", b"proxy-connection", b"proxy-authorization", b"keep-alive")
_ZONE = ".fips"
_MOST_DIGITS = 5
PAC_PATHS = (b"/proxy.pac", b"/wpad.dat")


class Trouble(IntEnum):
    """Why a request is not granted; the values are SOCKS5's."""

    GENERAL = 1
    NOT_ALLOWED = 2
    NO_SUCH_NAME = 4
    REFUSED = 5
    NOT_SUPPORTED = 7
    NOT_BY_ADDRESS = 8


_HTTP_STATUS = {
    Trouble.GENERAL: ("504 Gateway Timeout", "the node behind that name does not answer"),
    Trouble.NOT_ALLOWED: ("403 Forbidden", "only names under .fips are reached from here"),
    Trouble.NO_SUCH_NAME: ("502 Bad Gateway", "there is no such name in the mesh"),
    Trouble.REFUSED: ("502 Bad Gateway", "nobody listens on that port"),
    Trouble.NOT_SUPPORTED: ("501 Not Implemented", "this is a proxy for http:// and CONNECT"),
    Trouble.NOT_BY_ADDRESS: ("403 Forbidden", "nodes are reached by name, not by address"),
}


class RequestRefused(Exception):
    """A request that cannot be granted. `answer` is what the client is told before the end."""

    def __init__(self, trouble: Trouble, answer: bytes) -> None:
        super().__init__(trouble.name)
        self.trouble = trouble
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Wanted:
    """A connection to `port` of `name`. `granted` is said to the client when it stands, `head` to the other side."""

    name: str
    port: int
    socks: bool
    granted: bytes = b""
    head: bytes = b""

    def refusal(self, trouble: Trouble) -> bytes:
        """What the client is told when it does not stand."""
        return _socks_answer(trouble) if self.socks else http_refusal(trouble)


@dataclass(frozen=True, slots=True)
class Page:
    """The client wants the file that leads browsers here; `host` is how it called us."""

    host: str

    def answer(self) -> bytes:
        """The whole response."""
        script = (
            "function FindProxyForURL(url, host) {\n"
            '  return dnsDomainIs(host, ".fips") ? "SOCKS5 HOST; PROXY HOST" : "DIRECT";\n'
            "}\n"
        ).replace("HOST", self.host)
        return _http("200 OK", "application/x-ns-proxy-autoconfig", script)


class Conversation:
    """One client, from its first byte to what it wants."""

    def __init__(self) -> None:
        self._data = b""
        self._greeted = False
        self.to_client = b""
        """What has to be sent to the client before it goes on; the caller takes it."""

    def feed(self, data: bytes) -> Wanted | Page | None:
        """Take more bytes; returns what is wanted once that is clear. Raises `RequestRefused`."""
        self._data += data
        if len(self._data) > MOST_HEAD:
            raise RequestRefused(Trouble.GENERAL, b"")
        if not self._data:
            return None
        return self._socks() if self._greeted or self._data[0] == _SOCKS else self._http()

    @property
    def rest(self) -> bytes:
        """What the client sent behind its request."""
        return self._data

    # -- SOCKS5

    def _socks(self) -> Wanted | None:
        data = self._data
        if not self._greeted:
            if len(data) < 2 or len(data) < 2 + data[1]:
                return None
            if _NO_AUTHENTICATION not in data[2 : 2 + data[1]]:
                raise RequestRefused(Trouble.GENERAL, bytes((_SOCKS, _NO_METHOD)))
            self._greeted = True
            self.to_client += bytes((_SOCKS, _NO_AUTHENTICATION))
            self._data = data = data[2 + data[1] :]
        return self._socks_request(data)

    def _socks_request(self, data: bytes) -> Wanted | None:
        if len(data) < 5:
            return None
        version, command, _, kind, length = data[:5]
        size = 5 + length if kind == _BY_NAME else 4 + _ADDRESS_SIZE.get(kind, 0)
        if len(data) < size + 2:
            return None
        if version != _SOCKS or command != _CONNECT:
            raise RequestRefused(Trouble.NOT_SUPPORTED, _socks_answer(Trouble.NOT_SUPPORTED))
        if kind != _BY_NAME:
            raise RequestRefused(Trouble.NOT_BY_ADDRESS, _socks_answer(Trouble.NOT_BY_ADDRESS))
        self._data = data[size + 2 :]
        wanted = Wanted(_text(data[5:size]), int.from_bytes(data[size : size + 2], "big"), True, _socks_answer(0))
        return _allowed(wanted)

    # -- HTTP

    def _http(self) -> Wanted | Page | None:
        head, end, rest = self._data.partition(b"\r\n\r\n")
        if not end:
            return None
        self._data = rest
        line, *headers = head.split(b"\r\n")
        try:
            method, target, version = line.split(b" ")
        except ValueError:
            raise _http_refused(Trouble.NOT_SUPPORTED) from None
        if method == b"CONNECT":
            name, port = _host_port(target, 443)
            return _allowed(Wanted(name, port, False, b"HTTP/1.1 200 Connection established\r\n\r\n"))
        if method == b"GET" and target in PAC_PATHS:
            return Page(_text(_header(headers, b"host")))
        if not target.lower().startswith(b"http://"):
            raise _http_refused(Trouble.NOT_SUPPORTED)
        authority, slash, path = target[7:].partition(b"/")
        name, port = _host_port(authority.rpartition(b"@")[2], 80)
        kept = [header for header in headers if header.partition(b":")[0].strip().lower() not in _HOP_HEADERS]
        lines = [b" ".join((method, slash + path or b"/", version)), *kept, b"Connection: close", b"", b""]
        return _allowed(Wanted(name, port, False, b"", b"\r\n".join(lines)))


def http_refusal(trouble: Trouble) -> bytes:
    status, text = _HTTP_STATUS[trouble]
    return _http(status, "text/plain", f"{text}\n")


def _http_refused(trouble: Trouble) -> RequestRefused:
    return RequestRefused(trouble, http_refusal(trouble))


def _http(status: str, kind: str, text: str) -> bytes:
    body = text.encode("ascii", "replace")
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def _socks_answer(code: int) -> bytes:
    return bytes((_SOCKS, code, 0, 1)) + bytes(6)


def _allowed(wanted: Wanted) -> Wanted:
    if not wanted.name.endswith(_ZONE):
        raise RequestRefused(Trouble.NOT_ALLOWED, wanted.refusal(Trouble.NOT_ALLOWED))
    return wanted


def _host_port(text: bytes, default: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(b":")
    if not colon:
        return _text(text), default
    if not port.isdigit() or len(port) > _MOST_DIGITS or not 0 < int(port) < 65536:
        raise _http_refused(Trouble.NOT_SUPPORTED)
    return _text(host), int(port)


def _header(headers: list[bytes], name: bytes) -> bytes:
    for header in headers:
        key, _, value = header.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return b""


def _text(name: bytes) -> str:
    """A name as it is looked up: lower case, without the dot at its end; what is not plain becomes unknown."""
    text = name.decode("ascii", "replace").lower().removesuffix(".")
    return "".join(character if character.isalnum() or character in "-.:_[]" else "?" for character in text)
