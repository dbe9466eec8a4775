"""Nodes that do not keep to the rules, and somebody who listens on a wire.

A dishonest node is a real node as well: its keys are good, its links authentic, and it does by itself whatever the
script does not make it do otherwise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Literal

from meshnode.mesh.bloom import FILTER_BITS, HASH_COUNT, SIZE_CLASS
from meshnode.wire.bloom import FilterAnnounce
from meshnode.wire.lookup import LookupRequest

from .byzantine_words import WORDS
from .machine import Machine, SimNode
from .medium import Way
from .scenario import ByzantineSpec
from .world import World

FILTER_ANNOUNCE = 0x20
BLOATED_FILL = 0.72
"""As full as a filter may be without being refused."""

_KEPT_FRAMES = 200
_FRAMES_AT_ONCE = 20


class Misconduct:
    """The byzantine part of a scenario, set on the clock of its world."""

    def __init__(self, world: World) -> None:
        self._world = world
        for spec in world.scenario.byzantine:
            world.clock.at(spec.begin, self._begin, spec)

    def _begin(self, spec: ByzantineSpec) -> None:
        world = self._world
        if spec.ends is not None:
            _Tap(world, spec, [world.medium.ways[spec.ends], world.medium.ways[spec.ends[::-1]]])
            world.note(spec.behaviour, "byzantine", list(spec.ends))
            return
        for name in spec.nodes:
            machine = world.machine(name)
            if spec.behaviour == "replay":
                _Tap(world, spec, world.medium.ways_to(name))
            elif machine.node is not None:
                _BEHAVIOURS[spec.behaviour](world, spec, machine)
        world.note(spec.behaviour, "byzantine", spec.nodes)
        if spec.end < world.scenario.duration:
            world.clock.at(spec.end, self._end, spec)

    def _end(self, spec: ByzantineSpec) -> None:
        self._world.note(f"end of {spec.behaviour}", "byzantine", spec.nodes)


class _Behaviour:
    """One node misbehaving from now on; `act` is called every `interval` until the end."""

    def __init__(self, world: World, spec: ByzantineSpec, machine: Machine) -> None:
        self.world = world
        self.spec = spec
        self.machine = machine
        self.random = world.dice(f"byzantine/{spec.behaviour}/{machine.name}")
        self.begin()
        self._again(None)

    def _again(self, _argument: None) -> None:
        clock = self.world.clock
        if clock.seconds() >= self.spec.end:
            self.stop()
            return
        if self.machine.node is not None:
            self.act(self.machine.node)
        clock.at(min(clock.seconds() + self.spec.interval, self.spec.end), self._again, None)

    def begin(self) -> None:
        """Prepare."""

    def act(self, node: SimNode) -> None:
        """Do harm once."""

    def stop(self) -> None:
        """Behave again."""


class _StaleAncestry(_Behaviour):
    """Never moves in the tree any more, and says so to everybody."""

    def begin(self) -> None:
        if self.machine.node is not None:
            self.machine.node.tree.stubborn = True

    def stop(self) -> None:
        node = self.machine.node
        if node is not None:
            node.tree.stubborn = False
            node.tree.become_root(node.world.wall())
            self.announce(node)

    @staticmethod
    def announce(node: SimNode) -> None:
        def tell(now: float) -> None:
            node.router.announces.send_all(now)
            node.router.filters.mark_all()

        node.run(tell)


class _LyingRoot(_StaleAncestry):
    """Claims to hang below a root smaller than anybody's address."""

    claimed = b"\0" * 15 + b"\1"

    def begin(self) -> None:
        super().begin()
        if self.machine.node is not None:
            self.claim(self.machine.node, self.claimed)

    def claim(self, node: SimNode, root: bytes) -> None:
        node.tree.claim(root, node.world.wall())
        self.announce(node)


class _RestlessRoot(_LyingRoot):
    """The same with another root every time."""

    def act(self, node: SimNode) -> None:
        self.claim(node, b"\0" * 8 + self.random.randbytes(8))


class _PoisonedFilter(_Behaviour):
    """Announces filters that contain everything there is."""

    fill = 1.0

    def begin(self) -> None:
        bits = self._bits()

        def tamper(messages: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
            return [(peer, _refilled(message, bits)) for peer, message in messages]

        if self.machine.node is not None:
            self.machine.node.tamper = tamper
            _StaleAncestry.announce(self.machine.node)

    def _bits(self) -> bytes:
        count = int(FILTER_BITS * self.fill)
        value = sum(1 << bit for bit in self.random.sample(range(FILTER_BITS), count))
        return value.to_bytes(FILTER_BITS // 8, "little")

    def act(self, node: SimNode) -> None:
        node.run(lambda now: node.router.filters.mark_all())

    def stop(self) -> None:
        if self.machine.node is not None:
            self.machine.node.tamper = None
            _StaleAncestry.announce(self.machine.node)


class _BloatedFilter(_PoisonedFilter):
    """Announces filters that contain nearly everything, but not so much that anybody could refuse them."""

    fill = BLOATED_FILL


def _refilled(message: bytes, bits: bytes) -> bytes:
    if message[0] != FILTER_ANNOUNCE:
        return message
    return FilterAnnounce(FilterAnnounce.parse(message[1:]).sequence, HASH_COUNT, SIZE_CLASS, bits).encode()


class _LookupStorm(_Behaviour):
    """Looks for everybody, all the time, in other people's names."""

    def act(self, node: SimNode) -> None:
        target, origin = self.random.sample(self.world.machines, 2)
        request = LookupRequest(
            request_id=self.random.getrandbits(64),
            target=target.address,
            origin=origin.address,
            ttl=64,
            min_mtu=0,
            origin_coordinates=[origin.address, *node.router.own_coordinates],
        ).encode()

        def send(now: float) -> None:
            for peer in list(node.links.peers.values()):
                node.links.send(peer, request, now)

        node.run(send)


class _Swallow(_Behaviour):
    """Announces its place like everybody, and drops what is led through it."""

    share: Literal["everything", "all but echoes"] = "everything"

    def begin(self) -> None:
        if self.machine.node is not None:
            self.machine.node.swallows = self.share

    def stop(self) -> None:
        if self.machine.node is not None:
            self.machine.node.swallows = "nothing"


class _SwallowSlyly(_Swallow):
    """The same, but for what neighbours send through it to see whether it does."""

    share = "all but echoes"


class _Words(_Behaviour):
    """Says to its neighbours what `byzantine_words` knows to say."""

    def begin(self) -> None:
        self._words = WORDS[self.spec.behaviour](self.world, self.machine, self.random)

    def act(self, node: SimNode) -> None:
        self._words.say(node)


class _Garbage(_Behaviour):
    """Throws noise at its neighbours, some of it with a header that looks right."""

    def act(self, node: SimNode) -> None:
        for way in self.world.medium.ways_from(self.machine.name):
            self.world.medium.carry(way.source, way.destination, [_noise(self.random) for _ in range(3)])


def _noise(random: Random) -> bytes:
    body = random.randbytes(random.choice((0, 1, 3, 12, 28, 40, 65, 110, 300, 1400)))
    if random.random() < 0.5:
        return body
    prefix = bytes((random.randrange(3), random.randrange(8))) + len(body).to_bytes(2, "little")
    return prefix + body


class _GarbageInside(_Behaviour):
    """Sends authentic link frames with nonsense in them."""

    def act(self, node: SimNode) -> None:
        def send(now: float) -> None:
            for peer in list(node.links.peers.values()):
                node.links.send(peer, self._message(), now)

        node.run(send)

    def _message(self) -> bytes:
        kind = self.random.choice((0x00, 0x00, 0x01, 0x02, 0x10, 0x20, 0x30, 0x31, 0x42, 0xFF))
        body = self.random.randbytes(self.random.choice((0, 1, 10, 35, 36, 45, 66, 100, 132, 1034)))
        if kind == 0x00 and len(body) > 35 and self.random.random() < 0.7:
            body = self._datagram(body)
        return bytes((kind,)) + body

    def _datagram(self, body: bytes) -> bytes:
        """A datagram between two nodes that exist, so that it travels before anybody finds it wrong."""
        source, destination = self.random.sample(self.world.machines, 2)
        return b"\x40\xff\xff" + source.address + destination.address + body[35:]


class _Tap:
    """Somebody who records what arrives by some ways, and sends it again, now from here, now from elsewhere."""

    def __init__(self, world: World, spec: ByzantineSpec, ways: list[Way]) -> None:
        self._world = world
        self._spec = spec
        self._ways = ways
        self._random = world.dice(f"tap/{ways[0].source}/{ways[0].destination}")
        self._recorded: dict[str, deque[bytes]] = {}
        for way in ways:
            way.tap = self._record
        self._again(None)

    def _record(self, way: Way, frames: list[bytes]) -> None:
        self._recorded.setdefault(way.destination, deque(maxlen=_KEPT_FRAMES)).extend(frames)

    def _again(self, _argument: None) -> None:
        clock = self._world.clock
        if clock.seconds() >= self._spec.end:
            for way in self._ways:
                way.tap = None
            return
        for victim, recorded in self._recorded.items():
            known = list(recorded)
            chosen = self._random.sample(known, min(_FRAMES_AT_ONCE, len(known)))
            self._world.medium.inject(self._random.choice(self._world.medium.ways_to(victim)), chosen)
        clock.at(clock.seconds() + self._spec.interval, self._again, None)


_BEHAVIOURS: dict[str, Callable[[World, ByzantineSpec, Machine], object]] = {
    "lying_root": _LyingRoot,
    "restless_root": _RestlessRoot,
    "stale_ancestry": _StaleAncestry,
    "poisoned_filter": _PoisonedFilter,
    "bloated_filter": _BloatedFilter,
    "lookup_storm": _LookupStorm,
    "swallow": _Swallow,
    "swallow_slyly": _SwallowSlyly,
    "garbage": _Garbage,
    "garbage_inside": _GarbageInside,
    **dict.fromkeys(WORDS, _Words),
}
