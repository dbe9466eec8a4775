"""IPv6 packets between the adapter and the sessions: who is meant, does it fit, what waits (spec 02 section 11.4)."""

from __future__ import annotations

from collections.abc import Callable

from meshnode.ipv6.adapter import Ipv6Adapter, shim_payloads
from meshnode.ipv6.counters import TunCounters
from meshnode.ipv6.fragment import SMALLEST_MTU, Fragmenter
from meshnode.ipv6.mss import effective_ipv6_mtu
from meshnode.mesh.session import Delivery, Queued, SessionLayer

from .transports import TransportTable

SHIM_PORT = 256
MAX_LONG = 64

Originate = Callable[[bytes, list[bytes], float], bool]
"""`originate(destination, messages, now)` sends session messages; False when there is no route."""

Open = Callable[[bytes, float], None]
"""`open(destination, now)` starts a session, or the lookup that has to come first."""


class Ipv6Service:
    """The user of session port 256: an `Ipv6Node` to the adapter, a port service to the node."""

    def __init__(
        self,
        sessions: SessionLayer,
        transports: TransportTable,
        originate: Originate,
        open_session: Open,
        clock: Callable[[], float],
        fragmenter: Fragmenter,
    ) -> None:
        self.adapter: Ipv6Adapter | None = None
        self.interface = TunCounters()
        self._sessions = sessions
        self._identity_of = sessions.identities.lookup
        self._transports = transports
        self._originate = originate
        self._open = open_session
        self._clock = clock
        self._fragmenter = fragmenter
        self._long: dict[bytes, bytes] = {}  # the last long packet for each of some mesh addresses

    # -- from the host

    def send_ipv6(self, destination: bytes, packets: list[bytes]) -> None:
        """Carry packets to mesh address `destination`, or tell their senders why not."""
        now = self._clock()
        identity = self._identity_of(destination[1:], now)
        if identity is None:
            self._unreachable(packets)
            return
        remote = identity.node_addr
        session = self._sessions.established(remote)
        limit = self._transports.mtu
        if session is not None and session.path_mtu.current < limit:
            limit = session.path_mtu.current
        longest, mtu = max(packets, key=len), effective_ipv6_mtu(limit)
        if len(longest) > SMALLEST_MTU:
            self._remember(destination, longest)
        if len(longest) > mtu:
            packets = self._fitting(packets, mtu)
            if not packets:
                return
        payloads = shim_payloads(packets)
        if session is None:
            self._wait(remote, payloads, packets, now)
            return
        messages = self._sessions.seal_with(session, SHIM_PORT, SHIM_PORT, payloads, now)
        if not self._originate(remote, messages, now):
            self._sessions.route_lost(remote, now)
            self._queue(remote, payloads, packets, now)

    def _wait(self, remote: bytes, payloads: list[bytes], packets: list[bytes], now: float) -> None:
        self._queue(remote, payloads, packets, now)
        self._open(remote, now)

    def _queue(self, remote: bytes, payloads: list[bytes], packets: list[bytes], now: float) -> None:
        for payload, packet in zip(payloads, packets, strict=True):
            self._sessions.queue(remote, Queued(SHIM_PORT, SHIM_PORT, payload, packet), now)

    def _remember(self, destination: bytes, packet: bytes) -> None:
        """Keep a long packet, in case its way turns out to be narrower than we know."""
        if destination not in self._long and len(self._long) >= MAX_LONG:
            del self._long[next(iter(self._long))]
        self._long[destination] = packet

    def path_narrowed(self, destination: bytes, frame_mtu: int) -> None:
        """The way to a mesh address carries no frames of more than `frame_mtu` bytes.

        Whoever sent a longer packet lately is told now. Else it would learn that only when it sends another one, and a
        stalled TCP waits for that up to a minute.
        """
        packet, mtu = self._long.get(destination), effective_ipv6_mtu(frame_mtu)
        if packet is not None and len(packet) > mtu and self.adapter is not None:
            del self._long[destination]
            self.adapter.packet_too_big(packet, max(mtu, SMALLEST_MTU), limited=False)

    def _fitting(self, packets: list[bytes], mtu: int) -> list[bytes]:
        """The same in packets of at most `mtu` bytes: in fragments, or left out if their senders can send less."""
        fitting: list[bytes] = []
        for packet in packets:
            if len(packet) <= mtu:
                fitting.append(packet)
                continue
            fragments = self._fragmenter.split(packet, mtu) if len(packet) <= SMALLEST_MTU else []
            if fragments:
                fitting += fragments
            elif self.adapter is not None:
                self.adapter.packet_too_big(packet, max(mtu, SMALLEST_MTU))
        return fitting

    def _unreachable(self, packets: list[bytes]) -> None:
        if self.adapter is not None:
            for packet in packets:
                self.adapter.unreachable(packet)

    def refuse(self, queued: list[Queued]) -> None:
        """What waited for a session will not get one."""
        self._unreachable([item.packet for item in queued if item.packet is not None])

    # -- from the mesh

    def deliver(self, source_ipv6: bytes, delivery: Delivery) -> None:
        """Hand shim payloads to the adapter."""
        if self.adapter is not None:
            self.adapter.receive(source_ipv6, delivery.buffers, delivery.offset, delivery.ce)
