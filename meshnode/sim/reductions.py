"""Smaller scenarios made of a scenario: without some nodes, links, events or packets, in less time, on better links.

All of it is plain rewriting; whether the smaller scenario still fails is for `shrink` to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

from meshnode.mesh.settings import MeshSettings

from .names import PARENT_OF, SELECTORS
from .scenario import ByzantineSpec, Event, LinkChange, Override, Scenario, Topology, TrafficSpec
from .world import World

BREATH = 10.0
"""No stretch of time between two things that happen is made shorter than this many seconds: a mesh needs them."""

_KEPT_ACTIONS = ("partition", "heal")
_PERFECT = LinkChange("perfect")

# -- a mesh that no longer depends on dice


def explicit(scenario: Scenario, seed: int) -> Scenario:
    """The same mesh with every node, link and destination named, as far as they are known before the run.

    What the dice say about the run itself may come out differently.
    """
    world = World(scenario, seed)
    world.run_until(0.0)
    names = world.plan.names
    # A run numbers nodes as it meets them: this order keeps the numbers, and with them most of what the dice say.
    edges = [(names[a], names[b]) for a, b in sorted(world.edges, key=lambda edge: (edge[1], edge[0]))]
    dice = Random(f"{seed}/links")
    links = [_named(override, [(names[a], names[b]) for a, b in world.edges], dice) for override in scenario.links]
    traffic = [
        _named_pairs(spec, [(f.source.name, f.destination.name) for f in running.flows])
        for spec, running in zip(scenario.traffic, world.traffics, strict=True)
    ]
    return replace(scenario, topology=Topology("edges", {}, edges), links=links, traffic=traffic)


def _named(override: Override, edges: list[tuple[str, str]], dice: Random) -> Override:
    """An override that names the links it changes."""
    if not override.share:
        return override
    return Override([edge for edge in edges if dice.random() < override.share], 0.0, override.spec)


def _named_pairs(spec: TrafficSpec, pairs: list[tuple[str, str]]) -> TrafficSpec:
    if not pairs or spec.kind == "elephants_and_mice":
        return spec
    return replace(spec, kind="pairs", named_pairs=pairs, pairs=0, node=None, others=0, exponent=1.0)


def as_happened(scenario: Scenario, happenings: list[dict[str, Any]]) -> Scenario:
    """Events with the names of those they hit instead of selectors and churn, after the `happenings` of a report."""
    events = [event for event in scenario.events if event.action in _KEPT_ACTIONS]
    changes = {(event.name, event.at): event.change for event in scenario.events}
    for entry in happenings:
        action, name, at, subjects = entry["action"], entry["name"], entry["at_s"], list(entry["subjects"])
        if action in ("crash", "stop", "restart", "join") and subjects:
            events.append(Event(at, action, name, nodes=subjects))
        elif action in ("link_down", "link_up", "link_change") and len(subjects) == 2:
            events.append(Event(at, action, name, ends=(subjects[0], subjects[1]), change=changes.get((name, at))))
    return replace(scenario, events=sorted(events, key=lambda event: event.at))


# -- parts left out


def with_nodes(scenario: Scenario, names: Collection[str]) -> Scenario | None:
    """Only these nodes and what concerns them; None when no link is left. The topology has to be explicit."""
    edges = [edge for edge in scenario.topology.named_edges if edge[0] in names and edge[1] in names]
    return with_edges(scenario, edges)


def with_edges(scenario: Scenario, edges: list[tuple[str, str]]) -> Scenario | None:
    """Only these links, the nodes that have one, and what concerns them; None when there is no link."""
    if not edges:
        return None
    names = {name for edge in edges for name in edge}
    linked = {frozenset(edge) for edge in edges}
    overrides = [
        replace(override, between=[ends for ends in override.between if frozenset(ends) in linked])
        for override in scenario.links
    ]
    events = (_event_among(event, names) for event in scenario.events)
    traffic = (_traffic_among(spec, names) for spec in scenario.traffic)
    byzantine = (_byzantine_among(spec, names) for spec in scenario.byzantine)
    return replace(
        scenario,
        topology=Topology("edges", {}, edges),
        links=[override for override in overrides if override.between or override.share],
        absent=[name for name in scenario.absent if name in names],
        events=[event for event in events if event is not None],
        traffic=[spec for spec in traffic if spec is not None],
        byzantine=[spec for spec in byzantine if spec is not None],
    )


def _meant(name: str, names: Collection[str]) -> bool:
    plain = name.removeprefix(PARENT_OF)
    return plain in names or plain in SELECTORS


def _event_among(event: Event, names: Collection[str]) -> Event | None:
    nodes = [name for name in event.nodes if _meant(name, names)]
    groups = [[name for name in group if name in names] for group in event.groups]
    if (event.nodes and not nodes) or (event.ends and not all(_meant(end, names) for end in event.ends)):
        return None
    return replace(event, nodes=nodes, groups=[group for group in groups if group])


def _traffic_among(spec: TrafficSpec, names: Collection[str]) -> TrafficSpec | None:
    pairs = [pair for pair in spec.named_pairs if pair[0] in names and pair[1] in names]
    if (spec.named_pairs and not pairs) or (spec.node is not None and spec.node not in names):
        return None
    return replace(spec, named_pairs=pairs)


def _byzantine_among(spec: ByzantineSpec, names: Collection[str]) -> ByzantineSpec | None:
    if spec.ends is not None:
        return spec if all(_meant(end, names) for end in spec.ends) else None
    nodes = [name for name in spec.nodes if name in names]
    return replace(spec, nodes=nodes) if nodes else None


# -- less of everything


def plainer(scenario: Scenario) -> Iterator[Scenario]:
    """Scenarios that differ in one thing which is more usual than it was; the boldest first."""
    if scenario.settings != MeshSettings():
        yield replace(scenario, settings=MeshSettings())
    for change in _plainer_change(scenario.link):
        yield replace(scenario, link=change)
    for i, override in enumerate(scenario.links):
        for change in _plainer_change(override.spec):
            yield replace(scenario, links=_exchanged(scenario.links, i, replace(override, spec=change)))
    for i, spec in enumerate(scenario.traffic):
        for less in _less_traffic(spec):
            yield replace(scenario, traffic=_exchanged(scenario.traffic, i, less))
    if scenario.dial == "both":
        yield replace(scenario, dial="one")


def _exchanged(items: list[Any], index: int, item: Any) -> list[Any]:
    return [*items[:index], item, *items[index + 1 :]]


def _plainer_change(change: LinkChange) -> Iterator[LinkChange]:
    if change in (_PERFECT, LinkChange()):
        return
    yield _PERFECT
    if change.link_class not in (None, "perfect"):
        yield replace(change, link_class="perfect")
    for name in change.both:
        yield replace(change, both=_without(change.both, name))
    for name in change.there:
        yield replace(change, there=_without(change.there, name))
    for name in change.back:
        yield replace(change, back=_without(change.back, name))


def _without(properties: dict[str, float], name: str) -> dict[str, float]:
    return {key: value for key, value in properties.items() if key != name}


def _less_traffic(spec: TrafficSpec) -> Iterator[TrafficSpec]:
    if spec.once:
        return
    span = spec.end - spec.begin
    yield replace(spec, once=True)
    if span > 2 * spec.interval:
        yield replace(spec, interval=spec.interval * 4)
        yield replace(spec, end=spec.begin + span / 2)
        yield replace(spec, begin=spec.begin + span / 2)


# -- less time


def moments(scenario: Scenario) -> list[float]:
    """When something begins or ends, in order; the end of the run is the last."""
    found = {0.0, scenario.duration}
    found |= {moment for event in scenario.events for moment in (event.at, event.until)}
    found |= {moment for spec in scenario.traffic for moment in (spec.begin, spec.end)}
    found |= {moment for spec in scenario.byzantine for moment in (spec.begin, spec.end)}
    found |= {moment for item in scenario.expect for moment in (item.begin, item.end)}
    return sorted(moment for moment in found if moment <= scenario.duration)


def quicker(scenario: Scenario) -> Iterator[Scenario]:
    """Scenarios in which one stretch between two moments is shorter, but no expectation is given less time."""
    times = moments(scenario)
    given = {item.begin for item in scenario.expect}
    for start, end in reversed(list(pairwise(times))):
        if end - start <= BREATH or (end in given and end != scenario.duration):
            continue
        for length in dict.fromkeys((BREATH, (end - start) / 4, (end - start) / 2)):
            if BREATH <= length < end - start:
                yield _earlier(scenario, end, end - start - length)


def _earlier(scenario: Scenario, since: float, by: float) -> Scenario:
    """Everything from `since` on happens `by` seconds earlier."""

    def moved(moment: float) -> float:
        return round(moment - by, 3) if since <= moment < float("inf") else moment

    return replace(
        scenario,
        duration=moved(scenario.duration),
        events=[replace(event, at=moved(event.at), until=moved(event.until)) for event in scenario.events],
        traffic=[replace(spec, begin=moved(spec.begin), end=moved(spec.end)) for spec in scenario.traffic],
        byzantine=[replace(spec, begin=moved(spec.begin), end=moved(spec.end)) for spec in scenario.byzantine],
        expect=[replace(item, begin=moved(item.begin), end=moved(item.end)) for item in scenario.expect],
    )


# -- parts, as lists of which some items may go

Pick = Callable[[Scenario, list[Any]], Scenario | None]
"""`pick(scenario, items)` is the scenario with only these of its items."""


def _pick_traffic(index: int) -> Pick:
    def pick(scenario: Scenario, pairs: list[Any]) -> Scenario | None:
        spec = replace(scenario.traffic[index], named_pairs=pairs)
        return replace(scenario, traffic=_exchanged(scenario.traffic, index, spec)) if pairs else None

    return pick


def _pick_subjects(index: int) -> Pick:
    def pick(scenario: Scenario, names: list[Any]) -> Scenario | None:
        event = replace(scenario.events[index], nodes=names)
        return replace(scenario, events=_exchanged(scenario.events, index, event)) if names else None

    return pick


def parts(scenario: Scenario) -> Iterator[tuple[str, Callable[[Scenario], list[Any]], Pick]]:
    """What a scenario consists of: a name for the part, its items, and how to pick some of them."""
    yield "events", lambda s: s.events, lambda s, items: replace(s, events=items)
    yield "traffic", lambda s: s.traffic, lambda s, items: replace(s, traffic=items)
    yield "byzantine", lambda s: s.byzantine, lambda s, items: replace(s, byzantine=items)
    yield "links", lambda s: s.links, lambda s, items: replace(s, links=items)
    if scenario.topology.kind == "edges":
        yield "nodes", node_list, with_nodes
        yield "edges", lambda s: s.topology.named_edges, with_edges
    yield "absent", lambda s: s.absent, lambda s, items: replace(s, absent=items)
    for i, event in enumerate(scenario.events):
        if len(event.nodes) > 1:
            yield "subjects", lambda s, i=i: s.events[i].nodes, _pick_subjects(i)  # type: ignore[misc]
    for i, spec in enumerate(scenario.traffic):
        if spec.named_pairs:
            yield "pairs", lambda s, i=i: s.traffic[i].named_pairs, _pick_traffic(i)  # type: ignore[misc]


def node_list(scenario: Scenario) -> list[str]:
    """The nodes of an explicit topology, in the order a run numbers them."""
    return list(dict.fromkeys(name for edge in scenario.topology.named_edges for name in edge))
