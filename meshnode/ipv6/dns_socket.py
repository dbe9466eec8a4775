"""UDP sockets of a name server: bound, read in bursts, answering from the address that was asked."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import Any, NamedTuple

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from meshnode.ipv6.dns_message import MAX_MESSAGE

_BURST = 32  # datagrams per wake-up; an npub costs some 50 us, so a burst stays within 2 ms
_CONTROL_SPACE = 128
_RECEIVE_BUFFER = 1 << 20  # some 1,300 questions, as a flood brings them in while something else takes a moment
_SO_RCVBUFFORCE = 33  # Linux, with CAP_NET_ADMIN; the socket module has no name for it
_IP_PKTINFO = 8  # Linux; the socket module has no name for it before Python 3.14


class DnsBindError(Exception):
    """One line for the operator: why an endpoint cannot be listened on."""


@dataclass(frozen=True, slots=True)
class _PacketInfo:
    """How one address family reports where a datagram arrived, and takes where its reply has to come from."""

    level: int
    switch: int
    kind: int
    layout: Struct

    def arrival(self, control: list[tuple[int, int, bytes]]) -> tuple[int, bytes] | None:
        """Return interface index and local address from the control messages of a datagram."""
        for level, kind, data in control:
            if (level, kind) == (self.level, self.kind) and len(data) >= self.layout.size:
                first, second, *_ = self.layout.unpack_from(data)
                return (first, second) if isinstance(first, int) else (second, first)
        return None

    def departure(self, index: int, local: bytes) -> list[tuple[int, int, bytes]]:
        """Return the control message that makes a reply leave from `local`; the index counts for link-local only."""
        if self.level == socket.IPPROTO_IP:
            return [(self.level, self.kind, self.layout.pack(0, local, bytes(4)))]
        link_local = local[0] == 0xFE and local[1] & 0xC0 == 0x80
        return [(self.level, self.kind, self.layout.pack(local, index if link_local else 0))]


_PACKET_INFO = {
    socket.AF_INET: _PacketInfo(socket.IPPROTO_IP, _IP_PKTINFO, _IP_PKTINFO, Struct("=I4s4s")),
    socket.AF_INET6: _PacketInfo(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, socket.IPV6_PKTINFO, Struct("=16sI")),
}


class Arrival(NamedTuple):
    """A datagram: its bytes, the host that sent it, the index of the interface it came through if known, and what
    takes the answer and tells whether the system took it.
    """

    message: bytes
    client: str
    interface: int | None
    reply: Callable[[bytes], bool]


@implementer(IReadDescriptor)
class DnsSocket:
    """One bound socket; hands each datagram of a bounded burst up."""

    def __init__(self, sock: socket.socket, received: Callable[[DnsSocket, Arrival], None]) -> None:
        self.closed = False
        self._socket = sock
        self._received = received
        self._info = _PACKET_INFO[socket.AddressFamily(sock.family)]

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        """Name this descriptor in the log."""
        return "dns"

    def doRead(self) -> None:  # noqa: N802
        """Take up to one burst of datagrams; what is left makes the socket readable again."""
        for _ in range(_BURST):
            if self.closed:
                return
            try:
                message, control, _, client = self._socket.recvmsg(MAX_MESSAGE + 1, _CONTROL_SPACE)
            except OSError:
                return  # nothing left, or an error report about an earlier reply
            local = self._info.arrival(control)
            reply = partial(self._reply, client, local)
            self._received(self, Arrival(message, client[0], None if local is None else local[0], reply))

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Close when the reactor gives the descriptor up."""
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self.closed = True
        self._socket.close()

    def _reply(self, client: Any, local: tuple[int, bytes] | None, message: bytes) -> bool:
        """Answer from the address that was asked; tell whether the system took it."""
        control = [] if local is None else self._info.departure(*local)
        try:
            self._socket.sendmsg([message], control, 0, client)
        except OSError:
            return False
        return True


def open_dns_socket(address: str, port: int, address_key: str, port_key: str) -> socket.socket:
    """Bind a non-blocking UDP socket; raise `DnsBindError`, which names the keys of the configuration to change."""
    family = _family(address, address_key)
    where = f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise DnsBindError(f"no .fips names on {where}: {error.strerror}") from None
    info = _PACKET_INFO[family]
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(info.level, info.switch, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)  # cut to what everybody may have
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise DnsBindError(f"no .fips names on {where}: {bind_advice(error, address_key, port_key)}") from None
    return sock


def _family(address: str, key: str) -> socket.AddressFamily:
    try:
        literal: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        raise DnsBindError(
            f"no .fips names: {key} is {address!r}; write an IP address such as ::1, without brackets or port"
        ) from None
    return socket.AF_INET if literal.version == 4 else socket.AF_INET6


def bind_advice(error: OSError, address_key: str, port_key: str) -> str:
    """Say what to do about an address that could not be bound; the keys are where the configuration names it."""
    advice = {
        errno.EADDRINUSE: f"another program uses that port; stop it or choose another {port_key}",
        errno.EADDRNOTAVAIL: f"that address is not one of this machine; correct {address_key}",
        errno.EACCES: f"ports below 1024 need root; choose another {port_key}",
    }
    return advice.get(error.errno or 0, str(error.strerror))
