"""The ether: carries frames between stations over links of any quality, on virtual time, from one seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from random import Random

from zope.interface import implementer

from meshnode.transports.interfaces import ITransport, ITransportHost

from .clock import VirtualClock
from .links import LinkSpec, Quality

DEFAULT_MTU = 1472
GRAIN = 0.001
"""Frames of one batch that arrive within this many seconds are handed over together, as a busy receiver gets them."""


@dataclass(slots=True)
class MediumCounters:
    """What became of frames on all links together."""

    carried: int = 0
    carried_bytes: int = 0
    lost: int = 0
    queue_full: int = 0
    cut: int = 0
    too_big: int = 0
    duplicated: int = 0
    reordered: int = 0

    def as_dict(self) -> dict[str, int]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Way:
    """One direction of one link."""

    __slots__ = (
        "carried",
        "carried_bytes",
        "destination",
        "dropped",
        "free_at",
        "generation",
        "in_burst",
        "latest",
        "quality",
        "source",
        "tap",
        "up",
    )

    def __init__(self, source: str, destination: str, quality: Quality) -> None:
        self.source = source
        self.destination = destination
        self.quality = quality
        self.up = True
        self.free_at = 0.0
        self.latest = 0.0
        self.in_burst = False
        self.generation = 0
        self.carried = self.carried_bytes = self.dropped = 0
        self.tap: Callable[[Way, list[bytes]], None] | None = None

    @property
    def alive(self) -> bool:
        """Whether anything can get through at all."""
        return self.up and self.quality.loss < 1.0


class Medium:
    """All links of a mesh. What is sent while there is no link between two stations is lost, as on real wires."""

    def __init__(self, clock: VirtualClock, random: Random) -> None:
        self.clock = clock
        self.counters = MediumCounters()
        self.ways: dict[tuple[str, str], Way] = {}
        self.stations: dict[str, Station] = {}
        self._from: dict[str, list[Way]] = {}
        self._mtus: dict[str, int] = {}
        self._random = random

    # -- links

    def ways_from(self, address: str) -> list[Way]:
        """The outgoing direction of every link of a station."""
        return self._from.get(address, [])

    def ways_to(self, address: str) -> list[Way]:
        """The incoming direction of every link of a station."""
        return [self.ways[way.destination, way.source] for way in self.ways_from(address)]

    def mtu_of(self, address: str) -> int:
        """The smallest MTU of any link of a station."""
        return self._mtus.get(address, DEFAULT_MTU)

    def connect(self, left: str, right: str, spec: LinkSpec) -> None:
        """Lay a link; one that exists takes the new qualities."""
        self._lay(left, right, spec.there)
        self._lay(right, left, spec.back)

    def _lay(self, source: str, destination: str, quality: Quality) -> None:
        way = self.ways.get((source, destination))
        if way is None:
            way = self.ways[source, destination] = Way(source, destination, quality)
            self._from.setdefault(source, []).append(way)
        way.quality = quality
        self._mtus[source] = min(way.quality.mtu for way in self._from[source])

    def switch(self, left: str, right: str, up: bool) -> None:
        """Cut or mend both directions of a link; what is under way on a cut one is lost."""
        for way in (self.ways[left, right], self.ways[right, left]):
            if way.up != up:
                way.up = up
                way.generation += 1

    def joined(self, left: str, right: str) -> bool:
        """Whether there is a link that works both ways."""
        there, back = self.ways.get((left, right)), self.ways.get((right, left))
        return there is not None and back is not None and there.alive and back.alive

    def quality(self, source: str, destination: str) -> Quality | None:
        way = self.ways.get((source, destination))
        return None if way is None else way.quality

    # -- frames

    def carry(self, source: str, destination: str, frames: list[bytes]) -> None:
        """Take `frames` from `source`; what survives arrives later, never within this call."""
        way = self.ways.get((source, destination))
        if way is None or not way.up:
            self.counters.cut += len(frames)
            return
        self.counters.carried += len(frames)
        nbytes = sum(map(len, frames))
        self.counters.carried_bytes += nbytes
        way.carried += len(frames)
        way.carried_bytes += nbytes
        quality = way.quality
        if not quality.perfect:
            self._afflict(way, frames)
        elif quality.bandwidth:
            self._serialise(way, frames)
        else:
            self._send(way, frames, self.clock.seconds())

    def inject(self, way: Way, frames: list[bytes]) -> None:
        """Put copies of frames that arrived earlier by `way` on it, as somebody with a recorder would."""
        self.clock.at(self.clock.seconds() + way.quality.delay, self._arrive, (way, frames, way.generation, True))

    def _send(self, way: Way, frames: list[bytes], sent: float) -> None:
        self.clock.at(self._arrival(way, sent), self._arrive, (way, frames, way.generation, False))

    def _arrival(self, way: Way, sent: float) -> float:
        quality = way.quality
        when = sent + quality.delay
        if quality.jitter:
            when += self._random.random() * quality.jitter
        if when < way.latest:
            return way.latest
        way.latest = when
        return when

    def _serialise(self, way: Way, frames: list[bytes]) -> list[bytes]:
        """Let frames wait in line and pass one by one, or fall off its end; returns those that pass."""
        quality, now = way.quality, self.clock.seconds()
        free = way.free_at if way.free_at > now else now
        batch: list[bytes] = []
        passing: list[bytes] = []
        begun = 0.0
        for frame in frames:
            if free - now > quality.queue:
                self.counters.queue_full += 1
                way.dropped += 1
                continue
            free += len(frame) * 8 / quality.bandwidth
            if batch and free - begun > GRAIN:
                self._send(way, batch, way.free_at)
                batch = []
            if not batch:
                begun = free
            batch.append(frame)
            passing.append(frame)
            way.free_at = free
        if batch:
            self._send(way, batch, free)
        return passing

    def _afflict(self, way: Way, frames: list[bytes]) -> None:
        """Lose, repeat and delay frames by the dice."""
        quality, chance = way.quality, self._random.random
        passing: list[bytes] = []
        for frame in frames:
            if quality.hidden_mtu and len(frame) > quality.hidden_mtu:
                self.counters.too_big += 1
                way.dropped += 1
            elif quality.loss and self._loses(way):
                self.counters.lost += 1
                way.dropped += 1
            elif quality.reorder and chance() < quality.reorder:
                self.counters.reordered += 1
                when = self.clock.seconds() + quality.delay + quality.lag * (0.5 + chance())
                self.clock.at(when, self._arrive, (way, [frame], way.generation, False))
                self._repeat(way, frame, when)
            else:
                passing.append(frame)
        if passing and quality.bandwidth:
            passing = self._serialise(way, passing)
        elif passing:
            self._send(way, passing, self.clock.seconds())
        if quality.duplicate:
            for frame in passing:
                self._repeat(way, frame, way.latest)

    def _repeat(self, way: Way, frame: bytes, after: float) -> None:
        if self._random.random() < way.quality.duplicate:
            self.counters.duplicated += 1
            when = after + way.quality.lag * self._random.random()
            self.clock.at(when, self._arrive, (way, [frame], way.generation, True))

    def _loses(self, way: Way) -> bool:
        """Two states, after Gilbert: in a burst everything is lost."""
        quality = way.quality
        chance = self._random.random()
        if quality.burst <= 1.0:
            return chance < quality.loss
        if way.in_burst:
            way.in_burst = chance >= 1.0 / quality.burst
        else:
            way.in_burst = chance < quality.loss / (quality.burst * (1.0 - min(quality.loss, 0.99)))
        return way.in_burst

    def _arrive(self, arrival: tuple[Way, list[bytes], int, bool]) -> None:
        way, frames, generation, copied = arrival
        station = self.stations.get(way.destination)
        if station is None or generation != way.generation:
            self.counters.cut += len(frames)
        elif copied:
            station.receive_copies(way.source, frames)
        else:
            station.receive(way.source, frames)
            if way.tap is not None:
                way.tap(way, frames)


@implementer(ITransport)
class Station:
    """A node's plug: the one transport it has, over which every neighbour is reached by name.

    `accepted()` counts the link frames the node has taken for authentic and new; it must not grow when the node is
    given copies of frames that it got before. How often it did is `replays_accepted`.
    """

    kind = "sim"
    name: str | None = None
    accepts_connections = True

    def __init__(self, medium: Medium, address: str, host: ITransportHost, accepted: Callable[[], int]) -> None:
        self.transport_id = 1
        self.state = "configured"
        self.local_address: str | None = None
        self.refused = 0
        self.replays_accepted = 0
        self.address = address
        self._accepted = accepted
        self._medium = medium
        self._host = host
        self._queue: dict[str, list[bytes]] = {}

    @property
    def mtu(self) -> int:
        """The smallest of all links, as a node with one transport per kind of link would find it."""
        return self._medium.mtu_of(self.address)

    def start(self) -> None:
        """Be reachable."""
        self._medium.stations[self.address] = self
        self.local_address, self.state = self.address, "up"

    def stop(self) -> None:
        """Send what is queued and be gone."""
        self.flush()
        self.cut()

    def cut(self) -> None:
        """Be gone at once, as when the power fails."""
        if self._medium.stations.get(self.address) is self:
            del self._medium.stations[self.address]
        self.local_address, self.state = None, "down"
        self._queue.clear()

    def send(self, address: str, frames: list[bytes]) -> None:
        """Queue `frames` until `flush`; what exceeds the link is refused and counted."""
        limit = self.link_mtu(address)
        if max(map(len, frames), default=0) > limit:
            self.refused += sum(1 for frame in frames if len(frame) > limit)
            frames = [frame for frame in frames if len(frame) <= limit]
        queue = self._queue.get(address)
        if queue is None:
            self._queue[address] = list(frames)
        else:
            queue += frames

    def flush(self) -> None:
        if self._queue:
            queue, self._queue = self._queue, {}
            if self.state == "up":
                carry, address = self._medium.carry, self.address
                for destination, frames in queue.items():
                    carry(address, destination, frames)

    def receive(self, source: str, frames: list[bytes]) -> None:
        """Take what arrived; called by the medium."""
        self._host.frames_received(self, source, frames)
        self._host.burst_ended()

    def receive_copies(self, source: str, frames: list[bytes]) -> None:
        """Take copies of what arrived before; called by the medium."""
        established = [frame for frame in frames if not frame[0]]  # repeated handshakes are answered, and rightly so
        before = self._accepted()
        if established:
            self._host.frames_received(self, source, established)
            self.replays_accepted += max(0, self._accepted() - before)
        if len(established) < len(frames):
            self._host.frames_received(self, source, [frame for frame in frames if frame[0]])
        self._host.burst_ended()

    def link_mtu(self, address: str) -> int:
        quality = self._medium.quality(self.address, address)
        return DEFAULT_MTU if quality is None else quality.mtu

    def can_dial(self, address: str) -> bool:
        return self.state == "up" and (self.address, address) in self._medium.ways

    def stats(self) -> dict[str, int]:
        return {"mtu_exceeded": self.refused}
