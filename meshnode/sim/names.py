"""Names of nodes in scenario files: plain ones, ranges, and selectors that depend on what the mesh looks like."""

from __future__ import annotations

import re

from .reading import Value
from .scenario import Scenario

SELECTORS = ("root", "busiest", "deepest", "random", "crashed")
"""The root of the tree; the node with most children; the one farthest from the root; anybody running; all that are
down because of an event. Besides, `parent of NAME`."""

PARENT_OF = "parent of "
_RANGE = re.compile(r"([^\d.]*)(\d+)\.\.\1(\d+)\Z")


def expand(value: Value) -> list[str]:
    """A name, or all names of a range such as n3..n7."""
    text = value.text()
    match = _RANGE.match(text)
    if match is None:
        return [text]
    return [f"{match[1]}{i}" for i in range(int(match[2]), int(match[3]) + 1)]


def check_name(name: str, value: Value, scenario: Scenario, selectors: bool = True) -> None:
    """Refuse a name no node of the scenario has."""
    plain = name.removeprefix(PARENT_OF) if selectors else name
    if selectors and plain in SELECTORS:
        return
    known = node_names(scenario)
    if plain not in known:
        shown = f"{known[0]} to {known[-1]}" if len(known) > 8 else ", ".join(known)
        value.refuse(f"there is no node `{plain}`; write one of {shown}")


def read_ends(value: Value, scenario: Scenario) -> tuple[str, str]:
    """Two names of nodes, either of which may be a selector."""
    ends = value.sequence()
    if len(ends) != 2:
        value.refuse("a link has two ends; write [n0, n1]")
    for end in ends:
        check_name(end.text(), end, scenario)
    if ends[0].raw == ends[1].raw:
        value.refuse("this link leads nowhere; write two different names")
    return ends[0].text(), ends[1].text()


def node_names(scenario: Scenario) -> list[str]:
    """The names the nodes of a scenario have, whatever the seed."""
    topology = scenario.topology
    if topology.kind == "edges":
        return list(dict.fromkeys(name for edge in topology.named_edges for name in edge))
    sizes = topology.parameters
    size = sizes["rows"] * sizes["columns"] if topology.kind == "grid" else sizes["nodes"]
    return [f"n{i}" for i in range(int(size))]
