"""The `.fips` name responder: a UDP socket in front of the host map (spec 02 section 14.1).

`FipsZone` decides what a query gets, `DnsResponder` owns the sockets. Queries that arrive through the TUN are dropped,
because other nodes have no business reading our hosts file.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from meshnode.identity import IdentityError, PeerIdentity
from meshnode.ipv6.dns_forward import Forwarder
from meshnode.ipv6.dns_message import (
    MAX_MESSAGE,
    TYPE_AAAA,
    DnsFormatError,
    Query,
    Rcode,
    encode_answer,
    parse_query,
)
from meshnode.ipv6.hosts import HostMap

_ZONE = b".fips"
_NPUB_LENGTH = 63
_BURST = 32  # datagrams per wake-up; an npub costs some 50 us, so a burst stays within 2 ms
_CONTROL_SPACE = 128
_IP_PKTINFO = 8  # Linux; the socket module has no name for it before Python 3.14

Endpoint = tuple[str, int]


@dataclass(slots=True)
class DnsCounters:
    """What the responder did, each datagram counted once except under `resolved` and `send_failed`."""

    answered: int = 0
    not_found: int = 0
    not_implemented: int = 0
    malformed: int = 0
    from_mesh: int = 0
    forwarded: int = 0
    resolved: int = 0
    send_failed: int = 0


class FipsZone:
    """What is true under `.fips`: host names and npubs, each with one AAAA record of `ttl` seconds.

    `resolved` is called with the identity behind an address before that address is returned.
    """

    def __init__(self, hosts: HostMap, ttl: int, resolved: Callable[[PeerIdentity], None]) -> None:
        self.hosts = hosts
        self.counters = DnsCounters()
        self._ttl = ttl
        self._resolved = resolved

    @staticmethod
    def concerns(query: Query) -> bool:
        """Tell whether the first question is about `fips` or a name below it."""
        name = query.questions[0].name.lower()
        return name == _ZONE[1:] or name.endswith(_ZONE)

    def answer(self, query: Query) -> bytes:
        """Return the answer to a query; only its first question is considered."""
        if query.opcode:
            self.counters.not_implemented += 1
            return encode_answer(query, Rcode.NOTIMP)
        peer = self._find(query.questions[0].name.lower())
        if peer is None:
            self.counters.not_found += 1
            return encode_answer(query, Rcode.NXDOMAIN)
        self.counters.answered += 1
        if query.questions[0].qtype != TYPE_AAAA:
            return encode_answer(query, Rcode.NOERROR)
        self.counters.resolved += 1
        self._resolved(peer)
        return encode_answer(query, Rcode.NOERROR, peer.ipv6, self._ttl)

    def _find(self, name: bytes) -> PeerIdentity | None:
        if not name.endswith(_ZONE) or not name.isascii():
            return None
        label = name[: -len(_ZONE)].decode("ascii")
        self.hosts.refresh()
        peer = self.hosts.lookup(label)
        if peer is not None or len(label) != _NPUB_LENGTH or not label.startswith("npub1"):
            return peer
        try:
            return PeerIdentity.from_npub(label)
        except IdentityError:
            return None


class DnsResponder:
    """Answers DNS over UDP on each of `listen`, (IP literal, port), the one of `dns.bind_addr` and `dns.port` first.

    `tun_index` is the interface index of the TUN, None while unknown; it may be set later. With a `forwarder`,
    questions outside `.fips` go there instead of being answered with NXDOMAIN. `bound` lists what is listened on, with
    real ports.
    """

    def __init__(
        self,
        zone: FipsZone,
        listen: Sequence[Endpoint],
        reactor: IReactorFDSet,
        tun_index: int | None = None,
        forwarder: Forwarder | None = None,
    ) -> None:
        self.zone = zone
        self.tun_index = tun_index
        self.bound: list[Endpoint] = []
        self._listen = tuple(listen)
        self._reactor = reactor
        self._forwarder = forwarder
        self._ports: list[_Port] = []

    @property
    def counters(self) -> DnsCounters:
        """What happened to the datagrams so far."""
        return self.zone.counters

    def start(self) -> list[str]:
        """Open the sockets. Returns one line for the operator per endpoint that cannot be had; the others work."""
        problems = []
        for address, port in self._listen:
            try:
                sock = _open(address, port)
            except _BindError as error:
                problems.append(str(error))
                continue
            self.bound.append((address, sock.getsockname()[1]))
            listener = _Port(sock, self._received)
            self._ports.append(listener)
            self._reactor.addReader(listener)
        return problems

    def stop(self) -> None:
        """Close the sockets and forget forwarded questions."""
        ports, self._ports, self.bound = self._ports, [], []
        for port in ports:
            self._reactor.removeReader(port)
            port.close()
        if self._forwarder is not None:
            self._forwarder.stop()

    def _received(self, port: _Port, message: bytes, interface: int | None, reply: Callable[[bytes], bool]) -> None:
        counters = self.zone.counters
        if interface is not None and interface == self.tun_index:
            counters.from_mesh += 1
            return
        try:
            query = parse_query(message)
        except DnsFormatError:
            counters.malformed += 1
            return
        send = partial(self._send, port, reply)
        if self._forwarder is None or self.zone.concerns(query):
            send(self.zone.answer(query))
        else:
            counters.forwarded += 1
            self._forwarder.ask(message, query, send)

    def _send(self, port: _Port, reply: Callable[[bytes], bool], message: bytes) -> None:
        if not port.closed and not reply(message):
            self.zone.counters.send_failed += 1


def interface_index(name: str) -> int | None:
    """Return the index of a network interface, or None when there is none of that name."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


class _BindError(Exception):
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


@implementer(IReadDescriptor)
class _Port:
    """One bound socket; hands each datagram of a bounded burst up with the index of the interface it came through."""

    def __init__(
        self, sock: socket.socket, received: Callable[[_Port, bytes, int | None, Callable[[bytes], bool]], None]
    ) -> None:
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
            arrival = self._info.arrival(control)
            reply = partial(self._reply, client, arrival)
            self._received(self, message, None if arrival is None else arrival[0], reply)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Close when the reactor gives the descriptor up."""
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self.closed = True
        self._socket.close()

    def _reply(self, client: Any, arrival: tuple[int, bytes] | None, message: bytes) -> bool:
        """Answer from the address that was asked; tell whether the system took it."""
        control = [] if arrival is None else self._info.departure(*arrival)
        try:
            self._socket.sendmsg([message], control, 0, client)
        except OSError:
            return False
        return True


def _open(address: str, port: int) -> socket.socket:
    """Bind a non-blocking UDP socket; raise `_BindError`."""
    family = _family(address)
    where = f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise _BindError(f"no .fips names on {where}: {error.strerror}") from None
    info = _PACKET_INFO[family]
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(info.level, info.switch, 1)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise _BindError(f"no .fips names on {where}: {_bind_advice(error)}") from None
    return sock


def _family(address: str) -> socket.AddressFamily:
    try:
        literal: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        raise _BindError(
            f"no .fips names: dns.bind_addr is {address!r}; write an IP address such as ::1, without brackets or port"
        ) from None
    return socket.AF_INET if literal.version == 4 else socket.AF_INET6


def _bind_advice(error: OSError) -> str:
    advice = {
        errno.EADDRINUSE: "another program uses that port; stop it or choose another dns.port",
        errno.EADDRNOTAVAIL: "that address is not one of this machine; correct dns.bind_addr",
        errno.EACCES: "ports below 1024 need root; choose another dns.port",
    }
    return advice.get(error.errno or 0, str(error.strerror))
