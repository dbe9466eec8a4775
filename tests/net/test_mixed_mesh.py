"""Meshes of our nodes and unmodified reference daemons: every role, every pair, lookups both ways, choice of parent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations

import pytest

from tests.net import reference
from tests.net.reference import NEW, OLD
from tests.rigs import meshes, sweeps, traffic
from tests.rigs.labs import Lab
from tests.rigs.meshes import Edge, Mesh
from tests.rigs.nodes import Node
from tests.rigs.relays import relayed
from tests.rigs.sweeps import Echoes
from tests.rigs.waiting import wait_until

pytestmark = [pytest.mark.net, pytest.mark.interop]

_START_LIMIT = 60.0
_STREAM = 5_000_000
_US, _THEM, _OLD = "us", "them", "old"
_RING_WITH_A_CHORD = [*meshes.ring(6), (0, 3)]

Measured = Callable[[str], None]


def _programs(kinds: Sequence[str]) -> list[meshes.Program | None]:
    variables = {_THEM: NEW, _OLD: OLD}
    return [reference.program(variables[kind]) if kind in variables else None for kind in kinds]


@contextmanager
def _running(lab: Lab, edges: list[Edge], kinds: Sequence[str], measured: Measured) -> Iterator[tuple[Mesh, Echoes]]:
    """A mixed mesh whose pairs have exchanged echoes; n0 has the smallest address of up to six nodes."""
    mesh = Mesh(lab, edges, _programs(kinds))
    mesh.start()
    mesh.wait_linked()
    sweeps.introduce(mesh.nodes)
    with sweeps.echoes(mesh.nodes) as echoes:
        if {_THEM, _OLD} <= set(kinds):
            measured(f"first questions: {echoes.all_answer(_first_questions(mesh, kinds), _START_LIMIT)}")
        answers = echoes.all_answer(_pairs(mesh, kinds), _START_LIMIT)
        measured(f"{'-'.join(kinds)}: {answers}")
        yield mesh, echoes


def _pairs(mesh: Mesh, kinds: Sequence[str]) -> list[tuple[Node, Node]]:
    """All pairs but those of the two releases of the reference.

    Where both of those open a session to each other at once, each may take itself for the initiator, and they stay mute
    for longer than anybody waits here; that says nothing about us.
    """
    kind_of = dict(zip(mesh.nodes, kinds, strict=True))
    return [pair for pair in mesh.pairs() if {kind_of[node] for node in pair} != {_THEM, _OLD}]


def _first_questions(mesh: Mesh, kinds: Sequence[str]) -> list[tuple[Node, Node]]:
    """The pairs that are not neighbours, each in one direction, so that every kind asks for somebody.

    Asked all at once, before anything else, they make everybody that asks look up: who was asked first needs no lookup,
    and who relays for others learns from them where they are. In a mesh of two kinds there are pairs enough to find
    each other from both sides at once, which is harder.
    """
    kind_of, asked = dict(zip(mesh.nodes, kinds, strict=True)), Counter[str]()
    questions = []
    for near, far in combinations(mesh.nodes, 2):
        if far in mesh.neighbours(near) or (near, far) not in _pairs(mesh, kinds):
            continue
        asker, other = (near, far) if asked[kind_of[near]] <= asked[kind_of[far]] else (far, near)
        asked[kind_of[asker]] += 1
        questions.append((asker, other))
    return questions


_OLDER = pytest.mark.interop(OLD)
_ROWS = [
    pytest.param([_THEM, _US, _THEM], id="we are transit and child of their root"),
    pytest.param([_US, _THEM, _US], id="we are root and leaf, they are transit"),
    pytest.param([_THEM, _THEM, _US], id="we are the leaf of theirs"),
    pytest.param([_US, _US, _THEM], id="they are the leaf of ours"),
    pytest.param([_OLD, _US, _OLD], id="we are transit between old ones", marks=_OLDER),
    pytest.param([_US, _OLD, _THEM], id="one of each kind", marks=_OLDER),
    pytest.param([_OLD, _THEM, _US], id="we are the leaf of both", marks=_OLDER),
]


@pytest.mark.parametrize("kinds", _ROWS)
def test_a_row_of_three_carries_echoes_streams_and_names(lab: Lab, kinds: list[str], measured: Measured) -> None:
    with _running(lab, meshes.row(3), kinds, measured) as (mesh, _):
        first, middle, last = mesh.nodes
        for near, far in ((first, last), (last, first)):
            assert len(traffic.ping(near.host, f"{far.npub}.fips")) == 3
            assert traffic.transfer(near.host, far.host, far.address, _STREAM).intact
        assert meshes.forwarded(middle) > 1000
        mesh.wait_one_root(mesh.nodes, 10)
        assert meshes.parent_of(middle, mesh.nodes) is first
        assert meshes.parent_of(last, mesh.nodes) is middle


_SIXES = [
    pytest.param([_US, _THEM] * 3, id="our root"),
    pytest.param([_THEM, _US] * 3, id="their root"),
    pytest.param([_US, _THEM, _OLD] * 2, id="three kinds and our root", marks=_OLDER),
    pytest.param([_OLD, _US, _THEM] * 2, id="three kinds and an old root", marks=_OLDER),
]


@pytest.mark.parametrize("kinds", _SIXES)
def test_all_pairs_of_six_mixed_nodes_answer_by_name(lab: Lab, kinds: list[str], measured: Measured) -> None:
    """A ring with a chord, the kinds in turn around it: of two kinds every link, so every parenthood, joins both."""
    with _running(lab, _RING_WITH_A_CHORD, kinds, measured) as (mesh, echoes):
        mesh.wait_one_root(mesh.nodes, 10)
        for near, far in ((mesh.nodes[1], mesh.nodes[4]), (mesh.nodes[4], mesh.nodes[1])):
            assert len(traffic.ping(near.host, f"{far.npub}.fips")) == 3
        if len(set(kinds)) == 2:
            kind_of = dict(zip(mesh.nodes, kinds, strict=True))
            assert {(kind_of[child], kind_of[parent]) for child, parent in _parents(mesh)} == {
                (_US, _THEM),
                (_THEM, _US),
            }
        assert echoes.lost(_pairs(mesh, kinds), rounds=4) == {}
        for kind in dict.fromkeys(kinds):
            answered = [_answered_lookups(node) for node, own in zip(mesh.nodes, kinds, strict=True) if own is kind]
            assert any(answered), f"none of {kind} ever found anybody by a lookup"


def test_a_reference_that_dies_in_the_middle_is_routed_around(lab: Lab, is_long: bool, measured: Measured) -> None:
    """Its own kind takes about a minute to find another way; among themselves some pairs take longer than two."""
    if not is_long:
        pytest.skip("takes a minute: set MESHNODE_LONG=1")
    with _running(lab, meshes.ring(6), [_US, _THEM] * 3, measured) as (mesh, echoes):
        victim = mesh.nodes[1]
        victim.kill()
        answers = echoes.all_answer(mesh.pairs(without=[victim]), 90)
        measured(f"{victim.name} of theirs killed: {answers}")
        ours = [pair for pair in answers.times if all(node.program.name == "meshnode" for node in pair)]
        measured(f"pairs of ours alone: {max(answers.times[pair] for pair in ours):.2f} s")


def _parents(mesh: Mesh) -> list[tuple[Node, Node]]:
    found = [(node, meshes.parent_of(node, mesh.nodes)) for node in mesh.nodes]
    return [(node, parent) for node, parent in found if parent is not None and parent is not node]


def _answered_lookups(node: Node) -> int:
    """Return how many lookups of a node were answered; releases differ in what they call the family."""
    routing = node.ask("show_routing")
    return int((routing.get("lookup") or routing["discovery"])["resp_accepted"])


# A diamond whose foot may have either side as its parent: one is ours, one is theirs.
_DIAMOND = [(1, 0), (2, 0), (3, 1), (3, 2)]
_EAGER = {"node": {"tree": {"hold_down_secs": 1, "reeval_interval_secs": 2}}}
_SLOW, _FAST = 0.06, 0.005
_CHOICES = [
    pytest.param([_US, _US, _THEM, _THEM], 1, id="they choose us"),
    pytest.param([_THEM, _US, _THEM, _US], 2, id="we choose them"),
    pytest.param([_US, _US, _OLD, _OLD], 1, id="old ones choose us", marks=_OLDER),
]


@pytest.mark.parametrize(("kinds", "better"), _CHOICES)
def test_the_side_with_the_better_link_becomes_the_parent(
    lab: Lab, kinds: list[str], better: int, measured: Measured
) -> None:
    """The foot sits below the worse side first, since the better one starts later; then it moves."""
    mesh = Mesh(lab, _DIAMOND, _programs(kinds), _EAGER)
    top, *sides, foot = mesh.nodes
    good, bad = (sides[0], sides[1]) if better == 1 else (sides[1], sides[0])
    delays = [_FAST if side is good else _SLOW for side in sides]
    with relayed(mesh.cables[2], delay=delays[0]), relayed(mesh.cables[3], delay=delays[1]):
        for node in (top, bad, foot):
            node.start()
            node.wait_ready()
        wait_until(lambda: meshes.parent_of(foot, mesh.nodes) is bad, 30, "the only side there is becomes the parent")
        good.start()
        good.wait_ready()
        wait_until(lambda: meshes.parent_of(foot, mesh.nodes) is good, 60, "the better side becomes the parent")
        sweeps.introduce(mesh.nodes)
        with sweeps.echoes(mesh.nodes) as echoes:
            measured(f"with {good.name} as parent: {echoes.all_answer(mesh.pairs(), _START_LIMIT)}")
