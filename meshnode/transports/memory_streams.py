"""Connections without a network: stream transports that reach each other through a clock, with faults on demand.

What a carrier over TCP looks like from the node, for tests and for whoever writes a transport of that kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from meshnode.transports.interfaces import IConnectionTransport, ITransportHost, TransportError


@dataclass(slots=True, eq=False)
class _End:
    """One end of a connection; `address` is what its station calls it."""

    station: MemoryStreamTransport
    address: str
    inbound: bool
    other: _End | None = None
    queue: list[bytes] = field(default_factory=list)


class StreamNetwork:
    """The medium of memory stream transports. `delay` is in seconds, one way.

    `refusals` maps an address to the cause why connections to it fail; `silent` holds addresses that never answer.
    """

    def __init__(self, clock: IReactorTime, delay: float = 0.0) -> None:
        self.clock = clock
        self.delay = delay
        self.stations: dict[str, MemoryStreamTransport] = {}
        self.refusals: dict[str, str] = {}
        self.silent: set[str] = set()
        self._ports = count(40_001)

    def open(self, end: _End) -> None:
        """Connect `end` to the station it names, a round trip from now."""
        self.clock.callLater(2 * self.delay, self._opened, end)

    def _opened(self, end: _End) -> None:
        if end.station.is_dialling(end) and end.address not in self.silent:
            station = self.stations.get(end.address)
            cause = self.refusals.get(end.address) or ("connection refused" if station is None else None)
            if cause is not None or station is None:
                end.station.refused(end, str(cause))
                return
            end.other = _End(station, f"{end.station.address}:{next(self._ports)}", True, end)
            station.accepted(end.other)
            end.station.opened(end)

    def carry(self, end: _End, frames: list[bytes]) -> None:
        """Take `frames` to the other end, unless the connection has ended by then."""
        self.clock.callLater(self.delay, self._arrive, end, frames)

    def _arrive(self, end: _End, frames: list[bytes]) -> None:
        if end.other is not None:
            end.other.station.arrived(end.other, frames)

    def part(self, end: _End, cause: str) -> None:
        """Let the other end know that the connection is over."""
        if end.other is not None:
            self.clock.callLater(self.delay, end.other.station.ended, end.other, cause)

    def cut(self, left: str, right: str, cause: str = "connection reset") -> None:
        """Break every connection between two stations, as a router that forgets does."""
        for station in (self.stations[left], self.stations[right]):
            for end in station.ends():
                if end.other is not None and {end.station.address, end.other.station.address} == {left, right}:
                    end.station.ended(end, cause)


@implementer(IConnectionTransport)
class MemoryStreamTransport:
    """One station of a `StreamNetwork`, listening at any address text."""

    name: str | None = None

    def __init__(
        self,
        network: StreamNetwork,
        address: str,
        transport_id: int,
        host: ITransportHost,
        *,
        mtu: int = 1400,
        kind: str = "memory-stream",
        accepts_connections: bool = True,
        connect_timeout: float = 5.0,
    ) -> None:
        self.transport_id = transport_id
        self.kind = kind
        self.mtu = mtu
        self.state = "configured"
        self.accepts_connections = accepts_connections
        self.local_address: str | None = None
        self.address = address
        self.connect_timeout = connect_timeout
        self.connects = 0
        self._network = network
        self._host = host
        self._open: dict[str, _End] = {}
        self._dialling: dict[str, _End] = {}
        self._touched: dict[str, _End] = {}
        self._mtus: dict[str, int] = {}
        self._counters = dict.fromkeys(("packets_sent", "packets_recv", "send_errors", "mtu_exceeded"), 0)

    # -- what the node calls

    def start(self) -> None:
        """Listen. Raises `TransportError` when the address is taken."""
        if self.address in self._network.stations:
            raise TransportError(f"{self.kind} {self.address}: address already in use")
        if self.accepts_connections:
            self._network.stations[self.address] = self
            self.local_address = self.address
        self.state = "up"

    def stop(self) -> None:
        """Close every connection and listen no more."""
        self.flush()
        for address in [*self._open, *self._dialling]:
            self.disconnect(address)
        if self._network.stations.get(self.address) is self:
            del self._network.stations[self.address]
        self.local_address, self.state = None, "down"

    def connect(self, address: str) -> None:
        if address in self._open or address in self._dialling:
            return
        self.connects += 1
        end = self._dialling[address] = _End(self, address, False)
        self._network.open(end)
        self._network.clock.callLater(self.connect_timeout, self._timed_out, end)

    def disconnect(self, address: str) -> None:
        self._dialling.pop(address, None)
        self.flush()
        end = self._open.pop(address, None)
        if end is not None:
            self._network.part(end, "closed by the other side")

    def is_connected(self, address: str) -> bool:
        return address in self._open

    def is_inbound(self, address: str) -> bool:
        return address in self._open and self._open[address].inbound

    def connections(self) -> list[str]:
        return list(self._open)

    def send(self, address: str, frames: list[bytes]) -> None:
        """Queue `frames` until `flush`; without a connection, or too long, they are counted."""
        end = self._open.get(address)
        if end is None:
            self._counters["send_errors"] += len(frames)
            return
        fitting = [frame for frame in frames if len(frame) <= self.link_mtu(address)]
        self._counters["mtu_exceeded"] += len(frames) - len(fitting)
        end.queue += fitting
        self._touched[address] = end

    def flush(self) -> None:
        touched, self._touched = self._touched, {}
        for end in touched.values():
            frames, end.queue = end.queue, []
            self._counters["packets_sent"] += len(frames)
            self._network.carry(end, frames)

    def link_mtu(self, address: str) -> int:
        return self._mtus.get(address, self.mtu)

    def can_dial(self, address: str) -> bool:
        return self.state == "up" and bool(address) and not self.is_inbound(address)

    def stats(self) -> dict[str, int]:
        return dict(self._counters)

    # -- what a test does

    def set_mtu(self, address: str | None, mtu: int) -> None:
        """Let one connection, or all, carry frames of `mtu` bytes from now on."""
        if address is None:
            self.mtu = mtu
        else:
            self._mtus[address] = mtu
        self._host.mtu_changed(self, address)

    def fail(self, cause: str) -> None:
        """Lose the ground under every connection, as when a cable is pulled or a proxy dies."""
        self.state = "down"
        for end in self.ends():
            self.ended(end, cause)
        self._host.state_changed(self, cause)

    def recover(self) -> None:
        """Work again."""
        self.state = "up"
        self._host.state_changed(self, "carrier back")

    # -- what the network calls

    def ends(self) -> list[_End]:
        return list(self._open.values())

    def is_dialling(self, end: _End) -> bool:
        return self._dialling.get(end.address) is end

    def opened(self, end: _End) -> None:
        del self._dialling[end.address]
        self._open[end.address] = end
        self._host.connected(self, end.address)

    def accepted(self, end: _End) -> None:
        self._open[end.address] = end

    def refused(self, end: _End, cause: str) -> None:
        del self._dialling[end.address]
        self._host.connect_failed(self, end.address, cause)

    def _timed_out(self, end: _End) -> None:
        if self.is_dialling(end):
            self.refused(end, f"no answer within {self.connect_timeout:g} s")

    def arrived(self, end: _End, frames: list[bytes]) -> None:
        if self._open.get(end.address) is end:
            self._counters["packets_recv"] += len(frames)
            self._host.frames_received(self, end.address, frames)
            self._host.burst_ended()

    def ended(self, end: _End, cause: str) -> None:
        if self._open.get(end.address) is end:
            del self._open[end.address]
            self._network.part(end, cause)
            self._host.connection_lost(self, end.address, cause, not end.inbound)
