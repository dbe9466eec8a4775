"""The tree machine of one node: whom it takes as parent, what it declares, when it hesitates."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.mesh.neighbour import Neighbour, Neighbours, Position
from meshnode.mesh.settings import TreeSettings
from meshnode.mesh.tree import SwitchDamper, Tree, Urgency, evaluate_parent
from meshnode.wire.tree import AncestryEntry
from tests.unit.mesh_rig import VECTORS, WALL, addr, path, sorted_identities

IDENTITIES = sorted_identities(6)
ADDRESSES = [i.node_addr for i in IDENTITIES]


def verdict(vector: dict[str, Any]) -> str:
    """Evaluate a vector's situation and name the outcome the way the vectors do."""
    paths = {addr(c[0]): path(c) for c in vector["peer_coords"]}
    costs = {addr(int(peer)): cost for peer, cost in vector["peer_costs"].items()}
    me = addr(vector["my_addr"])
    parent = None if vector["current_parent"] is None else addr(vector["current_parent"])
    root = me if parent is None else paths[parent][-1]
    if vector["parent_removed"] and parent is not None:
        del paths[parent]
        costs.pop(parent, None)
    choice = evaluate_parent(me, parent, root, paths, costs, vector["hysteresis"])
    return "none" if choice is None else f"{choice.urgency.name.lower()}:{choice.parent[0]}"


@pytest.mark.parametrize("vector", VECTORS["parent_evaluation"], ids=lambda v: v["note"])
def test_parent_evaluation(vector: dict[str, Any]) -> None:
    """Spec 03, section 3.5."""
    assert verdict(vector) == vector["result"]


def test_a_smaller_root_is_mandatory_for_a_child() -> None:
    paths = {addr(6): path([6, 2]), addr(7): path([7, 1])}
    choice = evaluate_parent(addr(9), addr(6), addr(2), paths, {}, 0.2)
    assert choice is not None
    assert (choice.parent, choice.urgency) == (addr(7), Urgency.MANDATORY)


def test_hysteresis_is_clamped() -> None:
    paths = {addr(6): path([6, 1]), addr(7): path([7, 1])}
    costs = {addr(6): 5.0, addr(7): 1.0}
    assert evaluate_parent(addr(9), addr(6), addr(1), paths, costs, 7.5) is None
    assert evaluate_parent(addr(9), addr(6), addr(1), paths, costs, -3.0) is not None


@pytest.mark.parametrize("vector", VECTORS["flap_dampening"], ids=lambda v: v["note"])
def test_dampening(vector: dict[str, Any]) -> None:
    """Spec 03, section 3.8."""
    damper = SwitchDamper(
        TreeSettings(
            hold_down_secs=vector["hold_down_secs"],
            flap_threshold=vector["threshold"],
            flap_window_secs=vector["window_secs"],
            flap_dampening_secs=vector["dampening_secs"],
        )
    )
    parent, results = None, []
    for step in vector["steps"].split(";"):
        time, what = step.split(":")
        now = int(time) / 1000
        if what == "?":
            results.append(damper.vetoes(now))
        else:
            results.append(damper.parent_set(what != parent, now))
            parent = what
    assert ",".join(str(result).lower() for result in results) == vector["results"]


class Situation:
    """A Tree whose neighbours are placed by hand; nodes are named by index in ascending order of address."""

    def __init__(self, me: int, **settings: Any) -> None:
        self.neighbours: Neighbours = {}
        self.costs: dict[bytes, float] = {}
        self.identity = IDENTITIES[me]
        self.tree = Tree(self.identity, TreeSettings(**settings), bytes, self.neighbours, self.costs.get, WALL)

    def place(self, *nodes: int, sequence: int = 1) -> None:
        """A neighbour declares the path from itself up to the root."""
        coordinates = [ADDRESSES[n] for n in nodes]
        neighbour = self.neighbours.setdefault(coordinates[0], Neighbour(IDENTITIES[nodes[0]].peer, 1472))
        entries = [AncestryEntry(a, sequence, 7) for a in coordinates]
        parent = coordinates[min(1, len(coordinates) - 1)]
        neighbour.position = Position(sequence, 7, parent, entries, coordinates)

    def verify(self) -> None:
        message = self.tree.announce()
        assert message.ancestry_error() is None
        assert self.identity.peer.verify(message.signing_bytes(), message.signature)
        assert [entry.node_addr for entry in message.ancestry] == self.tree.coordinates


def test_a_fresh_node_is_root_with_a_sequence_no_earlier_run_reached() -> None:
    situation = Situation(3)
    assert situation.tree.is_root
    assert situation.tree.sequence == int(WALL * 1000)
    assert situation.tree.timestamp == int(WALL)
    situation.verify()


def test_taking_a_parent_copies_its_ancestry() -> None:
    situation = Situation(3)
    situation.place(2, 1, 0, sequence=42)
    first = situation.tree.sequence
    situation.tree.set_parent(ADDRESSES[2], 10.0, WALL + 5)
    situation.verify()
    message = situation.tree.announce()
    assert (message.sequence, message.timestamp, message.parent) == (first + 1, int(WALL) + 5, ADDRESSES[2])
    assert [(e.sequence, e.timestamp) for e in message.ancestry[1:]] == [(42, 7)] * 3


def test_a_parent_below_a_larger_root_makes_us_root_under_the_same_declaration() -> None:
    situation = Situation(1)
    situation.place(3, 2)
    first = situation.tree.sequence
    situation.tree.set_parent(ADDRESSES[3], 10.0, WALL)
    assert situation.tree.is_root
    assert situation.tree.parent == ADDRESSES[1]
    assert situation.tree.sequence == first + 1
    situation.verify()


def test_hold_down_vetoes_the_discretionary_and_lets_the_mandatory_pass() -> None:
    """Spec 03, section 3.8."""
    situation = Situation(5)
    situation.place(3, 1)
    situation.tree.set_parent(ADDRESSES[3], 0.0, WALL)
    situation.place(2, 1)
    situation.costs.update({ADDRESSES[3]: 50.0, ADDRESSES[2]: 1.0})
    assert situation.tree.better_parent(29.9) is None
    assert situation.tree.better_parent(30.0) == ADDRESSES[2]
    situation.place(4, 0)
    situation.costs[ADDRESSES[4]] = 90.0
    assert situation.tree.better_parent(1.0) == ADDRESSES[4]


def test_recovery_takes_another_parent_or_the_root() -> None:
    situation = Situation(5)
    situation.place(3, 0)
    situation.place(4, 0)
    situation.tree.set_parent(ADDRESSES[3], 0.0, WALL)
    del situation.neighbours[ADDRESSES[3]]
    situation.tree.recover(0.1, WALL)
    assert situation.tree.parent == ADDRESSES[4]
    del situation.neighbours[ADDRESSES[4]]
    situation.tree.recover(0.2, WALL)
    assert situation.tree.is_root
    situation.verify()


def test_tree_peers_are_the_parent_and_the_children() -> None:
    situation = Situation(2)
    situation.place(1, 0)
    situation.place(3, 2, 1, 0)
    situation.place(4, 1, 0)
    assert not situation.tree.is_tree_peer(ADDRESSES[1])
    situation.tree.set_parent(ADDRESSES[1], 0.0, WALL)
    assert [situation.tree.is_tree_peer(ADDRESSES[n]) for n in (1, 3, 4, 5)] == [True, True, False, False]
    situation.tree.become_root(WALL)
    assert not situation.tree.is_tree_peer(ADDRESSES[1])


def test_only_the_smallest_address_should_be_root() -> None:
    situation = Situation(1)
    assert situation.tree.should_be_root(0.0)
    situation.place(3, 2)
    assert situation.tree.should_be_root(0.0)
    situation.place(4, 0)
    assert not situation.tree.should_be_root(0.0)


def test_a_flapping_parent_is_counted_once_per_episode() -> None:
    situation = Situation(5, hold_down_secs=0, flap_threshold=2)
    situation.place(3, 0)
    situation.place(4, 0)
    for n in range(4):
        situation.tree.set_parent(ADDRESSES[3 + n % 2], float(n), WALL)
    assert situation.tree.counters.flap_dampened == 1


def test_a_parent_that_is_a_black_hole_is_left_at_once_for_any_other_in_the_same_tree() -> None:
    paths = {addr(6): path([6, 1]), addr(7): path([7, 8, 5, 1]), addr(5): path([5, 6, 1])}
    parent, costs = addr(6), {addr(6): 1.0, addr(7): 4.0, addr(5): 1.0}
    assert evaluate_parent(addr(9), parent, addr(1), paths, costs, 0.2) is None
    choice = evaluate_parent(addr(9), parent, addr(1), paths, costs, 0.2, {parent})
    assert choice is not None
    assert (choice.parent, choice.urgency) == (addr(7), Urgency.MANDATORY)


def test_whoever_hangs_below_a_black_hole_is_better_than_the_black_hole_itself() -> None:
    paths = {addr(6): path([6, 1]), addr(5): path([5, 6, 1])}
    choice = evaluate_parent(addr(9), addr(6), addr(1), paths, {}, 0.2, {addr(6)})
    assert choice is not None
    assert choice.parent == addr(5)


def test_a_black_hole_stays_parent_when_all_others_hang_below_us_or_in_a_worse_tree() -> None:
    paths = {addr(6): path([6, 1]), addr(5): path([5, 9, 6, 1]), addr(4): path([4, 2])}
    assert evaluate_parent(addr(9), addr(6), addr(1), paths, {}, 0.2, {addr(6)}) is None
