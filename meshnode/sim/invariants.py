"""What must hold in every scenario, looked at again and again (docs/reference/simulator.md)."""

from __future__ import annotations

from random import Random

from .bounds import departed, oversized
from .machine import Machine, SimNode
from .standing import Standing, cycle
from .world import World

BOUNDS_EVERY = 5.0
NODES_AT_A_TIME = 10
NODES_AT_LAST = 100
_MOST_STEPS = 256


class Invariants:
    """Judges a world at each `look`; violations go to the world.

    Three kinds: what must never happen (a replay accepted, a payload altered, a table beyond its bound); what a quiet
    mesh must show but for moments of at most `grace` seconds (one root, no circle of parents, routes that end where
    they should); and what a quiet mesh must not count any more (datagrams that ran out of hops).
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._checks = world.scenario.checks
        self._random: Random = world.dice("invariants")
        self._since: dict[str, float] = {}
        self._reported: set[str] = set()
        self._bounds_due = 0.0
        self._measured = 0
        self._exhausted: int | None = None
        self.looks = 0
        self.routes_followed = 0
        self.standing: Standing | None = None

    @property
    def quiet(self) -> bool:
        """Whether the mesh has been left alone for long enough to be judged."""
        happenings = self._world.happenings
        if not happenings:
            return False
        return self._world.clock.seconds() - happenings[-1].at >= self._checks.settle

    def look(self) -> None:
        """Judge the world as it stands now."""
        world = self._world
        self.looks += 1
        self.standing = standing = world.stand()
        self._settle(standing)
        if world.clock.seconds() >= self._bounds_due:
            self._bounds_due = world.clock.seconds() + BOUNDS_EVERY
            self._never(NODES_AT_A_TIME)
        if self.quiet:
            self._while_quiet(standing)
        else:
            self._since.clear()
            self._exhausted = None

    def finish(self) -> None:
        """The last look, at everything."""
        self.look()
        self._never(NODES_AT_LAST)

    def _settle(self, standing: Standing) -> None:
        """Note which happenings the mesh has come to terms with."""
        now = self._world.clock.seconds()
        if not standing.settled:
            return
        open_ones = [h for h in self._world.happenings if h.tree_settled is None or h.filters_settled is None]
        if not open_ones:
            return
        filters = self._world.filters_settled()
        for happening in open_ones:
            if happening.tree_settled is None:
                happening.tree_settled = now
            if filters and happening.filters_settled is None:
                happening.filters_settled = now

    # -- never

    def _never(self, nodes: int) -> None:
        """Look for what must not happen at all; tables of `nodes` machines are measured, in turn."""
        world = self._world
        for machine in world.machines:
            accepted = machine.replays_accepted + (machine.station.replays_accepted if machine.station else 0)
            if accepted:
                self._report("no replay accepted", machine.name, f"{machine.name} accepted {accepted} copied frames")
        for _ in range(min(nodes, len(world.machines))):
            machine = world.machines[self._measured % len(world.machines)]
            self._measured += 1
            for text in [] if machine.node is None else oversized(machine.node):
                self._report("tables bounded", text.split()[0], f"{machine.name}: {text}")
        if self._checks.departed_after:
            for text in departed(world.machines, self._checks.departed_after, world.clock.seconds()):
                self._report("departed forgotten", text, text)

    def _report(self, invariant: str, key: str, detail: str) -> None:
        """Complain once about each thing."""
        if f"{invariant}/{key}" not in self._reported:
            self._reported.add(f"{invariant}/{key}")
            self._world.complain(invariant, detail)

    # -- in a quiet mesh

    def _while_quiet(self, standing: Standing) -> None:
        circle = cycle(self._world.machines)
        self._lasting("one tree per part", "; ".join(standing.problems[:3]))
        self._lasting("parents acyclic", " -> ".join(circle))
        self._lasting("no forwarding loop", self._lost_routes(standing))
        if self._world.dishonest:
            return  # whoever makes datagrams up can give them any hop limit
        exhausted = sum(
            machine.node.forwarding.counters.ttl_exhausted_packets
            for machine in self._world.machines
            if machine.node is not None
        )
        if self._exhausted is not None and exhausted > self._exhausted:
            self._report("hop limit unused", "", f"{exhausted - self._exhausted} datagrams ran out of hops")
        self._exhausted = exhausted

    def _lasting(self, invariant: str, problem: str) -> None:
        """Complain about a problem that has been there for longer than `grace`."""
        now = self._world.clock.seconds()
        if not problem:
            self._since.pop(invariant, None)
            self._reported.discard(f"{invariant}/")
        elif now - self._since.setdefault(invariant, now) > self._checks.grace:
            self._report(invariant, "", problem)

    def _lost_routes(self, standing: Standing) -> str:
        """Follow routes between nodes of one part, with fresh coordinates and with those in the caches."""
        world = self._world
        honest = ([i for i in part if world.honest(world.machines[i])] for part in standing.parts)
        parts = [part for part in honest if len(part) > 1]
        problems = []
        for _ in range(self._checks.pairs if parts else 0):
            source, destination = self._random.sample(self._random.choice(parts), 2)
            start, end = world.machines[source], world.machines[destination]
            self.routes_followed += 1
            hops = follow(world, start, end)
            if hops is None:
                problems.append(f"no route from {start.name} to {end.name}")
            if loops(world, start, end):
                problems.append(f"what {start.name} sends to {end.name} goes in circles")
        return "; ".join(problems[:3])


def follow(world: World, start: Machine, end: Machine) -> int | None:
    """Hops from `start` to `end` if every node on the way knew where `end` is now; None when they lead nowhere."""
    if end.node is None:
        return None
    coordinates = end.node.router.tree.coordinates
    at: SimNode | None = start.node
    for hops in range(_MOST_STEPS):
        if at is None:
            return None
        if at is end.node:
            return hops
        at = world.node_at(at.hop_towards(end.address, coordinates))
    return None


def loops(world: World, start: Machine, end: Machine) -> bool:
    """Whether a datagram would come by one node twice, each node judging by the coordinates in its own cache.

    Back to where it came from no node sends it; that is a loss, and no loop.
    """
    at: SimNode | None = start.node
    before: SimNode | None = None
    seen: set[str] = set()
    now = world.clock.seconds()
    while at is not None and at is not end.node:
        if at.label in seen:
            return True
        seen.add(at.label)
        coordinates = at.router.coordinate_cache.get(end.address, now)
        if coordinates is None and end.address not in at.router.neighbours:
            return False
        onward = world.node_at(at.hop_towards(end.address, coordinates or [end.address]))
        if onward is before:
            return False
        before, at = at, onward
    return False
