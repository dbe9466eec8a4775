"""Whether a run was what its scenario expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from meshnode.mesh.bloom import BloomCounters
from meshnode.mesh.link.table import LinkCounters
from meshnode.mesh.lookup import LookupCounters
from meshnode.mesh.session.counters import ErrorCounters, SessionCounters
from meshnode.mesh.tree import TreeCounters
from meshnode.node.counters import CongestionCounters, ForwardingCounters

from .machine import SimNode
from .measures import percentile, stretches
from .scenario import Expectation
from .traffic import DELIVERED, EXCUSED, Flow, Traffic
from .world import Happening, World


@dataclass(frozen=True, slots=True)
class Verdict:
    """One expectation: its text, whether it was met, and what was measured instead."""

    text: str
    met: bool
    measured: str


def judge(world: World) -> list[Verdict]:
    """All expectations of a world's scenario, at the end of its run."""
    return [_JUDGES[expectation.kind](world, expectation) for expectation in world.scenario.expect]


def _verdict(expectation: Expectation, met: bool, measured: str) -> Verdict:
    return Verdict(expectation.text(), met, measured)


# -- events


def _happenings(world: World, expectation: Expectation) -> list[Happening]:
    return [happening for happening in world.happenings if happening.name == (expectation.after or "start")]


def _unknown_event(expectation: Expectation) -> Verdict:
    return _verdict(expectation, False, f"nothing called {expectation.after or 'start'} happened")


def _converged(world: World, expectation: Expectation) -> Verdict:
    """Tree and filters settled soon enough after the (last) event of that name."""
    found = _happenings(world, expectation)
    if not found:
        return _unknown_event(expectation)
    happening = found[-1]
    if happening.tree_settled is None or happening.filters_settled is None:
        part = "tree" if happening.tree_settled is None else "filters"
        return _verdict(expectation, False, f"{part} never settled")
    took = max(happening.tree_settled, happening.filters_settled) - happening.at
    return _verdict(expectation, took <= expectation.value, f"{took:.2f} s")


def _reachable(world: World, expectation: Expectation) -> Verdict:
    """Every flow got a packet across that was sent after the event, soon enough after it."""
    found = _happenings(world, expectation)
    if not found:
        return _unknown_event(expectation)
    since = found[-1].at
    worst, whose = -1.0, ""
    for traffic in _traffics(world, expectation):
        for flow in traffic.flows:
            took = _first_across(flow, since, expectation.value)
            if took is not None and took > worst:
                worst, whose = took, f", {flow.source.name} to {flow.destination.name}"
    if worst < 0:
        return _verdict(expectation, False, "nothing was sent in time")
    text = "never" if worst == float("inf") else f"{worst:.2f} s"
    return _verdict(expectation, worst <= expectation.value, text + whose)


def _first_across(flow: Flow, since: float, within: float) -> float | None:
    """Seconds from `since` to the first arrival of a packet sent later; None for a flow that did not try in time."""
    tried = False
    for sent, arrived, state in zip(flow.sent, flow.arrived, flow.state, strict=True):
        if sent >= since and state != EXCUSED:
            if sent > since + within and not tried:
                return None
            if state == DELIVERED:
                return arrived - since
            tried = True
    return float("inf") if tried else None


def _new_parent(world: World, expectation: Expectation) -> Verdict:
    """The first machine an event was about took another parent soon enough."""
    found = _happenings(world, expectation)
    if not found or not found[-1].subjects:
        return _unknown_event(expectation)
    who, since = found[-1].subjects[0], found[-1].at
    for at, kind, node, other in world.observer.history:
        if kind == "parent" and node == who and at > since:
            return _verdict(expectation, at - since <= expectation.value, f"{at - since:.2f} s, {who} to {other}")
    return _verdict(expectation, False, f"{who} kept its parent")


def _parent_changes(world: World, expectation: Expectation) -> Verdict:
    history = world.observer.history
    count = sum(1 for at, kind, *_ in history if kind == "parent" and expectation.begin <= at < expectation.end)
    return _verdict(expectation, count <= expectation.value, str(count))


# -- traffic


def _traffics(world: World, expectation: Expectation) -> list[Traffic]:
    return [t for t in world.traffics if expectation.traffic in (None, t.spec.name)]


def _packets(world: World, expectation: Expectation) -> Iterator[tuple[float, float, int, int]]:
    """Sent, arrived, state and hops of every packet an expectation is about; excused ones are left out."""
    for traffic in _traffics(world, expectation):
        for flow in traffic.flows:
            for sent, arrived, state, hops in zip(flow.sent, flow.arrived, flow.state, flow.hops, strict=True):
                if state != EXCUSED and expectation.begin <= sent < expectation.end:
                    yield sent, arrived, state, hops


def _delivered(world: World, expectation: Expectation) -> Verdict:
    states = [state for _, _, state, _ in _packets(world, expectation)]
    good = states.count(DELIVERED)
    if not states:
        return _verdict(expectation, False, "nothing was sent")
    return _verdict(expectation, good / len(states) >= expectation.value, f"{good} of {len(states)}")


def _silence(world: World, expectation: Expectation) -> Verdict:
    """The longest time, in seconds, in which one flow sent and nothing of it got across."""
    worst, whose = 0.0, ""
    for traffic in _traffics(world, expectation):
        for flow in traffic.flows:
            silence = _longest_silence(flow, expectation.begin, expectation.end)
            if silence > worst:
                worst, whose = silence, f", {flow.source.name} to {flow.destination.name}"
    return _verdict(expectation, worst <= expectation.value, f"{worst:.2f} s{whose}")


def _longest_silence(flow: Flow, begin: float, end: float) -> float:
    """From the first of some packets in a row that were lost to the next one that was not."""
    longest, since = 0.0, None
    for sent, state in zip(flow.sent, flow.state, strict=True):
        if not begin <= sent < end or state == EXCUSED:
            continue
        if since is not None:
            longest = max(longest, sent - since)
        if state == DELIVERED:
            since = None
        elif since is None:
            since = sent
    return longest


def _latency(world: World, expectation: Expectation) -> Verdict:
    """In milliseconds."""
    times = [(arrived - sent) * 1000 for sent, arrived, state, _ in _packets(world, expectation) if state == DELIVERED]
    if not times:
        return _verdict(expectation, False, "nothing was delivered")
    value = percentile(times, expectation.percentile)
    return _verdict(expectation, value <= expectation.value, f"{value:.1f} ms")


def _hops(world: World, expectation: Expectation) -> Verdict:
    most = max((hops for _, _, state, hops in _packets(world, expectation) if state == DELIVERED), default=None)
    if most is None:
        return _verdict(expectation, False, "nothing was delivered")
    return _verdict(expectation, most <= expectation.value, str(most))


# -- the mesh


def _stretch(world: World, expectation: Expectation) -> Verdict:
    values = stretches(world)
    if not values:
        return _verdict(expectation, False, "there are no routes")
    value = percentile(values, expectation.percentile)
    return _verdict(expectation, value <= expectation.value, f"{value:.2f}")


def _depth(world: World, expectation: Expectation) -> Verdict:
    depth = world.stand().depth
    return _verdict(expectation, depth <= expectation.value, str(depth))


def _counter(world: World, expectation: Expectation) -> Verdict:
    value = counters(world)[expectation.counter or ""]
    met = value >= expectation.value if expectation.at_least else value <= expectation.value
    return _verdict(expectation, met, str(value))


_JUDGES: dict[str, Callable[[World, Expectation], Verdict]] = {
    "converged_within": _converged,
    "reachable_within": _reachable,
    "new_parent_within": _new_parent,
    "parent_changes_at_most": _parent_changes,
    "delivered": _delivered,
    "silence_at_most": _silence,
    "latency_at_most": _latency,
    "hops_at_most": _hops,
    "stretch_at_most": _stretch,
    "depth_at_most": _depth,
    "counter": _counter,
}


_FAMILIES: dict[str, tuple[Any, Callable[[SimNode], object]]] = {
    "tree": (TreeCounters, lambda node: node.router.counters.tree),
    "bloom": (BloomCounters, lambda node: node.router.counters.bloom),
    "lookup": (LookupCounters, lambda node: node.router.counters.lookup),
    "forwarding": (ForwardingCounters, lambda node: node.forwarding.counters),
    "congestion": (CongestionCounters, lambda node: node.forwarding.congestion),
    "link": (LinkCounters, lambda node: node.links.counters),
    "session": (SessionCounters, lambda node: node.sessions.counters),
    "errors": (ErrorCounters, lambda node: node.sessions.errors),
}
COUNTERS = tuple(f"{family}.{item.name}" for family, (kind, _) in _FAMILIES.items() for item in fields(kind))
"""The counters of a node, as `family.name`."""


def counters(world: World) -> dict[str, int]:
    """Every counter of every running node, summed, as `family.name`."""
    totals = dict.fromkeys(COUNTERS, 0)
    for node in (machine.node for machine in world.machines if machine.node is not None):
        for family, (kind, of) in _FAMILIES.items():
            values = of(node)
            for item in fields(kind):
                totals[f"{family}.{item.name}"] += getattr(values, item.name)
    return totals
