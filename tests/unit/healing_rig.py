"""Whole meshes that get hurt: topologies, steady traffic, faults, and the time until all is well."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise

from meshnode.identity import Identity
from meshnode.ipv6.adapter import Ipv6Adapter
from meshnode.mesh.link import PeerLink
from meshnode.mesh.settings import MeshSettings
from meshnode.transports.memory import LinkQuality, MemoryNetwork

from .node_rig import MTU, HostStack, MeshHost, MeshNet

Edge = tuple[str, str]
Flow = tuple[str, str]

LAN = LinkQuality(delay=(0.001, 0.002))
DEAD = LinkQuality(loss=1.0)
TRAFFIC_INTERVAL = 0.1
NOTICEABLE = 1.0
"""Seconds without an arrival that count as an outage of a flow of ten packets a second."""

NO_NEXT_HEADER = 59


def chain(count: int) -> list[Edge]:
    return [(f"n{n}", f"n{n + 1}") for n in range(count - 1)]


def ring(count: int) -> list[Edge]:
    return [*chain(count), (f"n{count - 1}", "n0")]


def star(leaves: int) -> list[Edge]:
    return [("hub", f"n{n}") for n in range(leaves)]


def grid(width: int, height: int) -> list[Edge]:
    edges = []
    for y in range(height):
        for x in range(width):
            here = f"n{y * width + x}"
            if x + 1 < width:
                edges.append((here, f"n{y * width + x + 1}"))
            if y + 1 < height:
                edges.append((here, f"n{(y + 1) * width + x}"))
    return edges


class NarrowNetwork(MemoryNetwork):
    """A medium whose links may swallow long frames without a word, as a path behind a tunnel does.

    Where `phases` names some, it carries frames of those only.
    """

    limits: dict[Edge, int]
    phases: dict[Edge, set[int]]

    def carry(self, source: str, destination: str, frames: list[bytes]) -> None:
        limit = self.limits.get((source, destination))
        if limit is not None:
            frames = [frame for frame in frames if len(frame) <= limit]
        phases = self.phases.get((source, destination))
        if phases is not None:
            frames = [frame for frame in frames if frame[0] in phases]
        super().carry(source, destination, frames)


class Listener(HostStack):
    """A host stack that notes when each packet of the steady traffic came, and from whom."""

    def __init__(self, net: HealingNet) -> None:
        super().__init__()
        self._net = net

    def write(self, packets: list[bytes]) -> None:
        now, net = self._net.clock.seconds(), self._net
        for packet in packets:
            if packet[6] == NO_NEXT_HEADER:
                net.arrivals[net.owners[packet[8:24]], net.owners[packet[24:40]]].append(now)
            else:
                self.packets.append(packet)


class HealingNet(MeshNet):
    """Hosts joined along edges. `order` names hosts from the smallest address on, so that a test says who is root.

    `settled_at` is when anybody's place in the tree changed last, `torn_at` when the living last were not one tree.
    """

    def __init__(
        self,
        edges: Iterable[Edge],
        order: Iterable[str] = (),
        settings: MeshSettings | None = None,
        quality: LinkQuality | None = None,
        seed: int = 7,
    ) -> None:
        super().__init__(settings, quality or LAN)
        self.medium = NarrowNetwork(self.clock, seed=seed, quality=quality or LAN)
        self.medium.limits, self.medium.phases = {}, {}
        self.edges = list(edges)
        self.arrivals: dict[Flow, list[float]] = defaultdict(list)
        self.owners: dict[bytes, str] = {}
        self.flows: list[Flow] = []
        self.dead: set[str] = set()
        self.parent_changes: list[tuple[float, str]] = []
        self.settled_at = self.torn_at = 0.0
        self._seen: dict[str, list[bytes]] = {}
        self._next_packet = 0.0
        names = list(dict.fromkeys([*order, *(name for edge in self.edges for name in edge)]))
        identities = sorted((Identity((n + 1).to_bytes(32, "big")) for n in range(len(names))), key=_address)
        self.by_name = {
            name: self.host(name, seed=100 * seed + n, identity=identity)
            for n, (name, identity) in enumerate(zip(names, identities, strict=True))
        }
        for host in self.hosts:
            self.owners[host.identity.ipv6] = host.name
            host.stack = Listener(self)
            host.node.ipv6.adapter = Ipv6Adapter(
                host.identity.ipv6, host.node.ipv6, host.stack, MTU, self.clock.seconds
            )
            host.knows(*(other for other in self.hosts if other is not host))

    def __getitem__(self, name: str) -> MeshHost:
        return self.by_name[name]

    # -- life

    def start(self, stagger: float = 0.0) -> None:
        """Start every host; the first of each edge dials the second."""
        for name, host in self.by_name.items():
            host.start(*(self[b] for a, b in self.edges if a == name))
            if stagger:
                self.run(stagger)

    def run(self, seconds: float, step: float = 0.1) -> None:
        """Let time pass from event to event, with traffic, looking at the tree every `step`."""
        end = self.clock.seconds() + seconds
        look = self.clock.seconds() + step
        while True:
            now = self.clock.seconds()
            due = min((call.getTime() for call in self.clock.calls), default=end)
            when = min(max(due, now), look, end, self._next_packet if self.flows else end)
            self.clock.advance(when - now)
            now = self.clock.seconds()
            if self.flows and now >= self._next_packet:
                self._next_packet = now + TRAFFIC_INTERVAL
                self._send_all()
            if now >= look:
                look = now + step
                self._look()
            if now >= end:
                return

    def talk(self, *flows: Flow) -> None:
        """Send ten packets a second along `flows` from now on; without any, between every pair of living hosts."""
        self.flows = list(flows) or [flow for a, b in combinations(self.living(), 2) for flow in ((a, b), (b, a))]
        self._next_packet = self.clock.seconds()

    def _send_all(self) -> None:
        for source, target in self.flows:
            if source in self.dead or target in self.dead:
                continue
            self[source].send(self[target], b"tick")

    # -- faults

    def crash(self, name: str) -> None:
        """`name` is gone from one moment to the next, and says nothing."""
        self.dead.add(name)
        self[name].transport.stop()
        self[name].node.state = "dead"

    def cut(self, *edges: Edge) -> None:
        """Links stop carrying anything, without a word."""
        for edge in edges:
            self.spoil(edge, DEAD)

    def mend(self, *edges: Edge) -> None:
        for a, b in edges:
            self.medium.set_quality(a, b, None)
            self.medium.set_quality(b, a, None)

    def spoil(self, edge: Edge, quality: LinkQuality, both: bool = True) -> None:
        self.medium.set_quality(*edge, quality)
        if both:
            self.medium.set_quality(edge[1], edge[0], quality)

    def narrow(self, edge: Edge, mtu: int) -> None:
        """Frames longer than `mtu` vanish on this link, in both directions."""
        self.medium.limits[edge] = self.medium.limits[edge[1], edge[0]] = mtu

    # -- looking

    def living(self) -> list[str]:
        return [name for name in self.by_name if name not in self.dead]

    def parent(self, name: str) -> str:
        tree = self[name].node.router.tree
        return self.owners[b"\xfd" + tree.parent[:15]]

    def path(self, name: str) -> list[str]:
        """Names from `name` up to its root."""
        return [self.owners[b"\xfd" + a[:15]] for a in self[name].node.router.own_coordinates]

    def roots(self) -> set[str]:
        return {self.path(name)[-1] for name in self.living()}

    def whole(self, names: Iterable[str] | None = None) -> bool:
        """Whether everybody hangs, along its parent's own path, below the smallest living host of `names`."""
        members = [name for name in (names or self.living()) if name not in self.dead]
        root = min(members, key=lambda name: self[name].identity.node_addr)
        for name in members:
            path = self.path(name)
            if path[-1] != root or (name != root and (path[1] not in members or path[1:] != self.path(path[1]))):
                return False
        return True

    def link(self, name: str, peer: str) -> PeerLink | None:
        """What `name` has of its link to `peer`."""
        return self[name].node.links.peers.get(self[peer].identity.node_addr)

    def hop(self, name: str, target: str) -> str | None:
        """The peer through which `name` would send to `target`."""
        hop = self[name].node.router.next_hop(self[target].identity.node_addr, self.clock.seconds())
        return None if hop is None else self.owners[b"\xfd" + hop[:15]]

    def said(self, name: str, words: str) -> list[str]:
        """The lines `name` told its operator that contain `words`."""
        return [text for _, text in self[name].log if words in text]

    def _look(self) -> None:
        now = self.clock.seconds()
        if not self.whole():
            self.torn_at = now
        for name in self.living():
            path = self[name].node.router.own_coordinates
            before = self._seen.get(name)
            if path != before:
                self._seen[name] = path
                self.settled_at = now
                if before is None or path[1:2] != before[1:2]:
                    self.parent_changes.append((now, name))

    # -- measuring

    def gaps(self, since: float, least: float = NOTICEABLE) -> Iterator[tuple[Flow, float, float]]:
        """Outages (flow, from, to) of living flows that lasted at least `least` seconds and ended after `since`."""
        now = self.clock.seconds()
        for flow in self.flows:
            if flow[0] in self.dead or flow[1] in self.dead:
                continue
            for before, after in pairwise([0.0, *self.arrivals[flow], now]):
                if after > since and after - before >= least:
                    yield flow, before, after

    def worst_gap(self, since: float) -> tuple[float, Flow | None]:
        """The longest outage and whose it was."""
        return max(((after - before, flow) for flow, before, after in self.gaps(since)), default=(0.0, None))

    def healed_at(self, since: float) -> float:
        """When the last outage ended, `since` when there was none, infinity when one has not ended."""
        now = self.clock.seconds()
        ends = [after for _flow, _before, after in self.gaps(since)]
        return max((end if end < now else float("inf") for end in ends), default=since)


def _address(identity: Identity) -> bytes:
    return identity.node_addr


class Transfer:
    """A stream as TCP would carry it: a window of full segments, repeated when unanswered, shorter when told so.

    Like Linux, the sender does not believe in limits below the smallest MTU of IPv6.
    """

    WINDOW = 8
    ACK, DATA = 253, 254
    LEAST_MTU = 1280

    def __init__(self, net: HealingNet, source: str, target: str, mtu: int) -> None:
        self._net, self._source, self._target = net, net[source], net[target]
        self.mtu = mtu
        self.acknowledged = 0
        self._sent = 0
        self._patience = 1.0
        self._repeat_at = 0.0

    def run(self, segments: int, within: float) -> float:
        """Transfer so many segments; the seconds it took. Fails when time runs out."""
        start = self._net.clock.seconds()
        goal = self.acknowledged + segments
        while self.acknowledged < goal:
            now = self._net.clock.seconds()
            assert now - start < within, f"stalled after {self.acknowledged} segments of {self.mtu} bytes"
            self._fill(goal, now)
            self._net.run(0.02)
            self._answer()
            self._listen()
        return self._net.clock.seconds() - start

    def _fill(self, goal: int, now: float) -> None:
        if self._sent > self.acknowledged and now >= self._repeat_at:
            self._sent = self.acknowledged
            self._patience = min(2 * self._patience, 8.0)
            self._repeat_at = now + self._patience
        while self._sent < min(self.acknowledged + self.WINDOW, goal):
            if self._sent == self.acknowledged:
                self._repeat_at = now + self._patience
            payload = self._sent.to_bytes(4, "big").ljust(self.mtu - 40, b".")
            self._source.send(self._target, payload, self.DATA)
            self._sent += 1

    def _answer(self) -> None:
        """The receiver acknowledges what came in order."""
        received, self._target.stack.packets = self._target.stack.packets, []
        expected = self._expected
        for packet in received:
            if packet[6] == self.DATA and int.from_bytes(packet[40:44], "big") == expected:
                expected += 1
        if any(packet[6] == self.DATA for packet in received):
            self._target.send(self._source, expected.to_bytes(4, "big"), self.ACK)
        self._expected = expected

    _expected = 0

    def _listen(self) -> None:
        received, self._source.stack.packets = self._source.stack.packets, []
        for packet in received:
            if packet[6] == self.ACK:
                self._acknowledge(int.from_bytes(packet[40:44], "big"))
            elif packet[6] == 58 and packet[40] == 2:
                self.mtu = max(min(self.mtu, int.from_bytes(packet[44:48], "big")), self.LEAST_MTU)
                self._sent = self.acknowledged

    def _acknowledge(self, number: int) -> None:
        if number > self.acknowledged:
            self.acknowledged = number
            self._patience = 1.0
            self._repeat_at = self._net.clock.seconds() + self._patience
