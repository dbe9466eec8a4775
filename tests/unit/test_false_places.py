"""Somebody sends in another's name and says that it lives behind himself: what a relay makes of it."""

from __future__ import annotations

from meshnode.wire.session import SessionSetup
from tests.unit.mesh_rig import MeshNet


def star() -> MeshNet:
    """Node 0 is root and hub of 1, 2 and 3; below 2 hangs 4."""
    net = MeshNet(5)
    for leaf in (1, 2, 3):
        net.link(0, leaf)
    net.link(2, 4)
    net.run(5.0)
    return net


def hint(net: MeshNet, owner: int, place: list[bytes], bringer: int) -> None:
    """A request in `owner`'s name, with that place, comes to the hub from `bringer`."""
    target = net.address(1)
    setup = SessionSetup(place, [target, net.address(0)], bytes(33)).encode()
    net.routers[0].warm(setup, 0, net.address(owner), target, net.now, net.address(bringer))


def test_a_place_behind_a_peer_that_never_claimed_it_is_not_believed_against_the_truth() -> None:
    net = star()
    net.teach(0, 4)
    truth = net.routers[0].coordinates_for(net.address(4), net.now)
    hint(net, 4, [net.address(4), net.address(3), net.address(0)], bringer=3)
    assert net.routers[0].coordinates_for(net.address(4), net.now) == truth
    assert net.routers[0].refused.false_places == 1
    assert net.route(0, 4) == [0, 2, 4]


def test_the_truth_replaces_a_lie_that_came_first() -> None:
    net = star()
    hint(net, 4, [net.address(4), net.address(3), net.address(0)], bringer=3)
    hint(net, 4, net.routers[4].own_coordinates, bringer=2)
    assert net.routers[0].coordinates_for(net.address(4), net.now) == net.routers[4].own_coordinates
    assert net.route(0, 4) == [0, 2, 4]


def test_a_node_that_moved_is_believed_as_soon_as_filters_say_so() -> None:
    net = star()
    net.teach(0, 4)
    net.unlink(2, 4)
    net.link(3, 4)
    net.run(3.0)
    hint(net, 4, net.routers[4].own_coordinates, bringer=3)
    assert net.routers[0].coordinates_for(net.address(4), net.now) == net.routers[4].own_coordinates
    assert net.route(0, 4) == [0, 3, 4]
