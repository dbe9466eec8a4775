"""Graphs and trees made of characters, and the live screen without its library."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.cli.graph import bars, squeezed
from meshnode.cli.top import main as top
from meshnode.cli.tree_drawing import drawn

SERIES = st.lists(st.none() | st.floats(0, 1e9), max_size=200)


def test_a_graph_grows_from_the_bottom_and_leaves_gaps() -> None:
    assert bars([0.0, None, 1.0, 2.0], 5, 2) == ["    █", " ▁ ██"]
    assert bars([], 3, 1) == ["   "]
    assert bars([0.0, 0.0], 2, 1) == ["▁▁"]


@given(SERIES, st.integers(0, 90), st.integers(1, 4))
def test_a_graph_always_has_its_size(values: list[float | None], width: int, height: int) -> None:
    lines = bars(values, width, height)
    assert len(lines) == height
    assert {len(line) for line in lines} == {width}


@given(SERIES, st.integers(1, 90))
def test_squeezing_keeps_the_mean_within_the_extremes(values: list[float | None], width: int) -> None:
    known = [value for value in values if value is not None]
    for value in squeezed(values, width):
        assert value is None or min(known) * 0.999 <= value <= max(known) * 1.001


def tree(**changes: Any) -> dict[str, Any]:
    peers = [
        {"node_addr": "b", "display_name": "bee", "coords": ["b", "a"]},
        {"node_addr": "d", "display_name": "dog", "coords": ["d", "me", "b", "a"]},
        {"node_addr": "n", "display_name": "new"},
    ]
    base = {
        "my_node_addr": "me", "my_coords": ["me", "b", "a"], "parent": "b", "parent_display_name": "bee",
        "peers": peers,
    }  # fmt: skip
    return {**base, **changes}


def test_the_tree_is_drawn_from_every_place_that_is_known() -> None:
    cache = {"entries": [{"node_addr": "f", "display_name": "far", "coords": ["f", "e", "a"]}]}
    assert drawn(tree(), cache) == [
        "a... (root)",
        "├─ bee *",
        "│  └─ this node",
        "│     └─ dog *",
        "└─ e...",
        "   └─ far",
    ]


def test_a_peer_in_another_tree_stands_apart() -> None:
    peers = [{"node_addr": "x", "display_name": "ex", "coords": ["x"]}]
    lines = drawn(tree(peers=peers, my_coords=["me"], parent="me", parent_display_name="me..."), {})
    assert lines == ["ex * (root)", "this node (root)"]


def test_without_its_library_meshtop_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "textual", None)
    monkeypatch.delitem(sys.modules, "meshnode.cli.top.app", raising=False)
    assert top.main(["-s", "/nowhere"]) == 1
    command = f"{sys.executable} -m pip install 'meshnode[top]'"
    assert capsys.readouterr().err == f"error: meshtop needs the library textual: {command}\n"


def test_meshtop_draws_on_terminals_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "meshnode.cli.top.app", SimpleNamespace(MeshTop=None))
    assert top.main(["-s", "/nowhere"]) == 1
    assert capsys.readouterr().err == (
        "error: meshtop draws on a terminal, and this is none; meshctl status prints lines\n"
    )
