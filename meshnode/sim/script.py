"""Doing to a mesh what the events of its scenario say."""

from __future__ import annotations

from collections.abc import Callable

from .links import LinkSpec
from .machine import Machine
from .names import PARENT_OF
from .scenario import Event
from .world import World


class Script:
    """The events of a world's scenario, set on its clock."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cut_by_partition: list[tuple[str, str]] = []
        self._actions: dict[str, Callable[[Event], None]] = {
            "crash": self._crash,
            "stop": self._stop,
            "restart": self._start,
            "join": self._start,
            "link_down": self._link,
            "link_up": self._link,
            "link_change": self._link,
            "partition": self._partition,
            "heal": self._heal,
            "churn": self._churn,
        }
        for event in world.scenario.events:
            world.clock.at(event.at, self._happen, event)

    def _happen(self, event: Event) -> None:
        self._actions[event.action](event)

    # -- who is meant

    def resolve(self, name: str) -> list[Machine]:
        """The machines a name or selector means now; none when there is no such machine."""
        world = self._world
        if name.startswith(PARENT_OF):
            return [parent for child in self.resolve(name[len(PARENT_OF) :]) for parent in self._parent(child)]
        if world.has(name):
            return [world.machine(name)]
        if name == "crashed":
            return [world.machine(down) for down in world.down]
        running = [machine for machine in world.machines if machine.running]
        return [] if not running else [self._select(name, running)]

    def _parent(self, child: Machine) -> list[Machine]:
        if child.node is None:
            return []
        parent = self._world.address_names.get(child.node.router.tree.parent)
        return [self._world.machine(parent)] if parent is not None and parent != child.name else []

    def _select(self, selector: str, running: list[Machine]) -> Machine:
        if selector == "root":
            return min(running, key=lambda machine: machine.address)
        if selector == "random":
            return self._world.dice(f"select/{self._world.clock.seconds()}").choice(running)
        if selector == "deepest":
            return max(running, key=lambda machine: (_depth(machine), machine.name))
        children: dict[str, int] = {}
        for machine in running:
            for parent in self._parent(machine):
                children[parent.name] = children.get(parent.name, 0) + 1
        return max(running, key=lambda machine: (children.get(machine.name, 0), machine.name))

    def _resolve_all(self, names: list[str], running: bool) -> list[Machine]:
        found = {machine.name: machine for name in names for machine in self.resolve(name)}
        return [machine for machine in found.values() if machine.running == running]

    # -- nodes

    def _crash(self, event: Event) -> None:
        self._each(event, self._world.crash, running=True)

    def _stop(self, event: Event) -> None:
        self._each(event, self._world.stop, running=True)

    def _start(self, event: Event) -> None:
        self._each(event, self._world.start, running=False)

    def _each(self, event: Event, action: Callable[[Machine], None], running: bool) -> None:
        targets = self._resolve_all(event.nodes, running)
        for machine in targets:
            action(machine)
        self._world.note(event.name, event.action, [machine.name for machine in targets])

    def _churn(self, event: Event) -> None:
        """One victim now; the next one after `every`, until `until`."""
        world = self._world
        running = [machine for machine in world.machines if machine.running]
        now = world.clock.seconds()
        if len(running) > 2:
            victim = world.dice(f"churn/{now}").choice(running)
            world.crash(victim)
            world.note(event.name, "crash", [victim.name])
            world.clock.callLater(event.down_for, lambda: self._back(event, victim))
        if now + event.every <= event.until:
            world.clock.callLater(event.every, lambda: self._churn(event))

    def _back(self, event: Event, victim: Machine) -> None:
        self._world.start(victim)
        self._world.note(event.name, "restart", [victim.name])

    # -- links

    def _ends(self, event: Event) -> tuple[str, str] | None:
        """The names at both ends of the link an event is about; None when there is no such link now."""
        if event.ends is None:
            return None
        left, right = self.resolve(event.ends[0]), self.resolve(event.ends[1])
        if not left or not right or (left[0].name, right[0].name) not in self._world.medium.ways:
            return None
        return left[0].name, right[0].name

    def _link(self, event: Event) -> None:
        ends, medium = self._ends(event), self._world.medium
        if ends is not None and event.change is not None:
            spec = LinkSpec(medium.ways[ends].quality, medium.ways[ends[1], ends[0]].quality)
            medium.connect(*ends, event.change.apply(spec))
        elif ends is not None:
            medium.switch(*ends, event.action == "link_up")
        self._world.note(event.name, event.action, list(ends or ()))

    def _partition(self, event: Event) -> None:
        """Cut every link between nodes of different groups; nodes not named form a group of their own."""
        side = {name: i for i, group in enumerate(event.groups) for name in group}
        world, cut = self._world, self._cut_by_partition
        names = world.plan.names
        for a, b in world.edges:
            ends = (names[a], names[b])
            if side.get(ends[0], -1) != side.get(ends[1], -1) and world.medium.ways[ends].up:
                world.medium.switch(*ends, False)
                cut.append(ends)
        world.note(event.name, event.action, [f"{len(cut)} links"])

    def _heal(self, event: Event) -> None:
        cut, self._cut_by_partition = self._cut_by_partition, []
        for ends in cut:
            self._world.medium.switch(*ends, True)
        self._world.note(event.name, event.action, [f"{len(cut)} links"])


def _depth(machine: Machine) -> int:
    return 0 if machine.node is None else len(machine.node.router.tree.coordinates)
