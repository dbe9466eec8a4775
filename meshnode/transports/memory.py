"""Links without a network: transports that reach each other through a clock, with the faults one asks for.

Everything that happens follows from the clock, the seed and the order of calls, so that a run can be repeated exactly.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any, TypeAlias

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from meshnode.transports.interfaces import ITransport, ITransportHost, TransportError


@dataclass(frozen=True, slots=True)
class LinkQuality:
    """What one direction of a path does to frames.

    `loss`, `duplicate` and `reorder` are probabilities per frame. `delay` is the range in seconds that one draw per
    batch is taken from; batches never overtake each other. A reordered frame comes `lag` seconds after its batch.
    """

    loss: float = 0.0
    delay: tuple[float, float] = (0.0, 0.0)
    duplicate: float = 0.0
    reorder: float = 0.0
    lag: float = 0.01

    @property
    def perfect(self) -> bool:
        return not (self.loss or self.duplicate or self.reorder)


_Arrival: TypeAlias = tuple[float, int, str, str, list[bytes]]
"""When, running number (so that nothing behind it is ever compared), source, destination, frames."""

# Sums of times are rounded; a timer may fire a hair before the moment it was set for.
_ROUNDING = 1e-9


class MemoryNetwork:
    """The medium that memory transports share.

    `clock` provides `IReactorTime`; one delayed call at most is pending in it. `quality` holds for every direction that
    `set_quality` was not called for.
    """

    def __init__(self, clock: IReactorTime, seed: int = 0, quality: LinkQuality | None = None) -> None:
        self.clock = clock
        self.quality = quality or LinkQuality()
        self._random = Random(seed)
        self._qualities: dict[tuple[str, str], LinkQuality] = {}
        self._stations: dict[str, MemoryTransport] = {}
        self._arrivals: list[_Arrival] = []
        self._latest: dict[tuple[str, str], float] = {}
        self._sequence: Iterator[int] = count()
        self._timer: IDelayedCall | None = None
        self._delivering = False

    def set_quality(self, source: str, destination: str, quality: LinkQuality | None) -> None:
        """Set what happens to frames from `source` to `destination`; None returns to the common quality."""
        if quality is None:
            self._qualities.pop((source, destination), None)
        else:
            self._qualities[source, destination] = quality

    def attach(self, address: str, station: MemoryTransport) -> None:
        """Let `station` be reached at `address`. Raises `TransportError` when the address is taken."""
        if address in self._stations:
            raise TransportError(f"memory {address}: address already in use")
        self._stations[address] = station

    def detach(self, address: str) -> None:
        """Free `address`; frames still under way to it are lost."""
        self._stations.pop(address, None)

    def reaches(self, address: str) -> bool:
        return address in self._stations

    def carry(self, source: str, destination: str, frames: list[bytes]) -> None:
        """Take `frames` from `source`; what survives arrives later, never within this call."""
        quality = self._qualities.get((source, destination), self.quality)
        when = self._when(source, destination, quality)
        late: list[bytes] = []
        if not quality.perfect:
            frames, late = self._afflict(frames, quality)
        for moment, batch in ((when, frames), (when + quality.lag, late)):
            if batch:
                heapq.heappush(self._arrivals, (moment, next(self._sequence), source, destination, batch))
        self._arm()

    def _when(self, source: str, destination: str, quality: LinkQuality) -> float:
        now = self.clock.seconds()
        low, high = quality.delay
        delay = low if low == high else self._random.uniform(low, high)
        when = max(now + delay, self._latest.get((source, destination), now))
        self._latest[source, destination] = when
        return when

    def _afflict(self, frames: list[bytes], quality: LinkQuality) -> tuple[list[bytes], list[bytes]]:
        """Return the frames that arrive in order and those that arrive late."""
        chance = self._random.random
        in_order: list[bytes] = []
        late: list[bytes] = []
        for frame in frames:
            if chance() < quality.loss:
                continue
            target = late if chance() < quality.reorder else in_order
            target.append(frame)
            if chance() < quality.duplicate:
                target.append(frame)
        return in_order, late

    def _arm(self) -> None:
        if self._delivering or not self._arrivals:
            return
        when = self._arrivals[0][0]
        if self._timer is not None and self._timer.active():
            if self._timer.getTime() <= when:
                return
            self._timer.cancel()
        self._timer = self.clock.callLater(max(0.0, when - self.clock.seconds()), self._deliver)

    def _deliver(self) -> None:
        """Hand over everything due, then end the burst of each transport that received something."""
        now = self.clock.seconds() + _ROUNDING
        due = []
        while self._arrivals and self._arrivals[0][0] <= now:
            due.append(heapq.heappop(self._arrivals))
        touched: dict[MemoryTransport, None] = {}
        self._delivering = True
        try:
            for _when, _sequence, source, destination, frames in due:
                station = self._stations.get(destination)
                if station is not None:
                    station.receive(source, frames)
                    touched[station] = None
            for station in touched:
                station.end_burst()
        finally:
            self._delivering = False
            self._arm()


@implementer(ITransport)
class MemoryTransport:
    """One station of a `MemoryNetwork`, at any address text."""

    def __init__(
        self,
        network: MemoryNetwork,
        address: str,
        transport_id: int,
        host: ITransportHost,
        *,
        mtu: int = 1280,
        kind: str = "memory",
        name: str | None = None,
        accepts_connections: bool = True,
    ) -> None:
        self.transport_id = transport_id
        self.kind = kind
        self.name = name
        self.mtu = mtu
        self.state = "configured"
        self.accepts_connections = accepts_connections
        self.local_address: str | None = None
        self._network = network
        self._address = address
        self._host = host
        self._queue: dict[str, list[bytes]] = {}
        self._counters = dict.fromkeys(_COUNTERS, 0)

    def start(self) -> None:
        """Become reachable. Raises `TransportError` when the address is taken or the transport runs already."""
        if self.state == "up":
            raise TransportError("transport already started")
        try:
            self._network.attach(self._address, self)
        except TransportError:
            self.state = "failed"
            raise
        self.local_address, self.state = self._address, "up"

    def stop(self) -> None:
        """Send what is queued and leave the network. Does nothing unless up."""
        if self.state == "up":
            self.flush()
            self._network.detach(self._address)
            self.local_address, self.state = None, "down"

    def move(self, address: str) -> None:
        """Be at `address` from now on, as a roaming host is; later frames come from there."""
        if self.state == "up":
            self.flush()
            self._network.attach(address, self)
            self._network.detach(self._address)
            self.local_address = address
        self._address = address

    def send(self, address: str, frames: list[bytes]) -> None:
        """Queue `frames` until `flush`; those longer than `mtu` are refused and counted."""
        if self.state != "up":
            self._counters["send_errors"] += len(frames)
            return
        fitting = [frame for frame in frames if len(frame) <= self.mtu]
        self._counters["mtu_exceeded"] += len(frames) - len(fitting)
        self._queue.setdefault(address, []).extend(fitting)

    def flush(self) -> None:
        queue, self._queue = self._queue, {}
        for address, frames in queue.items():
            if not self._network.reaches(address):
                self._counters["send_errors"] += len(frames)
                continue
            self._count("sent", frames)
            self._network.carry(self._address, address, frames)

    def receive(self, source: str, frames: list[bytes]) -> None:
        """Take what arrived; called by the network."""
        self._count("recv", frames)
        self._host.frames_received(self, source, frames)

    def end_burst(self) -> None:
        """Note that the network has handed over all that was due; called by the network."""
        self._host.burst_ended()

    def _count(self, direction: str, frames: list[bytes]) -> None:
        self._counters[f"packets_{direction}"] += len(frames)
        self._counters[f"bytes_{direction}"] += sum(map(len, frames))

    def link_mtu(self, address: str) -> int:
        return self.mtu

    def can_dial(self, address: str) -> bool:
        """Whether frames could leave at all; every text is an address here."""
        return self.state == "up" and bool(address)

    def stats(self) -> dict[str, int]:
        return dict(self._counters)


_COUNTERS = (
    "packets_sent",
    "bytes_sent",
    "packets_recv",
    "bytes_recv",
    "send_errors",
    "recv_errors",
    "mtu_exceeded",
)


def memory_pair(
    clock: Any, left: ITransportHost, right: ITransportHost, *, seed: int = 0, quality: LinkQuality | None = None
) -> tuple[MemoryTransport, MemoryTransport]:
    """Return two started transports, at `memory:1` and `memory:2`, that reach each other and nobody else."""
    network = MemoryNetwork(clock, seed, quality)
    pair = (MemoryTransport(network, "memory:1", 1, left), MemoryTransport(network, "memory:2", 2, right))
    for station in pair:
        station.start()
    return pair
