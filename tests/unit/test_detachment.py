"""Letting go of a black hole that there is no other parent instead of."""

from __future__ import annotations

import pytest

from meshnode.mesh.bloom import filter_of
from meshnode.mesh.detachment import ALOOF_SECS, LEAST_WAIT, SPREAD, Detachment
from meshnode.mesh.neighbour import Neighbour
from meshnode.mesh.relay_record import RelayRecord
from tests.unit.router_rig import ADDRESSES, NODES, WALL, Node

ROOT, ME, BELOW, BESIDE = 0, 1, 2, 3


def _black_hole(*reached: int) -> Neighbour:
    members = filter_of(ADDRESSES[n] for n in (ROOT, *reached))
    return Neighbour(NODES[ROOT].peer, 1472, filter=members, black_hole=True)


def _due(detachment: Detachment, parent: Neighbour | None, until: float) -> list[float]:
    return [now / 2 for now in range(int(2 * until)) if detachment.is_due(parent, now / 2)]


@pytest.mark.parametrize("dice", [0, 255])
def test_it_waits_for_a_while_that_the_dice_decide_and_lets_go_once(dice: int) -> None:
    detachment = Detachment(lambda size: bytes([dice] * size))
    [when] = _due(detachment, _black_hole(BESIDE), 100.0)
    assert LEAST_WAIT + SPREAD * dice / 255 <= when <= LEAST_WAIT + SPREAD * dice / 255 + 0.5
    assert not detachment.has_ended(when + ALOOF_SECS - 0.1)
    assert detachment.has_ended(when + ALOOF_SECS)
    assert not detachment.has_ended(when + ALOOF_SECS)


def test_the_only_one_below_a_black_hole_stays_as_nothing_is_led_through_it() -> None:
    assert _due(Detachment(bytes), _black_hole(), 100.0) == []
    assert _due(Detachment(bytes), Neighbour(NODES[ROOT].peer, 1472, black_hole=True), 100.0) == []


def test_it_lets_go_again_of_one_that_was_relied_on_meanwhile() -> None:
    detachment, parent = Detachment(bytes), _black_hole(BESIDE)
    assert len(_due(detachment, parent, 10.0)) == 1
    parent.black_hole = False
    assert _due(detachment, None, 10.0) == []
    parent.black_hole = True
    assert len(_due(detachment, parent, 10.0)) == 1


class Stuck(Node):
    """Node 1 below node 0, the root, which is a black hole; node 2, below node 1, is its only other neighbour."""

    def __init__(self) -> None:
        super().__init__(ME, [ROOT, BELOW])
        self.hear(ROOT)
        self.hear_filter(ROOT, [ROOT, BESIDE, 4, 5])
        self.hear(BELOW, ME, ROOT)
        self.router.neighbours[ADDRESSES[ROOT]].black_hole = True
        self._given_up = RelayRecord()
        self._given_up.given_up_at = self.now

    def tick_for(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            # Nothing is returned in this rig, so that the test judges instead.
            records = self.router.black_holes._records
            records.clear()
            records[ADDRESSES[ROOT]] = self._given_up
            self.router.tick(self.now, WALL + self.now)

    @property
    def parent(self) -> int:
        return ADDRESSES.index(self.router.tree.parent)


def test_a_node_without_another_parent_is_root_for_a_moment_and_comes_back() -> None:
    node = Stuck()
    assert node.parent == ROOT
    node.tick_for(4)
    assert node.parent == ME
    node.hear(ROOT, sequence=2)
    assert node.parent == ME
    node.tick_for(6)
    assert node.parent == ROOT


def test_it_follows_whoever_below_it_finds_another_way_meanwhile() -> None:
    node = Stuck()
    node.tick_for(4)
    node.hear(BELOW, BESIDE, 4, ROOT, sequence=2)
    assert node.parent == BELOW
    node.tick_for(10)
    assert node.parent == BELOW
