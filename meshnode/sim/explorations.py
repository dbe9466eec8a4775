"""The explorations that come with the program."""

from __future__ import annotations

from .laboratory import Exploration

_AFTERWARDS = """
start: {spread: 0, dial: %(dial)s}
duration: %(end)d
traffic:
  - {kind: all_to_all, name: early, from: 3, once: true}
  - {kind: all_to_all, name: late, from: %(late)d, interval: 2}
expect:
  - {converged_within: %(heal)d, after: explored}
  - {delivered: 1.0, traffic: late}
settings: {mmp: {mode: %(reports)s}, session_mmp: {mode: %(reports)s}}
checks: {interval: 1, settle: %(heal)d, pairs: 4}
"""


def _mesh(topology: str, dial: str = "one", start: int = 5, heal: int = 10, reports: str = "full") -> str:
    """A mesh that has `heal` seconds after an exploration of a few seconds that begins at `start`.

    `reports` is the mode of measurement; without them fewer frames are under way that mean nothing to what is explored.
    """
    late = start + heal
    values = {"dial": dial, "heal": heal, "late": late, "end": late + 9, "reports": reports}
    return f"topology: {topology}" + _AFTERWARDS % values


_PAIR = "{kind: edges, edges: [[a, b]]}"


_ALL = (
    Exploration(
        "crossing-dials",
        "Two nodes dial each other; the first frames are lost, repeated and delayed.",
        _mesh(_PAIR, "both", 0),
        ticks=2,
        losses=1,
        repeats=1,
        depth=6,
    ),
    Exploration(
        "dial",
        "One node dials another; the first frames overtake each other as well.",
        _mesh(_PAIR, "one", 0),
        ticks=2,
        losses=2,
        repeats=1,
        overtaking=2,
        depth=8,
    ),
    Exploration(
        "link-rekey",
        "Both ends of a link make new keys at any moment while packets cross.",
        _mesh(_PAIR, start=32, reports="minimal"),
        actions=("rekey a b", "rekey b a", "send a b"),
        prelude=32.0,
        ticks=1,
        losses=1,
        repeats=1,
        depth=6,
        links_stay=True,
    ),
    Exploration(
        "session-opening",
        "Both hosts send their first packet at the same time.",
        _mesh(_PAIR, reports="minimal"),
        actions=("send a b", "send b a"),
        prelude=5.0,
        ticks=2,
        losses=1,
        repeats=1,
        depth=6,
        links_stay=True,
    ),
    Exploration(
        "session-rekey",
        "Both ends of a session make new keys at any moment while packets cross.",
        _mesh(_PAIR, start=35, reports="minimal"),
        actions=("send a b", "rekey_session a b", "rekey_session b a", "send b a"),
        prelude=35.0,
        ticks=1,
        losses=1,
        depth=6,
        links_stay=True,
    ),
    Exploration(
        "restart",
        "A node crashes and comes back while frames of its former life are under way.",
        _mesh(_PAIR, "both"),
        actions=("send a b", "crash a", "restart a", "send b a"),
        prelude=5.0,
        ticks=2,
        repeats=1,
        depth=5,
    ),
    Exploration(
        "flapping-link",
        "A link goes down and comes back while both ends talk.",
        _mesh(_PAIR, "both"),
        actions=("send a b", "link_down a b", "link_up a b", "send b a"),
        prelude=5.0,
        ticks=2,
        depth=5,
    ),
    Exploration(
        "triangle",
        "One of three nodes that all know each other dies and comes back.",
        _mesh("{kind: full, nodes: 3}", "both", heal=20),
        actions=("crash n0", "restart n0"),
        prelude=5.0,
        ticks=2,
        tick=3.0,
        depth=4,
    ),
    Exploration(
        "middle-restarts",
        "The middle of a chain restarts; the ends hear of it in any order.",
        _mesh("{kind: chain, nodes: 3}", "both", heal=20),
        actions=("crash n1", "restart n1", "send n0 n2"),
        prelude=5.0,
        ticks=1,
        losses=1,
        depth=4,
    ),
)

EXPLORATIONS: dict[str, Exploration] = {exploration.name: exploration for exploration in _ALL}
