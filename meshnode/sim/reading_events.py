"""The `events` section of a scenario file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .names import check_name, expand, read_ends
from .reading import Value
from .scenario import Event, LinkChange, Scenario


class ReadChange(Protocol):
    def __call__(self, value: Value, extra: tuple[str, ...] = ()) -> LinkChange: ...


_ACTIONS = (
    "crash",
    "stop",
    "restart",
    "join",
    "link_down",
    "link_up",
    "link_change",
    "partition",
    "heal",
    "churn",
)
_COMMON = ("at", "name")


def read_events(value: Value, scenario: Scenario, read_change: ReadChange) -> list[Event]:
    """All events in order of time."""
    events = [_event(item, scenario, read_change) for item in value.sequence()]
    return sorted(events, key=lambda event: event.at)


def _event(value: Value, scenario: Scenario, read_change: ReadChange) -> Event:
    keys = value.mapping((*_COMMON, *_ACTIONS), needed=("at",))
    actions = [name for name in keys if name not in _COMMON]
    if len(actions) != 1:
        value.refuse(f"an event does one thing; write one of {', '.join(_ACTIONS)}")
    action = actions[0]
    at = keys["at"].number(0, scenario.duration)
    name = keys.text("name", action)
    what = keys[action]
    return _READERS[action](what, Event(at, action, name), scenario, read_change)


def _about_nodes(what: Value, event: Event, scenario: Scenario, read_change: ReadChange) -> Event:
    names = [name for item in what.items() for name in expand(item)]
    for name, item in zip(names, what.items(), strict=False):
        check_name(name, item, scenario)
    return Event(event.at, event.action, event.name, nodes=names)


def _about_link(what: Value, event: Event, scenario: Scenario, read_change: ReadChange) -> Event:
    ends = read_ends(what, scenario)
    return Event(event.at, event.action, event.name, ends=ends)


def _change(what: Value, event: Event, scenario: Scenario, read_change: ReadChange) -> Event:
    change = read_change(what, extra=("between",))
    keys = what.mapping(what.raw, needed=("between",))
    return Event(event.at, event.action, event.name, ends=read_ends(keys["between"], scenario), change=change)


def _partition(what: Value, event: Event, scenario: Scenario, read_change: ReadChange) -> Event:
    groups = [[name for item in group.items() for name in expand(item)] for group in what.sequence()]
    for group, item in zip(groups, what.sequence(), strict=True):
        for name in group:
            check_name(name, item, scenario)
    return Event(event.at, event.action, event.name, groups=groups)


def _heal(what: Value, event: Event, scenario: Scenario, read_change: ReadChange) -> Event:
    what.truth()
    return event


def _churn(what: Value, event: Event, scenario: Scenario, read_change: ReadChange) -> Event:
    keys = what.mapping(("until", "every", "down_for"), needed=("until", "every", "down_for"))
    return Event(
        event.at,
        event.action,
        event.name,
        until=keys["until"].number(event.at, scenario.duration),
        every=keys["every"].number(0.01),
        down_for=keys["down_for"].number(0.0),
    )


_READERS: dict[str, Callable[[Value, Event, Scenario, ReadChange], Event]] = {
    "crash": _about_nodes,
    "stop": _about_nodes,
    "restart": _about_nodes,
    "join": _about_nodes,
    "link_down": _about_link,
    "link_up": _about_link,
    "link_change": _change,
    "partition": _partition,
    "heal": _heal,
    "churn": _churn,
}
