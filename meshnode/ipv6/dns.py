"""The `.fips` name responder: a UDP socket in front of the host map (spec 02 section 14.1).

`FipsZone` decides what a query gets, `DnsResponder` owns the sockets. Queries that arrive through the TUN are dropped,
because other nodes have no business reading our hosts file.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from twisted.internet.interfaces import IReactorFDSet

from meshnode.identity import IdentityError, PeerIdentity
from meshnode.ipv6.dns_forward import Forwarder
from meshnode.ipv6.dns_message import (
    TYPE_AAAA,
    DnsFormatError,
    Query,
    Rcode,
    encode_answer,
    parse_query,
)
from meshnode.ipv6.dns_socket import Arrival, DnsBindError, DnsSocket, open_dns_socket
from meshnode.ipv6.hosts import HostMap

_ZONE = b".fips"
_NPUB_LENGTH = 63

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
        self._ports: list[DnsSocket] = []

    @property
    def counters(self) -> DnsCounters:
        """What happened to the datagrams so far."""
        return self.zone.counters

    def start(self) -> list[str]:
        """Open the sockets. Returns one line for the operator per endpoint that cannot be had; the others work."""
        problems = []
        for address, port in self._listen:
            try:
                sock = open_dns_socket(address, port, "dns.bind_addr", "dns.port")
            except DnsBindError as error:
                problems.append(str(error))
                continue
            self.bound.append((address, sock.getsockname()[1]))
            listener = DnsSocket(sock, self._received)
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

    def _received(self, port: DnsSocket, arrival: Arrival) -> None:
        counters = self.zone.counters
        if arrival.interface is not None and arrival.interface == self.tun_index:
            counters.from_mesh += 1
            return
        try:
            query = parse_query(arrival.message)
        except DnsFormatError:
            counters.malformed += 1
            return
        send = partial(self._send, port, arrival.reply)
        if self._forwarder is None or self.zone.concerns(query):
            send(self.zone.answer(query))
        else:
            counters.forwarded += 1
            self._forwarder.ask(arrival.message, query, send)

    def _send(self, port: DnsSocket, reply: Callable[[bytes], bool], message: bytes) -> None:
        if not port.closed and not reply(message):
            self.zone.counters.send_failed += 1


def interface_index(name: str) -> int | None:
    """Return the index of a network interface, or None when there is none of that name."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None
