"""Between the host's IPv6 stack and the mesh: what may leave, what is answered, what comes in (spec 02 section 11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from meshnode.ipv6.checksum import IPV6_HEADER_SIZE, TCP, with_transport_checksum
from meshnode.ipv6.coalesce import Coalescer
from meshnode.ipv6.icmp import SourceLimiter, destination_unreachable, packet_too_big
from meshnode.ipv6.mss import MssCeilings, clamp_mss, is_syn
from meshnode.ipv6.shim import expand_payloads, mark_congestion, shim_payloads

__all__ = ["Ipv6Adapter", "Ipv6Counters", "Ipv6Node", "PacketSink", "shim_payloads"]

_MESH_PREFIX: Final = 0xFD


class PacketSink(Protocol):
    """Where packets for the local stack go: the TUN, or a stack in user space."""

    @property
    def takes_frames(self) -> bool:
        """Whether `write_frames` may be used."""

    @property
    def takes_datagram_runs(self) -> bool:
        """Whether those frames may hold many UDP datagrams; decided once and for all."""

    def write(self, packets: list[bytes]) -> None:
        """Deliver complete IPv6 packets, in order. Trouble is counted by the sink, not raised."""

    def write_frames(self, frames: list[bytes]) -> None:
        """Deliver frames of `meshnode.ipv6.coalesce`, in order. Trouble is counted by the sink, not raised."""


class Ipv6Node(Protocol):
    """The node, as the adapter sees it."""

    def send_ipv6(self, destination: bytes, packets: list[bytes]) -> None:
        """Carry IPv6 packets, all to mesh address `destination` (16 bytes), in order."""


class Ipv6Counters:
    """What happened to packets here, in packets."""

    __slots__ = (
        "ce_received",
        "delivered",
        "foreign_source",
        "hairpinned",
        "malformed",
        "mss_clamped",
        "outside_mesh",
        "sent",
        "shim_malformed",
        "too_big_limited",
        "too_big_sent",
        "unreachable_sent",
    )

    def __init__(self) -> None:
        self.ce_received = 0
        self.delivered = 0
        self.foreign_source = 0
        self.hairpinned = 0
        self.malformed = 0
        self.mss_clamped = 0
        self.outside_mesh = 0
        self.sent = 0
        self.shim_malformed = 0
        self.too_big_limited = 0
        self.too_big_sent = 0
        self.unreachable_sent = 0


class Ipv6Adapter:
    """One node's IPv6 service (session port 256).

    `address` is our mesh address (16 bytes), `transport_mtu` the smallest link frame size of the node's transports when
    the sink starts (spec 02 section 10.1), `clock` gives monotonic seconds. What `receive` takes reaches the sink when
    `flush` is called, which the node does at the end of every burst.
    """

    def __init__(
        self, address: bytes, node: Ipv6Node, sink: PacketSink, transport_mtu: int, clock: Callable[[], float]
    ) -> None:
        self.address = address
        self.counters = Ipv6Counters()
        self._node = node
        self._sink = sink
        self._clock = clock
        self._ceilings = MssCeilings(transport_mtu)
        self._limiter = SourceLimiter()
        self._coalescer = Coalescer(address, self._clamp_inbound, sink.takes_datagram_runs)

    # From the host

    def packets_read(self, packets: list[bytes]) -> None:
        """Take a burst of packets from the host: answer or drop what may not leave, pass on the rest (11.3).

        Consecutive packets to one destination go to the node as one list.
        """
        own = self.address
        run: list[bytes] = []
        destination = pair = b""
        for packet in packets:
            # The usual packet: IPv6, no SYN, from us to where the last one went.
            if pair and packet.startswith(pair, 8) and packet[0] >> 4 == 6:
                run.append(self._clamp_outbound(packet) if packet[6] == TCP and is_syn(packet) else packet)
            elif self._may_leave(packet):
                if run:
                    self._send(destination, run)
                destination = packet[24:40]
                pair = own + destination
                run = [self._clamp_outbound(packet) if packet[6] == TCP and is_syn(packet) else packet]
        if run:
            self._send(destination, run)

    def _send(self, destination: bytes, packets: list[bytes]) -> None:
        self.counters.sent += len(packets)
        self._node.send_ipv6(destination, packets)

    def _may_leave(self, packet: bytes) -> bool:
        """Whether `packet` is one of ours to another mesh address; if not, it is dealt with here."""
        counters = self.counters
        if len(packet) < IPV6_HEADER_SIZE or packet[0] >> 4 != 6:
            counters.malformed += 1
        elif packet[24] != _MESH_PREFIX:
            counters.outside_mesh += 1
            self.unreachable(packet)
        elif packet[8:24] != self.address:
            # The shim carries no source; the far side would take this for a packet of ours with a broken checksum.
            counters.foreign_source += 1
        elif packet[24:40] == self.address:
            counters.hairpinned += 1
            self._sink.write([with_transport_checksum(packet)])
        else:
            return True
        return False

    # From the mesh

    def receive(self, source: bytes, buffers: list[bytes], offset: int, ce: bool) -> None:
        """Take shim payloads from the peer with mesh address `source` (16 bytes).

        Each starts at `offset` of its buffer. `ce`: the mesh saw congestion on their way (11.8).
        """
        if ce:
            self.counters.ce_received += len(buffers)
            buffers = [mark_congestion(buffer, offset) for buffer in buffers]
            offset = 0
        if self._sink.takes_frames:
            malformed = self._coalescer.add(source, buffers, offset)
        else:
            packets = expand_payloads(buffers, offset, source + self.address)
            malformed = len(buffers) - len(packets)
            self._sink.write([self._clamp_inbound(packet) if is_syn(packet) else packet for packet in packets])
        self.counters.shim_malformed += malformed
        self.counters.delivered += len(buffers) - malformed

    def flush(self) -> None:
        """Write out what `receive` collected."""
        if self._coalescer.waiting:
            self._sink.write_frames(self._coalescer.drain())

    # Errors to the host

    def unreachable(self, packet: bytes) -> None:
        """Tell the host that there is no route for its `packet`, where ICMPv6 allows (11.6)."""
        error = destination_unreachable(packet, self.address)
        if error is not None:
            self.counters.unreachable_sent += 1
            self._sink.write([error])

    def packet_too_big(self, packet: bytes, mtu: int, limited: bool = True) -> None:
        """Tell the host that its `packet` exceeds `mtu` bytes of IPv6, where ICMPv6 and the rate limit allow (11.6).

        What is told once, and is not `limited`, would otherwise be held back for good.
        """
        if limited and not self._limiter.charge(packet[8:24], self._clock()):
            self.counters.too_big_limited += 1
            return
        error = packet_too_big(packet, mtu)
        if error is not None:
            self.counters.too_big_sent += 1
            self._sink.write([error])

    # Segment sizes

    def set_path_mtu(self, peer: bytes, mtu: int | None) -> None:
        """Clamp TCP with mesh address `peer` to link frames of `mtu` bytes; None forgets the peer (10.4)."""
        self._ceilings.set_path_mtu(peer, mtu)

    def _clamp_outbound(self, packet: bytes) -> bytes:
        return self._clamp(packet, packet[24:40])

    def _clamp_inbound(self, packet: bytes) -> bytes:
        return self._clamp(packet, packet[8:24])

    def _clamp(self, packet: bytes, peer: bytes) -> bytes:
        clamped = clamp_mss(packet, self._ceilings.ceiling(peer))
        if clamped is not packet:
            self.counters.mss_clamped += 1
        return clamped
