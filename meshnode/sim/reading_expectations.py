"""The `expect` section of a scenario file."""

from __future__ import annotations

from .expectations import COUNTERS
from .reading import Mapping, Value
from .scenario import Expectation, Scenario

# Kind of expectation: the keys it takes beside its own.
_EXPECTATIONS: dict[str, tuple[str, ...]] = {
    "converged_within": ("after",),
    "reachable_within": ("after", "traffic"),
    "new_parent_within": ("after",),
    "delivered": ("traffic", "from", "to"),
    "silence_at_most": ("traffic", "from", "to"),
    "hops_at_most": ("traffic",),
    "stretch_at_most": ("percentile",),
    "latency_at_most": ("traffic", "percentile", "from", "to"),
    "parent_changes_at_most": ("from", "to"),
    "depth_at_most": (),
    "counter": ("at_least", "at_most"),
}


START, EXPLORED = "start", "explored"
"""Events that are in no scenario: when the last node has booted, and the end of an exploration."""


def read_expectations(value: Value, scenario: Scenario) -> list[Expectation]:
    """What a scenario expects, which has its events, traffic and dishonest nodes already."""
    return [_expectation(item, scenario) for item in value.sequence()]


def _expectation(value: Value, scenario: Scenario) -> Expectation:
    extras = dict.fromkeys(name for keys in _EXPECTATIONS.values() for name in keys)
    keys = value.mapping((*_EXPECTATIONS, *extras))
    kinds = [name for name in keys if name in _EXPECTATIONS]
    if len(kinds) != 1:
        value.refuse(f"an expectation is about one thing; write one of {', '.join(_EXPECTATIONS)}")
    kind = kinds[0]
    keys = value.mapping((kind, *_EXPECTATIONS[kind]))
    if kind == "counter":
        return _counter(keys)
    return Expectation(
        kind,
        keys[kind].number(0, 1 if kind == "delivered" else float("inf")),
        after=_after(keys["after"], scenario) if "after" in keys else None,
        traffic=keys["traffic"].choice([spec.name for spec in scenario.traffic]) if "traffic" in keys else None,
        begin=keys.number("from", 0.0),
        end=keys.number("to", float("inf")),
        percentile=keys.number("percentile", 100.0, 0, 100),
    )


def _counter(keys: Mapping) -> Expectation:
    if ("at_least" in keys) == ("at_most" in keys):
        keys.value.refuse("write either at_least: or at_most: and a number")
    bound = "at_least" if "at_least" in keys else "at_most"
    name = keys["counter"].text()
    if name not in COUNTERS:
        family = [known for known in COUNTERS if known.startswith(name.partition(".")[0] + ".")]
        keys["counter"].refuse(f"there is no counter `{name}`; write one of {', '.join(family or COUNTERS)}")
    return Expectation("counter", keys[bound].number(), counter=name, at_least=bound == "at_least")


def _after(value: Value, scenario: Scenario) -> str:
    """The name of something that is going to happen."""
    lies = [spec.behaviour for spec in scenario.byzantine]
    names = [START, *(event.name for event in scenario.events), *lies, *(f"end of {lie}" for lie in lies)]
    if value.text() != EXPLORED:
        value.choice(dict.fromkeys(names))
    return value.text()
