"""A parent whose filters leave out even those it hangs below itself is left, and no other parent is for nothing."""

from __future__ import annotations

from meshnode.mesh.withholding import SETTLING_SECS
from tests.unit.router_rig import ADDRESSES, WALL, Node

ROOT, LIAR, HONEST, ME, BELOW = 0, 1, 2, 3, 4
TIMELY = int(SETTLING_SECS) + 1


class Placed(Node):
    """Node 3 below node 1, beside node 2, both below the root; its own child is node 4."""

    def __init__(self) -> None:
        super().__init__(ME, [LIAR, HONEST, BELOW])
        self.hear(LIAR, ROOT)
        self.hear(HONEST, ROOT)
        self.hear(BELOW, ME, LIAR, ROOT)
        self.hear_filter(HONEST, [HONEST, ROOT, LIAR])
        self.hear_filter(BELOW, [BELOW])

    def tick_for(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            self.router.black_holes._records.clear()  # nothing is returned in this rig
            self.router.tick(self.now, WALL + self.now)

    def withholds(self, peer: int) -> bool:
        return self.router.neighbours[ADDRESSES[peer]].withholds

    @property
    def parent(self) -> int:
        return ADDRESSES.index(self.router.tree.parent)


def test_a_parent_that_leaves_out_whom_it_hangs_below_is_left_once_filters_had_time_to_travel() -> None:
    node = Placed()
    node.hear_filter(LIAR, [LIAR])
    assert node.parent == LIAR
    node.tick_for(TIMELY - 2)
    assert (node.parent, node.withholds(LIAR)) == (LIAR, False)
    node.tick_for(2)
    assert (node.parent, node.withholds(LIAR)) == (HONEST, True)


def test_one_that_tells_whom_it_reaches_stays_parent() -> None:
    node = Placed()
    node.hear_filter(LIAR, [LIAR, ROOT])
    node.tick_for(3 * TIMELY)
    assert (node.parent, node.withholds(LIAR)) == (LIAR, False)


def test_a_filter_that_comes_late_but_in_time_is_no_reproach() -> None:
    node = Placed()
    node.hear_filter(LIAR, [LIAR])
    node.tick_for(TIMELY - 2)
    node.hear_filter(LIAR, [LIAR, ROOT], sequence=2)
    node.tick_for(TIMELY)
    assert (node.parent, node.withholds(LIAR)) == (LIAR, False)


def test_who_moves_is_given_the_time_anew() -> None:
    node = Placed()
    node.hear_filter(HONEST, [HONEST], sequence=2)
    node.tick_for(TIMELY - 2)
    node.hear(HONEST, LIAR, ROOT, sequence=2)
    node.tick_for(TIMELY - 2)
    assert not node.withholds(HONEST)
    node.tick_for(2)
    assert node.withholds(HONEST)


def test_a_child_tells_us_nothing_of_what_it_has_from_us() -> None:
    node = Placed()
    node.hear_filter(LIAR, [LIAR, ROOT])
    node.tick_for(3 * TIMELY)
    assert not node.withholds(BELOW)


def test_where_all_withhold_there_is_no_better_one() -> None:
    node = Placed()
    node.hear_filter(LIAR, [LIAR])
    node.hear_filter(HONEST, [HONEST], sequence=2)
    node.tick_for(3 * TIMELY)
    assert node.withholds(LIAR)
    assert node.withholds(HONEST)
    assert node.parent == LIAR


def test_who_tells_again_is_as_good_as_before() -> None:
    node = Placed()
    node.hear_filter(LIAR, [LIAR])
    node.tick_for(TIMELY)
    assert node.parent == HONEST
    node.hear_filter(LIAR, [LIAR, ROOT, HONEST], sequence=2)
    node.tick_for(1)
    assert not node.withholds(LIAR)
