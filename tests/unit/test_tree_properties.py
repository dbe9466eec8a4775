"""The tree machine and whole meshes under whatever happens in whatever order: what holds after every step.

Spec 03 sections 3.4 to 3.8 for one node's place in the tree, section 8 for the way of a datagram.
"""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from meshnode.mesh.neighbour import Position
from tests.unit.mesh_rig import WALL, MeshNet
from tests.unit.test_router_mesh import assert_one_tree
from tests.unit.test_tree import ADDRESSES, Situation

ME = 3
OTHERS = [n for n in range(len(ADDRESSES)) if n != ME]
COUNT = 6
QUIET = 150.0  # hold-down, dampening's shortest, and one re-evaluation

others = st.sampled_from(OTHERS)
ways = st.permutations(range(len(ADDRESSES)))


class Place(RuleBasedStateMachine):
    """One node whose neighbours claim any place, also such as cannot be, and come and go; it looks around at will."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.situation = Situation(ME, hold_down_secs=30, flap_dampening_secs=120)
        self.tree = self.situation.tree
        self.declared = self.tree.sequence
        self.sequence = 1

    @rule(way=ways, length=st.integers(1, 5))
    def a_neighbour_declares(self, way: list[int], length: int) -> None:
        """Any path up to its smallest node, even through us; the parent's is followed or given up, as a router does."""
        path = way[: way.index(min(way[:length])) + 1]
        if path[0] == ME:
            return
        self.sequence += 1
        self.situation.place(*path, sequence=self.sequence)
        if ADDRESSES[path[0]] == self.tree.parent and not self.tree.is_root:
            if ME in path:
                self.tree.recover(self.now, WALL + self.now)
            else:
                self.tree.set_parent(self.tree.parent, self.now, WALL + self.now)

    @rule(peer=others)
    def a_neighbour_goes(self, peer: int) -> None:
        self.situation.costs.pop(ADDRESSES[peer], None)
        if self.situation.neighbours.pop(ADDRESSES[peer], None) and self.tree.parent == ADDRESSES[peer]:
            self.tree.recover(self.now, WALL + self.now)

    @rule(peer=others, cost=st.floats(1.0, 50.0))
    def a_link_is_measured(self, peer: int, cost: float) -> None:
        if ADDRESSES[peer] in self.situation.neighbours:
            self.situation.costs[ADDRESSES[peer]] = cost

    @rule(peer=others, trusted=st.booleans())
    def a_neighbour_is_trusted_or_not(self, peer: int, trusted: bool) -> None:
        if ADDRESSES[peer] in self.situation.neighbours:
            self.situation.neighbours[ADDRESSES[peer]].trusted = trusted

    @rule(seconds=st.floats(0.1, 90.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def it_looks_for_a_better_parent(self) -> None:
        better = self.tree.better_parent(self.now)
        if better is None:
            return
        before = self.tree.root
        path = self.situation.neighbours[better].position
        assert path is not None
        assert self.tree.me not in path.coordinates  # nobody below us (section 3.5)
        self.tree.set_parent(better, self.now, WALL + self.now)
        assert self.tree.parent == better
        assert self.tree.root < self.tree.me
        assert self.tree.root <= before or before not in {p.coordinates[-1] for p in self._positions()}

    def _positions(self) -> list[Position]:
        return [n.position for n in self.situation.neighbours.values() if n.position is not None]

    @invariant()
    def the_declaration_is_valid_and_signed(self) -> None:
        self.situation.verify()

    @invariant()
    def it_is_never_on_the_path_above_itself(self) -> None:
        assert len(set(self.tree.coordinates)) == len(self.tree.coordinates)
        assert self.tree.coordinates[0] == self.tree.me

    @invariant()
    def it_hangs_below_a_neighbour_with_a_smaller_root_or_is_root(self) -> None:
        if self.tree.is_root:
            assert self.tree.parent == self.tree.me
        else:
            assert self.tree.parent in self.situation.neighbours
            assert self.tree.root < self.tree.me

    @invariant()
    def sequence_numbers_only_grow(self) -> None:
        assert self.tree.sequence >= self.declared
        self.declared = self.tree.sequence


class Mesh(RuleBasedStateMachine):
    """Six routers whose links come and go in any order and at any pace, with messages lost meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.net = MeshNet(COUNT)
        self.losses = 0.0
        self.net.lost = lambda sender, receiver, message: self.net.random.random() < self.losses

    @rule(pair=st.sampled_from(list(combinations(range(COUNT), 2))))
    def a_link_comes_or_goes(self, pair: tuple[int, int]) -> None:
        if pair in self.net.links:
            self.net.unlink(*pair)
        else:
            self.net.link(*pair)

    @rule(pair=st.sampled_from(list(combinations(range(COUNT), 2))), cost=st.floats(1.0, 20.0))
    def a_link_is_measured(self, pair: tuple[int, int], cost: float) -> None:
        if pair in self.net.links:
            self.net.costs[pair] = self.net.costs[pair[::-1]] = cost

    @rule(losses=st.sampled_from([0.0, 0.0, 0.3]))
    def the_links_lose_more_or_less(self, losses: float) -> None:
        self.losses = losses

    @rule(seconds=st.sampled_from([0.1, 0.6, 3.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.net.run(seconds)

    @precondition(lambda self: self.net.links)
    @rule()
    def it_is_left_alone(self) -> None:
        """Every part has one tree, below its smallest node, and everybody reaches everybody in it."""
        self.losses = 0.0
        self.net.run(QUIET)
        for part in self._parts():
            assert_one_tree(self.net, part)
            for source, destination in combinations(part, 2):
                for node in part:  # as datagrams that carry them do on their way
                    self.net.teach(node, destination)
                assert self.net.route(source, destination)[-1] == destination

    def _parts(self) -> list[list[int]]:
        parts: list[set[int]] = [{n} for n in range(COUNT)]
        for a, b in self.net.links:
            joined = [part for part in parts if a in part or b in part]
            parts = [part for part in parts if part not in joined] + [set().union(*joined)]
        return [sorted(part) for part in parts]


@pytest.mark.parametrize(("machine", "examples", "steps"), [(Place, 60, 40), (Mesh, 12, 25)])
def test_whatever_happens(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    phases = (Phase.generate,)  # to shrink a mesh takes minutes
    bounds = settings(max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=True, phases=phases)
    run_state_machine_as_test(machine, settings=bounds)  # type: ignore[no-untyped-call]
