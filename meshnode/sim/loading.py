"""From scenario files to scenarios. Raises `ScenarioError` with one line for the author."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from meshnode.mesh.settings import MeshSettings

from .links import CLASSES, Quality
from .names import check_name, expand, read_ends
from .reading import Mapping, ScenarioError, Value, read_yaml
from .reading_events import read_events
from .reading_expectations import read_expectations
from .reading_traffic import read_byzantine, read_traffic
from .scenario import Checks, LinkChange, Override, Scenario, Topology
from .topology import SHAPES

_KEYS = (
    "about",
    "seed",
    "duration",
    "topology",
    "link",
    "links",
    "settings",
    "start",
    "events",
    "traffic",
    "byzantine",
    "expect",
    "checks",
)
_PROBABILITIES = frozenset(("loss", "duplicate", "reorder"))
_PROPERTIES = tuple(field.name for field in fields(Quality))


def builtin_scenarios() -> list[str]:
    """Names of the scenarios that come with the program."""
    directory = resources.files("meshnode.sim") / "scenarios"
    return sorted(entry.name.removesuffix(".yaml") for entry in directory.iterdir() if entry.name.endswith(".yaml"))


def find_scenario(name: str) -> Scenario:
    """The scenario in file `name`, or else the one of that name that comes with the program."""
    if name in builtin_scenarios() and not Path(name).is_file():
        text = (resources.files("meshnode.sim") / "scenarios" / f"{name}.yaml").read_text()
        return parse_scenario(text, f"{name}.yaml", name)
    try:
        text = Path(name).read_text()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ScenarioError(f"{name}: {reason}; write a file or a name that `meshsim list` shows") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{name}: this is not text; write YAML in UTF-8") from None
    return parse_scenario(text, name, Path(name).stem)


def parse_scenario(text: str, file: str, name: str) -> Scenario:
    """Read a scenario from YAML text; `file` is what complaints call it."""
    top = Value(file, "", read_yaml(text, file)).mapping(_KEYS, needed=("topology",))
    bare = Scenario(name, _topology(top["topology"]))
    scenario = replace(
        bare,
        about=" ".join(top.text("about", "").split()),
        seed=top.whole("seed", 1),
        duration=top.number("duration", 60.0, 0.1, 1e6),
        link=read_change(top["link"]) if "link" in top else LinkChange("perfect"),
        links=[_override(item, bare) for item in top["links"].sequence()] if "links" in top else [],
        settings=_settings(top["settings"]) if "settings" in top else MeshSettings(),
        checks=_checks(top["checks"]) if "checks" in top else Checks(),
    )
    scenario = _with_start(scenario, top)
    scenario = replace(
        scenario,
        events=read_events(top["events"], scenario, read_change) if "events" in top else [],
        traffic=read_traffic(top["traffic"], scenario) if "traffic" in top else [],
        byzantine=read_byzantine(top["byzantine"], scenario) if "byzantine" in top else [],
    )
    return replace(scenario, expect=read_expectations(top["expect"], scenario) if "expect" in top else [])


def _topology(value: Value) -> Topology:
    kind = value.mapping(_known_to_topology(value), needed=("kind",))["kind"].choice([*SHAPES, "edges"])
    if kind == "edges":
        keys = value.mapping(("kind", "edges"), needed=("edges",))
        return Topology(kind, {}, [_edge(edge) for edge in keys["edges"].sequence()])
    defaults = SHAPES[kind][0]
    keys = value.mapping(("kind", *defaults), needed=[name for name, default in defaults.items() if default is None])
    parameters = {
        name: keys[name].number(0, 1) if name == "rewire" else keys[name].number(1, 100_000)
        for name in defaults
        if name in keys
    }
    return Topology(kind, parameters)


def _known_to_topology(value: Value) -> list[str]:
    return list(dict.fromkeys(["kind", "edges", *(name for defaults, _ in SHAPES.values() for name in defaults)]))


def _edge(value: Value) -> tuple[str, str]:
    """Two names, which this makes names of nodes."""
    ends = value.sequence()
    if len(ends) != 2:
        value.refuse("a link has two ends; write [a, b]")
    if ends[0].raw == ends[1].raw:
        value.refuse("this link leads nowhere; write two different names")
    return ends[0].text(), ends[1].text()


def read_change(value: Value, extra: tuple[str, ...] = ()) -> LinkChange:
    """A link class by name, or keys that describe a link."""
    if isinstance(value.raw, str):
        return LinkChange(value.choice(CLASSES))
    keys = value.mapping((*extra, "class", "there", "back", *_PROPERTIES))
    return LinkChange(
        keys["class"].choice(CLASSES) if "class" in keys else None,
        _properties(keys),
        _properties(keys["there"].mapping(_PROPERTIES)) if "there" in keys else {},
        _properties(keys["back"].mapping(_PROPERTIES)) if "back" in keys else {},
    )


def _properties(keys: Mapping) -> dict[str, float]:
    result: dict[str, float] = {}
    for name in _PROPERTIES:
        if name in keys:
            if name in ("mtu", "hidden_mtu"):
                result[name] = keys[name].whole(0, 65535)
            else:
                result[name] = keys[name].number(0, 1 if name in _PROBABILITIES else float("inf"))
    return result


def _override(value: Value, scenario: Scenario) -> Override:
    change = read_change(value, extra=("between", "share"))
    keys = value.mapping(value.raw)
    if ("between" in keys) == ("share" in keys):
        value.refuse("which links? write between: [n0, n1], or share: 0.1 for a tenth of all")
    if "share" in keys:
        return Override([], keys["share"].number(0, 1), change)
    ends = keys["between"].sequence()
    many = bool(ends) and isinstance(ends[0].raw, list)
    return Override([read_ends(item, scenario) for item in (ends if many else [keys["between"]])], 0.0, change)


def _with_start(scenario: Scenario, top: Mapping) -> Scenario:
    if "start" not in top:
        return scenario
    keys = top["start"].mapping(("spread", "dial", "absent"))
    absent = [name for item in keys["absent"].items() for name in expand(item)] if "absent" in keys else []
    for name in absent:
        check_name(name, keys["absent"], scenario, selectors=False)
    dial = keys["dial"].choice(("one", "both")) if "dial" in keys else "one"
    return replace(scenario, spread=keys.number("spread", 1.0, 0.0, 3600.0), dial=dial, absent=absent)


def _checks(value: Value) -> Checks:
    keys = value.mapping([field.name for field in fields(Checks)])
    return Checks(
        interval=keys.number("interval", 0.5, 0.01, 60.0),
        settle=keys.number("settle", 45.0),
        grace=keys.number("grace", 5.0),
        pairs=keys.whole("pairs", 20),
        departed_after=keys.number("departed_after", 0.0),
    )


def _settings(value: Value) -> MeshSettings:
    settings: MeshSettings = _section(value, MeshSettings())
    return settings


def _section(value: Value, default: Any) -> Any:
    """A copy of a settings dataclass with the given keys changed, down to the leaves."""
    keys = value.mapping([field.name for field in fields(default)])
    return replace(default, **{name: _setting(keys[name], getattr(default, name)) for name in keys})


def _setting(value: Value, default: Any) -> Any:
    if is_dataclass(default):
        return _section(value, default)
    if isinstance(default, bool):
        return value.truth()
    if isinstance(default, int):
        return value.whole()
    if isinstance(default, float):
        return value.number()
    if isinstance(default, list):
        return [item.whole() for item in value.sequence()]
    if isinstance(default, str):
        return value.choice(("full", "lightweight", "minimal"))
    return value.number()
