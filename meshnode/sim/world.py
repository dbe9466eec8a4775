"""A whole mesh in one process: machines, links and what they carry, on one clock and from one seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from meshnode.identity import Identity

from .clock import VirtualClock
from .links import LinkSpec
from .machine import Machine, Observer, SimNode
from .medium import Medium
from .scenario import Plan, Scenario, TrafficSpec
from .standing import Standing, filters_settled, physical_parts, stand
from .topology import Edge
from .traffic import Receiver, Traffic

EXCUSE_SECS = 5.0
"""A packet sent this long before one of its ends went may have been under way or waiting."""


@dataclass(slots=True)
class Happening:
    """An event as it took place, and how the mesh took it. Times are seconds of the simulation, None: not yet."""

    name: str
    action: str
    at: float
    subjects: list[str]
    tree_settled: float | None = None
    filters_settled: float | None = None


@dataclass(slots=True)
class Violation:
    """An invariant did not hold."""

    at: float
    invariant: str
    detail: str


class World:
    """The mesh of one scenario under one seed. Build it, `run_until` some moment, look at anything, go on.

    Nothing in it depends on wall time, hash seeds or anything else outside: two worlds of one scenario and seed do the
    same thing at the same virtual moments.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.seed = seed
        self.clock = VirtualClock()
        self.medium = Medium(self.clock, self.dice("medium"))
        self.observer = Observer.new()
        self.plan = Plan.of(scenario.topology, self.dice("topology"))
        self.edges: list[Edge] = self.plan.graph.edges
        self.address_names: dict[bytes, str] = {}
        self.machines = [self._machine(name) for name in self.plan.names]
        self.happenings: list[Happening] = []
        self.violations: list[Violation] = []
        self.down: list[str] = []
        self.dishonest = {name for spec in scenario.byzantine for name in spec.nodes}
        self.parts: list[list[int]] = []
        self.traffics: list[Traffic] = []
        self.receiver = Receiver(self.traffics, self.clock, self.complain)
        self._numbers = {name: i for i, name in enumerate(self.plan.names)}
        self._part_of: dict[str, int] = {}
        self._lay_links()
        self._introduce()
        self._load()
        self._boot()

    def dice(self, purpose: str) -> Random:
        """Random numbers for one purpose, so that drawing more for one does not change another."""
        return Random(f"{self.seed}/{purpose}")

    # -- building

    def _machine(self, name: str) -> Machine:
        identity = Identity.generate(self.dice(f"identity/{name}").randbytes)
        return Machine(
            name,
            identity,
            f"{self.seed}/node",
            self.scenario.settings,
            self.clock,
            self.medium,
            self.observer,
            self.address_names,
            self._received,
        )

    def _lay_links(self) -> None:
        names, dice = self.plan.names, self.dice("links")
        base = self.scenario.link.apply(LinkSpec.of_class("perfect"))
        specs = dict.fromkeys(self.edges, base)
        for override in self.scenario.links:
            named = {frozenset((self._numbers[a], self._numbers[b])): (a, b) for a, b in override.between}
            for edge in self.edges:
                ends = named.get(frozenset(edge))
                if ends is not None and self._numbers[ends[0]] != edge[0]:
                    specs[edge] = _turned(override.spec.apply(_turned(specs[edge])))
                elif ends is not None or (override.share and dice.random() < override.share):
                    specs[edge] = override.spec.apply(specs[edge])
        for (a, b), spec in specs.items():
            self.medium.connect(names[a], names[b], spec)

    def _introduce(self) -> None:
        """Tell machines whom to dial: one end of each link, or both. Who joins late dials, otherwise the dice tell."""
        dice, both, absent = self.dice("dial"), self.scenario.dial == "both", self.scenario.absent
        for a, b in self.edges:
            left, right = self.machines[a], self.machines[b]
            turned = dice.random() < 0.5
            if right.name in absent or (turned and left.name not in absent):
                left, right = right, left
            left.peers.append(right)
            if both:
                right.peers.append(left)

    def _load(self) -> None:
        for spec in self.scenario.traffic:
            self.add_traffic(spec)

    def add_traffic(self, spec: TrafficSpec) -> Traffic:
        """Let hosts send; those of dishonest nodes do only when they are named."""
        number = len(self.traffics)
        machines = [machine for machine in self.machines if spec.named_pairs or self.honest(machine)]
        traffic = Traffic(number, spec, machines, self.clock, self, self.dice(f"traffic/{number}"))
        self.traffics.append(traffic)
        self.clock.callLater(0.0, traffic.start)
        return traffic

    def _boot(self) -> None:
        dice = self.dice("boot")
        last = 0.0
        for machine in self.machines:
            if machine.name not in self.scenario.absent:
                when = dice.random() * self.scenario.spread
                last = max(last, when)
                self.clock.callLater(when, machine.start)
        self.clock.callLater(last, self._booted)

    def _booted(self) -> None:
        self.note("start", "start", [])

    def _received(self, machine: Machine, packet: bytes) -> None:
        self.receiver.receive(machine, packet)

    # -- looking

    def machine(self, name: str) -> Machine:
        return self.machines[self._numbers[name]]

    def node_at(self, address: bytes | None) -> SimNode | None:
        """The running node with an address, if there is one."""
        name = None if address is None else self.address_names.get(address)
        return None if name is None else self.machine(name).node

    def honest(self, machine: Machine) -> bool:
        """Whether a machine keeps to the rules all the time."""
        return machine.name not in self.dishonest

    def has(self, name: str) -> bool:
        return name in self._numbers

    def connected(self, source: Machine, destination: Machine) -> bool:
        """Whether both run and working links lead from one to the other."""
        part = self._part_of.get(source.name)
        return part is not None and part == self._part_of.get(destination.name)

    def stand(self) -> Standing:
        """How the trees stand now."""
        return stand(self.machines, self.parts, self.medium, self.dishonest)

    def filters_settled(self) -> bool:
        """Whether every filter is what it would be if sent now."""
        return filters_settled([machine for machine in self.machines if self.honest(machine)], self.medium)

    def complain(self, invariant: str, detail: str) -> None:
        """Note a violation."""
        self.violations.append(Violation(self.clock.seconds(), invariant, detail))

    def run_until(self, when: float) -> None:
        """Let time pass."""
        self.clock.run_until(when)

    # -- what happens

    def note(self, name: str, action: str, subjects: list[str]) -> None:
        """Note that something was done to the mesh, and look again which machines run and are connected."""
        now = self.clock.seconds()
        self.happenings.append(Happening(name, action, now, subjects))
        self.observer.history.append((now, "event", name, " ".join(subjects)))
        self.parts = physical_parts(self.machines, self.edges, self.medium)
        self._part_of = {self.plan.names[i]: k for k, part in enumerate(self.parts) for i in part}

    def crash(self, machine: Machine) -> None:
        """Cut the power of a machine."""
        if machine.running:
            machine.crash()
            self._left(machine)

    def stop(self, machine: Machine) -> None:
        """Shut a machine down in good order."""
        if machine.running:
            machine.stop()
            self._left(machine)

    def _left(self, machine: Machine) -> None:
        self.down.append(machine.name)
        for traffic in self.traffics:
            traffic.excuse_lost(machine, self.clock.seconds() - EXCUSE_SECS)

    def start(self, machine: Machine) -> None:
        """Boot a machine that is not running."""
        if not machine.running:
            if machine.name in self.down:
                self.down.remove(machine.name)
            machine.start()


def _turned(spec: LinkSpec) -> LinkSpec:
    return LinkSpec(spec.back, spec.there)
