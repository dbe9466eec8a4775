"""A scenario: a mesh, what happens to it, what it carries, and what is expected of it (docs/reference/simulator.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from meshnode.mesh.settings import MeshSettings

from .links import LinkSpec
from .topology import SHAPES, Graph


@dataclass(frozen=True, slots=True)
class Topology:
    """A shape with its parameters, or named edges. The graph itself may depend on the seed."""

    kind: str
    parameters: dict[str, float] = field(default_factory=dict)
    named_edges: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Override:
    """Changes to links: those between the named ends, or the share `share` of all, drawn by the dice."""

    between: list[tuple[str, str]]
    share: float
    spec: LinkChange


@dataclass(frozen=True, slots=True)
class LinkChange:
    """A class to start from (None: the link as it is) and single properties, for both directions or for one."""

    link_class: str | None = None
    both: dict[str, float] = field(default_factory=dict)
    there: dict[str, float] = field(default_factory=dict)
    back: dict[str, float] = field(default_factory=dict)

    def apply(self, spec: LinkSpec) -> LinkSpec:
        base = spec if self.link_class is None else LinkSpec.of_class(self.link_class)
        return base.altered(self.both, self.there, self.back)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens at `at` seconds. `nodes` and `ends` may be selectors that are resolved when it happens."""

    at: float
    action: str
    name: str
    nodes: list[str] = field(default_factory=list)
    ends: tuple[str, str] | None = None
    groups: list[list[str]] = field(default_factory=list)
    change: LinkChange | None = None
    until: float = 0.0
    every: float = 0.0
    down_for: float = 0.0


@dataclass(frozen=True, slots=True)
class TrafficSpec:
    """Packets of `size` bytes (the whole IPv6 packet) from `begin` to `end`, one per `interval` seconds and flow."""

    kind: str
    name: str
    begin: float
    end: float
    interval: float
    size: int
    pairs: int = 0
    named_pairs: list[tuple[str, str]] = field(default_factory=list)
    node: str | None = None
    others: int = 0
    exponent: float = 1.0
    once: bool = False


@dataclass(frozen=True, slots=True)
class ByzantineSpec:
    """A node (or, for `replay` on a link, two ends of it) that does not keep to the rules between two moments."""

    behaviour: str
    nodes: list[str]
    ends: tuple[str, str] | None
    begin: float
    end: float
    interval: float


@dataclass(frozen=True, slots=True)
class Expectation:
    """One line of `expect`. What the fields mean depends on `kind`."""

    kind: str
    value: float
    after: str | None = None
    traffic: str | None = None
    begin: float = 0.0
    end: float = float("inf")
    percentile: float = 100.0
    counter: str | None = None
    at_least: bool = False

    def text(self) -> str:
        parts = [f"{self.kind} {self.value:g}"]
        if self.counter:
            parts = [f"counter {self.counter} {'>=' if self.at_least else '<='} {self.value:g}"]
        parts += [f"after {self.after}"] if self.after else []
        parts += [f"({self.traffic})"] if self.traffic else []
        if self.begin or self.end != float("inf"):
            parts.append(f"from {self.begin:g} s" + ("" if self.end == float("inf") else f" to {self.end:g} s"))
        if self.kind in ("stretch_at_most", "latency_at_most"):
            parts.append(f"(percentile {self.percentile:g})")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Checks:
    """How invariants are judged: looked at every `interval`; `settle` seconds after the last event of the scenario the
    mesh counts as quiet; what must hold in a quiet mesh may be violated for `grace` seconds at a time, because parents
    change for reasons of their own. `pairs` routes are followed at each look.
    """

    interval: float = 0.5
    settle: float = 45.0
    grace: float = 5.0
    pairs: int = 20
    departed_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """All of it. Immutable, so that runs of it with different seeds have nothing in common but this."""

    name: str
    topology: Topology
    about: str = ""
    seed: int = 1
    duration: float = 60.0
    link: LinkChange = LinkChange("perfect")
    links: list[Override] = field(default_factory=list)
    settings: MeshSettings = field(default_factory=MeshSettings)
    spread: float = 1.0
    dial: str = "one"
    absent: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    traffic: list[TrafficSpec] = field(default_factory=list)
    byzantine: list[ByzantineSpec] = field(default_factory=list)
    expect: list[Expectation] = field(default_factory=list)
    checks: Checks = Checks()


@dataclass(frozen=True, slots=True)
class Plan:
    """The graph of a scenario under one seed, with the names of its nodes."""

    names: list[str]
    graph: Graph

    @classmethod
    def of(cls, topology: Topology, random: Random) -> Plan:
        if topology.kind != "edges":
            defaults, build = SHAPES[topology.kind]
            known = {name: value for name, value in defaults.items() if value is not None}
            graph = build({**known, **topology.parameters}, random)
            return cls([f"n{i}" for i in range(graph.size)], graph)
        names = list(dict.fromkeys(name for edge in topology.named_edges for name in edge))
        number = {name: i for i, name in enumerate(names)}
        edges = [(number[a], number[b]) for a, b in topology.named_edges]
        return cls(names, Graph.of(len(names), edges))
