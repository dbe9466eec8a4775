"""From scenarios back to scenario files: what is read again is equal to what was written."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import yaml

from meshnode.mesh.settings import MeshSettings

from .reading_traffic import LAST_CALL
from .scenario import ByzantineSpec, Checks, Event, Expectation, LinkChange, Override, Scenario, Topology, TrafficSpec

_ENDLESS = float("inf")
_ABOUT_NODES = ("crash", "stop", "restart", "join")


def scenario_text(scenario: Scenario, comment: str = "") -> str:
    """The file of a scenario, `comment` on top of it line by line."""
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    body: str = yaml.safe_dump(scenario_mapping(scenario), sort_keys=False, default_flow_style=None, width=110)
    return head + body


def scenario_mapping(scenario: Scenario) -> dict[str, Any]:
    """The keys of a scenario file; whatever has its default is left out."""
    sections: dict[str, Any] = {
        "about": scenario.about,
        "seed": scenario.seed,
        "duration": _tidy(scenario.duration),
        "topology": _topology(scenario.topology),
        "link": _change(scenario.link),
        "links": [_override(override) for override in scenario.links],
        "settings": _differences(scenario.settings, MeshSettings()),
        "start": _start(scenario),
        "events": [_event(event) for event in scenario.events],
        "traffic": [_traffic(spec, scenario.duration) for spec in scenario.traffic],
        "byzantine": [_byzantine(spec, scenario.duration) for spec in scenario.byzantine],
        "expect": [_expectation(expectation) for expectation in scenario.expect],
        "checks": _differences(scenario.checks, Checks()),
    }
    return {name: section for name, section in sections.items() if section not in ("", [], {})}


def _tidy(number: float) -> float | int:
    """A number as one would write it: 10, not 10.0."""
    return int(number) if number == int(number) else number


def _tidy_all(numbers: dict[str, float]) -> dict[str, float | int]:
    return {name: _tidy(number) for name, number in numbers.items()}


def _differences(value: Any, default: Any) -> dict[str, Any]:
    """The fields of a settings dataclass that are not as they come, down to the leaves."""
    found: dict[str, Any] = {}
    for field in fields(value):
        mine, usual = getattr(value, field.name), getattr(default, field.name)
        if is_dataclass(mine):
            mine, usual = _differences(mine, usual), {}
        if mine != usual:
            found[field.name] = _tidy(mine) if isinstance(mine, float) else mine
    return found


def _topology(topology: Topology) -> dict[str, Any]:
    if topology.kind == "edges":
        return {"kind": "edges", "edges": [list(edge) for edge in topology.named_edges]}
    return {"kind": topology.kind, **_tidy_all(topology.parameters)}


def _change(change: LinkChange) -> dict[str, Any] | str:
    ways = {name: _tidy_all(way) for name, way in (("there", change.there), ("back", change.back)) if way}
    named = {"class": change.link_class} if change.link_class is not None else {}
    if change.link_class is not None and not change.both and not ways:
        return change.link_class
    return {**named, **_tidy_all(change.both), **ways}


def _keys(change: LinkChange) -> dict[str, Any]:
    written = _change(change)
    return {"class": written} if isinstance(written, str) else written


def _override(override: Override) -> dict[str, Any]:
    between = [list(ends) for ends in override.between]
    who = {"share": override.share} if override.share or not between else {"between": between}
    return {**who, **_keys(override.spec)}


def _start(scenario: Scenario) -> dict[str, Any]:
    written: dict[str, Any] = {} if scenario.spread == 1.0 else {"spread": _tidy(scenario.spread)}
    if scenario.dial != "one":
        written["dial"] = scenario.dial
    if scenario.absent:
        written["absent"] = list(scenario.absent)
    return written


def _event(event: Event) -> dict[str, Any]:
    name = {"name": event.name} if event.name != event.action else {}
    return {"at": _tidy(event.at), event.action: _event_object(event), **name}


def _event_object(event: Event) -> Any:
    if event.action in _ABOUT_NODES:
        return list(event.nodes)
    if event.action == "churn":
        return _tidy_all({"until": event.until, "every": event.every, "down_for": event.down_for})
    if event.action == "partition":
        return [list(group) for group in event.groups]
    if event.action == "heal":
        return True
    ends = list(event.ends or ())
    return ends if event.change is None else {"between": ends, **_keys(event.change)}


def _traffic(spec: TrafficSpec, duration: float) -> dict[str, Any]:
    usual_end = max(spec.begin, duration - LAST_CALL)
    written: dict[str, Any] = {"kind": spec.kind}
    written |= {"name": spec.name} if spec.name != spec.kind else {}
    written |= {"from": _tidy(spec.begin)}
    written |= {"to": _tidy(spec.end)} if spec.end != usual_end else {}
    written |= {"interval": _tidy(spec.interval), "size": spec.size}
    written |= _own_keys(spec)
    written |= {"once": True} if spec.once else {}
    return written


def _own_keys(spec: TrafficSpec) -> dict[str, Any]:
    """What only this kind of traffic has."""
    if spec.kind == "pairs":
        return {"pairs": [list(pair) for pair in spec.named_pairs]}
    written: dict[str, Any] = {"pairs": spec.pairs} if spec.kind in ("uniform", "elephants_and_mice") else {}
    written |= {"node": spec.node} if spec.node is not None else {}
    written |= {"others": spec.others} if spec.others else {}
    return written | ({"exponent": _tidy(spec.exponent)} if spec.kind == "zipf" else {})


def _byzantine(spec: ByzantineSpec, duration: float) -> dict[str, Any]:
    who = {"between": list(spec.ends)} if spec.ends is not None else {"nodes": list(spec.nodes)}
    until = {"to": _tidy(spec.end)} if spec.end != duration else {}
    times = {"from": _tidy(spec.begin), **until, "interval": _tidy(spec.interval)}
    return {"behaviour": spec.behaviour, **who, **times}


def _expectation(expectation: Expectation) -> dict[str, Any]:
    if expectation.counter is not None:
        bound = "at_least" if expectation.at_least else "at_most"
        return {"counter": expectation.counter, bound: _tidy(expectation.value)}
    written: dict[str, Any] = {expectation.kind: _tidy(expectation.value)}
    for name, value in (("after", expectation.after), ("traffic", expectation.traffic)):
        written |= {name: value} if value is not None else {}
    for name, moment, usual in (("from", expectation.begin, 0.0), ("to", expectation.end, _ENDLESS)):
        written |= {name: _tidy(moment)} if moment != usual else {}
    written |= {"percentile": _tidy(expectation.percentile)} if expectation.percentile != 100.0 else {}
    return written
