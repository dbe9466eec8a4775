"""Whole meshes that get hurt: topologies, steady traffic, faults, and the time until all is well."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations

from meshnode.identity import Identity
from meshnode.mesh.settings import MeshSettings
from meshnode.transports.memory import LinkQuality, MemoryNetwork

from .node_rig import HostStack, MeshHost, MeshNet

Edge = tuple[str, str]
Flow = tuple[str, str]

LAN = LinkQuality(delay=(0.001, 0.002))
DEAD = LinkQuality(loss=1.0)
TRAFFIC_INTERVAL = 0.1
NOTICEABLE = 1.0
"""Seconds without an arrival that count as an outage of a flow of ten packets a second."""


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
    """A medium whose links may swallow long frames without a word, as a path behind a tunnel does."""

    limits: dict[Edge, int]

    def carry(self, source: str, destination: str, frames: list[bytes]) -> None:
        limit = self.limits.get((source, destination))
        if limit is not None:
            frames = [frame for frame in frames if len(frame) <= limit]
        super().carry(source, destination, frames)


class Listener(HostStack):
    """A host stack that notes when each numbered packet came, and from whom."""

    def __init__(self, net: HealingNet) -> None:
        super().__init__()
        self._net = net

    def write(self, packets: list[bytes]) -> None:
        super().write(packets)
        now = self._net.clock.seconds()
        for packet in packets:
            source = self._net.owners.get(packet[8:24])
            if source is not None and packet[6] == 59:
                flow = source, self._net.owners[packet[24:40]]
                self._net.arrivals[flow].append((now, int.from_bytes(packet[40:44], "big")))


class HealingNet(MeshNet):
    """Hosts joined along edges. `identities[n]` of the sorted hosts goes to the n-th name of `order`.

    `order` names hosts from the smallest address on, so that a test can say who becomes root.
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
        self.medium.limits = {}
        self.edges = list(edges)
        self.arrivals: dict[Flow, list[tuple[float, int]]] = defaultdict(list)
        self.sent: dict[Flow, int] = defaultdict(int)
        self.owners: dict[bytes, str] = {}
        self.flows: list[Flow] = []
        self.dead: set[str] = set()
        self.parent_changes: list[tuple[float, str]] = []
        self.settled_at = 0.0
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
            host.node.ipv6.adapter._sink = host.stack  # type: ignore[union-attr]
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
            number = self.sent[source, target] = self.sent[source, target] + 1
            self[source].send(self[target], number.to_bytes(4, "big"))

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
            if path[-1] != root or (name != root and path[1:] != self.path(path[1])):
                return False
        return True

    def _look(self) -> None:
        now = self.clock.seconds()
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
            moments = [moment for moment, _ in self.arrivals[flow]]
            for before, after in zip([0.0, *moments], [*moments, now], strict=True):
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
