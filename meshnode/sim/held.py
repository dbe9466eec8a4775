"""Links that carry nothing by themselves: whoever explores decides which frame arrives when, twice, or never."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from random import Random

from .clock import VirtualClock
from .links import LinkSpec
from .medium import Medium, Way

_PHASES = ("data", "handshake message 1", "handshake message 2")


@dataclass(frozen=True, slots=True)
class HeldFrame:
    """A frame under way: the `number`-th on its way since frames are held. A copy has arrived once already."""

    number: int
    data: bytes
    copied: bool = False

    def text(self) -> str:
        """What somebody who reads along on the wire can say about it."""
        kind = _PHASES[self.data[0]] if self.data and self.data[0] < len(_PHASES) else "frame"
        return f"{kind}, {len(self.data)} bytes" + (", again" if self.copied else "")


class HeldMedium(Medium):
    """A medium that carries as ever until `hold`; then frames wait until they are delivered or lost one by one.

    `inputs` digests, for each station, everything it was given while frames were held: a node is a function of that,
    so that two worlds with equal digests and equal frames under way are equal.
    """

    def __init__(self, clock: VirtualClock, random: Random) -> None:
        super().__init__(clock, random)
        self.holding = False
        self.held: dict[tuple[str, str], list[HeldFrame]] = {}
        self.inputs: dict[str, bytes] = {}
        self._numbers: dict[tuple[str, str], int] = {}

    @classmethod
    def instead_of(cls, medium: Medium) -> HeldMedium:
        """A medium with the same links, for a world in which nothing has happened yet."""
        mine = cls(medium.clock, Random(0))
        for source, destination in medium.ways:
            if (source, destination) not in mine.ways:
                back = medium.ways[destination, source]
                mine.connect(source, destination, LinkSpec(medium.ways[source, destination].quality, back.quality))
        return mine

    def hold(self) -> None:
        """Keep every frame from now on."""
        self.holding = True

    def release(self) -> None:
        """Let go of what is held, in the order it was sent, and carry as ever from now on."""
        self.holding = False
        held, self.held = self.held, {}
        for (source, destination), frames in held.items():
            way = self.ways[source, destination]
            for frame in frames:
                self.clock.at(
                    self.clock.seconds() + way.quality.delay,
                    self._arrive,
                    (way, [frame.data], way.generation, frame.copied),
                )

    def carry(self, source: str, destination: str, frames: list[bytes]) -> None:
        way = self.ways.get((source, destination))
        if not self.holding or way is None or not way.up:
            super().carry(source, destination, frames)
            return
        held = self.held.setdefault((source, destination), [])
        for data in frames:
            number = self._numbers.get((source, destination), 0) + 1
            self._numbers[source, destination] = number
            held.append(HeldFrame(number, data))

    def switch(self, left: str, right: str, up: bool) -> None:
        super().switch(left, right, up)
        if not up:
            self.held.pop((left, right), None)
            self.held.pop((right, left), None)

    # -- what an explorer does

    def find(self, ends: tuple[str, str], number: int) -> HeldFrame | None:
        """The frame of that number if it is under way."""
        return next((frame for frame in self.held.get(ends, []) if frame.number == number), None)

    def lose(self, ends: tuple[str, str], number: int) -> None:
        """Let a frame vanish."""
        self.held[ends] = [frame for frame in self.held[ends] if frame.number != number]

    def deliver(self, ends: tuple[str, str], number: int, keep: bool = False) -> None:
        """Let a frame arrive; with `keep` a copy of it stays under way."""
        frame = self.find(ends, number)
        if frame is None:
            return
        if keep:
            held = self.held[ends]
            held[held.index(frame)] = replace(frame, copied=True)
        else:
            self.lose(ends, number)
        way: Way = self.ways[ends]
        self.note_input(way.destination, way.source.encode() + bytes((frame.copied,)) + frame.data)
        self._arrive((way, [frame.data], way.generation, frame.copied))

    def note_input(self, station: str, what: bytes) -> None:
        """Add to the digest of what a station was given."""
        before = self.inputs.get(station, b"")
        moment = repr(self.clock.seconds()).encode()
        self.inputs[station] = sha256(before + moment + b"/" + what).digest()

    def fingerprint(self) -> bytes:
        """Equal for equal worlds: the moment, all inputs so far, links that are up, and frames under way."""
        parts = [repr(self.clock.seconds())]
        parts += [f"{name} {digest.hex()}" for name, digest in sorted(self.inputs.items())]
        parts += [f"{source} {destination}" for (source, destination), way in sorted(self.ways.items()) if way.up]
        for ends, frames in sorted(self.held.items()):
            parts += [f"{ends} {frame.number} {frame.copied} {frame.data.hex()}" for frame in frames]
        return sha256("\n".join(parts).encode()).digest()
