"""How large the tables of a node may become, and what they may still say about a node that left.

Tables are found by walking over a node's own objects, so that one added tomorrow is judged like those of today.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from meshnode.node.core import Node

from .bound_rows import FIXED, LIMITS
from .machine import Machine

ORDINARY_BOUND = 4096
"""What no table may exceed that is in no row of `bound_rows`."""

_SHELLS = "transports._by_id[]."
"""Below this hang tables of transports, which are no part of the node."""

_OUR_OWN = ("world", "observer", "address_names", "last_hops", "settings")
_MOST_DEPTH = 7
_FIRST_ITEMS = 4
"""Entries of a table that are looked into: those of one table are alike."""


def tables(node: Node) -> Iterator[tuple[str, int]]:
    """Where each table of `node` hangs, and how many entries it holds."""
    seen = {id(getattr(node, name, None)) for name in _OUR_OWN}
    waiting: deque[tuple[str, Any, int]] = deque([("", node, 0)])  # nearest first, so that paths are the shortest
    while waiting:
        path, thing, depth = waiting.popleft()
        if id(thing) in seen or depth > _MOST_DEPTH:
            continue
        seen.add(id(thing))
        if isinstance(thing, _TABLES):
            yield path, len(thing)
            below = islice(thing.values() if isinstance(thing, dict) else thing, _FIRST_ITEMS)
            waiting += [(f"{path}[]", item, depth + 1) for item in below if _ours(type(item))]
        else:
            waiting += [(f"{path}.{name}" if path else name, value, depth + 1) for name, value in _parts(thing)]


_TABLES = (dict, list, deque, set)
_SIMULATOR = __name__.rpartition(".")[0]
_KINDS: dict[type, bool] = {}


def _ours(kind: type) -> bool:
    """Whether to look at things of this kind: tables, and objects of the node's but not of the simulator's."""
    known = _KINDS.get(kind)
    if known is None:
        known = _KINDS[kind] = issubclass(kind, _TABLES) or any(map(_of_a_node, kind.__mro__))
    return known


def _of_a_node(kind: type) -> bool:
    return kind.__module__.startswith("meshnode.") and not kind.__module__.startswith(_SIMULATOR)


def _slots(kind: type) -> list[str]:
    names: list[str] = []
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    return [name for name in names if not name.startswith("__")]


def _parts(thing: Any) -> list[tuple[str, Any]]:
    """The attributes of one of our objects that may hold tables."""
    names = (*getattr(thing, "__dict__", ()), *_slots(type(thing)))
    found = ((name, getattr(thing, name, None)) for name in names)
    return [(name, value) for name, value in found if _ours(type(value))]


def oversized(node: Node) -> list[str]:
    """The tables of `node` that hold more than they may."""
    complaints = []
    for path, held in tables(node):
        limit = LIMITS.get(path)
        bound = ORDINARY_BOUND if limit is None else limit(node.settings)
        if held > bound:
            complaints.append(f"{path} holds {held} entries, at most {bound} allowed")
    return complaints


def unlisted(node: Node) -> list[str]:
    """The tables of `node` about which no row says how large they may become."""
    return [path for path, _ in tables(node) if path not in LIMITS and path not in FIXED and _SHELLS not in path]


def departed(machines: Iterable[Machine], lifetime: float, now: float) -> list[str]:
    """Traces, in tables of running nodes, of machines that have been gone for longer than `lifetime`."""
    machines = list(machines)
    gone = [m for m in machines if m.left_at is not None and now - m.left_at > lifetime]
    return [
        f"{machine.name} still has {left.name} in its {table}"
        for left in gone
        for machine in machines
        if machine.node is not None
        for table in _traces(machine.node, left.address, now)
    ]


def _traces(node: Node, address: bytes, now: float) -> list[str]:
    router, sessions = node.router, node.sessions
    present = {
        "peers": address in node.links.peers,
        "neighbours": address in router.neighbours,
        "own coordinates": address in router.tree.coordinates,
        "neighbours' coordinates": any(
            neighbour.position is not None and address in neighbour.position.coordinates
            for neighbour in router.neighbours.values()
        ),
        "valid cached coordinates": router.coordinate_cache.get(address, now) is not None,
        "pending lookups": address in router.lookups.pending,
        "sessions": address in sessions.sessions,
    }
    return [table for table, found in present.items() if found]
