"""The `traffic` and `byzantine` sections of a scenario file."""

from __future__ import annotations

from .names import check_name, expand, read_ends
from .reading import Mapping, Value
from .scenario import ByzantineSpec, Scenario, TrafficSpec

LEAST_PACKET = 60
LAST_CALL = 5.0
"""Traffic ends this many seconds before the run unless told otherwise, so that everything can arrive."""

_COMMON = ("kind", "name", "from", "to", "interval", "size", "once")
_KINDS: dict[str, tuple[str, ...]] = {
    # Kind of traffic: its own keys.
    "pairs": ("pairs",),
    "uniform": ("pairs",),
    "permutation": (),
    "all_to_all": (),
    "zipf": ("exponent",),
    "incast": ("node", "others"),
    "fan_out": ("node", "others"),
    "elephants_and_mice": ("pairs", "others"),
}
BEHAVIOURS = (
    "lying_root",
    "restless_root",
    "stale_ancestry",
    "poisoned_filter",
    "bloated_filter",
    "lookup_storm",
    "lies",
    "false_signals",
    "false_places",
    "swallow",
    "swallow_slyly",
    "false_setups",
    "garbage",
    "garbage_inside",
    "replay",
)


def read_traffic(value: Value, scenario: Scenario) -> list[TrafficSpec]:
    specs = [_traffic(item, scenario) for item in value.sequence()]
    names: set[str] = set()
    for spec, item in zip(specs, value.sequence(), strict=True):
        if spec.name in names:
            item.refuse(f"there is other traffic called `{spec.name}`; write name: and another one")
        names.add(spec.name)
    return specs


def _traffic(value: Value, scenario: Scenario) -> TrafficSpec:
    own = dict.fromkeys(name for keys in _KINDS.values() for name in keys)
    kind = value.mapping((*_COMMON, *own), needed=("kind",))["kind"].choice(_KINDS)
    keys = value.mapping((*_COMMON, *_KINDS[kind]))
    begin = keys.number("from", 10.0, 0.0, scenario.duration)
    return TrafficSpec(
        kind=kind,
        name=keys.text("name", kind),
        begin=begin,
        end=keys.number("to", max(begin, scenario.duration - LAST_CALL), begin),
        interval=keys.number("interval", 1.0, 0.0001),
        size=keys["size"].whole(LEAST_PACKET, 9000) if "size" in keys else 200,
        pairs=keys.whole("pairs", 10, 1) if kind != "pairs" else 0,
        named_pairs=_pairs(keys, scenario) if kind == "pairs" else [],
        node=_node(keys, scenario) if "node" in keys else None,
        others=keys.whole("others", 0, 1) if "others" in keys else 0,
        exponent=keys.number("exponent", 1.0, 0.0, 10.0),
        once=keys["once"].truth() if "once" in keys else False,
    )


def _pairs(keys: Mapping, scenario: Scenario) -> list[tuple[str, str]]:
    if "pairs" not in keys:
        keys.value.refuse("`pairs` is missing; write pairs: [[n0, n1], [n2, n3]]")
    pairs = []
    for item in keys["pairs"].sequence():
        ends = item.sequence()
        if len(ends) != 2:
            item.refuse("a pair has two names; write [n0, n1]")
        for end in ends:
            check_name(end.text(), end, scenario, selectors=False)
        pairs.append((ends[0].text(), ends[1].text()))
    return pairs


def _node(keys: Mapping, scenario: Scenario) -> str:
    name = keys["node"].text()
    check_name(name, keys["node"], scenario, selectors=False)
    return name


def read_byzantine(value: Value, scenario: Scenario) -> list[ByzantineSpec]:
    return [_byzantine(item, scenario) for item in value.sequence()]


def _byzantine(value: Value, scenario: Scenario) -> ByzantineSpec:
    keys = value.mapping(("behaviour", "nodes", "between", "from", "to", "interval"), needed=("behaviour",))
    behaviour = keys["behaviour"].choice(BEHAVIOURS)
    if ("nodes" in keys) == ("between" in keys) or ("between" in keys and behaviour != "replay"):
        value.refuse("who? write nodes: [n3], or for replay on a link between: [n0, n1]")
    nodes = [name for item in keys["nodes"].items() for name in expand(item)] if "nodes" in keys else []
    for name in nodes:
        check_name(name, keys["nodes"], scenario, selectors=False)
    begin = keys.number("from", 0.0, 0.0, scenario.duration)
    return ByzantineSpec(
        behaviour,
        nodes,
        read_ends(keys["between"], scenario) if "between" in keys else None,
        begin,
        keys.number("to", scenario.duration, begin),
        keys.number("interval", 1.0, 0.001),
    )
