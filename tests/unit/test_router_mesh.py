"""Whole meshes of routers: they converge, reach everybody without loops, and heal."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from meshnode.mesh.bloom import filter_of, member_mask
from meshnode.mesh.router import CoordinatesChanged, CoordinatesLearned, LookupFailed, ParentChanged
from meshnode.wire.bloom import FilterAnnounce
from meshnode.wire.lookup import LookupRequest, LookupResponse
from tests.unit.mesh_rig import MeshNet


def chain(count: int, seed: int = 1) -> MeshNet:
    net = MeshNet(count, seed)
    for n in range(count - 1):
        net.link(n, n + 1)
    net.run(10)
    return net


def ring(count: int) -> MeshNet:
    net = chain(count)
    net.link(count - 1, 0)
    net.run(150)  # the far side changes parents only after hold-down and re-evaluation
    return net


def star(count: int, centre: int = 1) -> MeshNet:
    net = MeshNet(count)
    for n in range(count):
        if n != centre:
            net.link(centre, n)
    net.run(10)
    return net


def random_mesh(count: int, seed: int) -> MeshNet:
    net = MeshNet(count, seed)
    for n in range(1, count):
        net.link(n, net.random.randrange(n))
        net.run(net.random.random())
    for a, b in net.random.sample(list(combinations(range(count), 2)), count // 2):
        if (a, b) not in net.links:
            net.link(a, b)
            net.run(net.random.random())
    net.run(30)
    return net


def assert_one_tree(net: MeshNet, members: list[int]) -> None:
    """Everybody's coordinates are its parent's, prolonged by itself, up to the smallest member."""
    root = min(members)
    for n in members:
        coordinates = net.coordinates(n)
        assert coordinates[-1] == root
        if n != root:
            assert coordinates[1:] == net.coordinates(coordinates[1])
            assert (n, coordinates[1]) in net.links


def assert_everybody_found(net: MeshNet, members: list[int]) -> None:
    """Every pair finds each other by lookup, and the routes arrive."""
    for source in members:
        for target in members:
            if source == target or (source, target) in net.links:
                continue
            router = net.routers[source]
            router.forget_coordinates(net.address(target))
            assert router.lookup(net.address(target), net.now), (source, target)
            net.run(3)  # transit nodes relay a target at most every two seconds
            assert router.coordinates_for(net.address(target), net.now) == net.routers[target].own_coordinates
            for n in members:
                net.teach(n, target)
            assert net.route(source, target)[-1] == target


@pytest.mark.parametrize(
    ("net", "parents"),
    [
        (chain(5), [0, 0, 1, 2, 3]),
        (star(5, centre=1), [0, 0, 1, 1, 1]),
        (star(5, centre=4), [0, 4, 4, 4, 0]),
        (ring(5), [0, 0, 1, 4, 0]),
    ],
    ids=["chain", "star", "star of a large centre", "ring"],
)
def test_a_mesh_becomes_one_tree_and_everybody_is_found(net: MeshNet, parents: list[int]) -> None:
    assert net.parents() == parents
    assert_one_tree(net, list(range(5)))
    assert_everybody_found(net, list(range(5)))
    assert [router.mesh_size_estimate for router in net.routers] == [5] * 5


@pytest.mark.parametrize("seed", range(4))
def test_random_meshes_converge_and_route_without_loops(seed: int) -> None:
    net = random_mesh(12, seed)
    assert_one_tree(net, list(range(12)))
    for source in range(12):
        for target in range(12):
            if source != target:
                for n in range(12):
                    net.teach(n, target)
                assert net.route(source, target)[-1] == target


@pytest.mark.parametrize("seed", range(3))
def test_churn_and_loss_leave_no_lasting_damage(seed: int) -> None:
    """Links come and go, one message in ten is lost; two refresh intervals later the mesh is whole."""
    net = random_mesh(10, seed)
    net.lost = lambda sender, receiver, message: net.random.random() < 0.1
    for _ in range(15):
        a, b = net.random.sample(range(10), 2)
        if (a, b) in net.links:
            net.unlink(a, b)
        else:
            net.link(a, b)
        net.run(net.random.random() * 5)
    net.lost = lambda sender, receiver, message: False
    for n in range(9):
        if (n, n + 1) not in net.links:
            net.link(n, n + 1)
    net.run(130)
    assert_one_tree(net, list(range(10)))
    assert_everybody_found(net, list(range(10)))


def test_nodes_that_send_nothing_back_are_relied_on_while_there_are_no_others() -> None:
    """As nodes might that treat datagrams to their sender otherwise: the mesh is what it would be without the trial."""
    net = ring(6)
    net.relaying = False
    net.run(120)
    assert any(neighbour.black_hole for router in net.routers for neighbour in router.neighbours.values())
    assert {coordinates[-1] for coordinates in map(net.coordinates, range(6))} == {0}
    for destination in range(6):
        for source in range(6):
            net.teach(source, destination)
    assert all(net.route(source, destination)[-1] == destination for source in range(6) for destination in range(6))


def test_a_converged_mesh_is_quiet() -> None:
    net = ring(6)
    net.run(120)
    before = len(net.delivered)
    sequences = [router.tree.sequence for router in net.routers]
    net.run(60)
    assert [router.tree.sequence for router in net.routers] == sequences
    assert len(net.delivered) - before == 2 * len(net.links)  # one refresh of announce and filter per direction


def test_two_meshes_merge_under_the_smaller_root() -> None:
    """Spec 03, section 3.12."""
    net = MeshNet(6)
    for a, b in ((0, 2), (2, 4), (1, 3), (3, 5)):
        net.link(a, b)
    net.run(10)
    assert {net.coordinates(n)[-1] for n in range(6)} == {0, 1}
    net.link(4, 5)
    net.run(20)
    assert_one_tree(net, list(range(6)))
    assert_everybody_found(net, list(range(6)))


def test_a_partition_makes_a_root_on_the_far_side_and_heals() -> None:
    """Spec 03, section 3.12."""
    net = chain(6)
    net.unlink(2, 3)
    net.run(20)
    assert_one_tree(net, [0, 1, 2])
    assert_one_tree(net, [3, 4, 5])
    assert_everybody_found(net, [3, 4, 5])
    net.link(2, 3)
    net.run(20)
    assert_one_tree(net, list(range(6)))
    assert_everybody_found(net, list(range(6)))


def test_losing_the_parent_moves_a_node_to_its_other_link() -> None:
    net = ring(5)
    lost = net.parents()[3]
    net.unlink(3, lost)
    net.run(20)
    assert net.parents()[3] != lost
    assert net.routers[3].counters.tree.parent_losses == 1
    assert any(isinstance(event, ParentChanged) for event in net.events[3])
    assert any(isinstance(event, CoordinatesChanged) for event in net.events[3])
    assert_one_tree(net, list(range(5)))
    assert_everybody_found(net, list(range(5)))


def test_a_node_does_not_follow_its_parent_into_a_worse_tree_for_long() -> None:
    net = MeshNet(4)
    for a, b in ((0, 1), (1, 2), (2, 3)):
        net.link(a, b)
    net.run(5)
    net.link(3, 0)
    net.run(1)
    assert net.parents()[3] == 2  # held down
    net.unlink(1, 2)
    net.run(5)
    assert_one_tree(net, [0, 1, 2, 3])


def test_losing_the_root_elects_the_next_smallest() -> None:
    net = ring(5)
    for peer in [b for a, b in net.links if a == 0]:
        net.unlink(0, peer)
    net.run(30)
    assert_one_tree(net, [1, 2, 3, 4])
    assert_everybody_found(net, [1, 2, 3, 4])


def test_a_child_is_found_although_its_first_filter_came_before_it_was_a_child() -> None:
    """The order hazard: nobody beyond the parent may stay ignorant of a node that joined in the usual way."""
    net = MeshNet(3)
    net.link(0, 1)
    net.run(10)
    net.link(1, 2)
    net.run(1.2)
    assert net.routers[0].lookup(net.address(2), net.now)
    net.run(0.1)
    assert net.routers[0].coordinates_for(net.address(2), net.now) == net.routers[2].own_coordinates


def test_filters_follow_the_announce_that_makes_us_a_child() -> None:
    net = MeshNet(2)
    net.link(0, 1)
    net.run(0.9)
    sent_up = [message[0] for sender, receiver, message in net.delivered if (sender, receiver) == (1, 0)]
    assert sent_up == [0x10, 0x10, 0x20]


def test_a_parent_recomputes_when_a_peer_becomes_its_child() -> None:
    """A peer of the reference implementation may send its filter first and nothing after its announce."""
    net = MeshNet(3)
    net.link(0, 1)
    net.run(5)
    net.lost = lambda sender, receiver, message: sender == 2 and message[0] == 0x20
    net.link(1, 2)
    early = FilterAnnounce(1, 5, 1, member_mask(net.address(2)).to_bytes(1024, "little")).encode()
    assert not net.routers[1].is_tree_peer(net.address(2))
    net.routers[1].message(net.address(2), early[0], early[1:], net.now, net.wall)
    net.run(5)
    assert net.routers[1].is_tree_peer(net.address(2))
    assert net.routers[0].lookup(net.address(2), net.now)


def test_a_lost_filter_is_repeated_in_time() -> None:
    net = MeshNet(3)
    net.link(0, 1)
    net.run(5)
    lossy = True
    net.lost = lambda sender, receiver, message: lossy and message[0] == 0x20
    net.link(1, 2)
    net.run(5)
    assert not net.routers[0].lookup(net.address(2), net.now)
    lossy = False
    net.run(61)
    assert net.routers[0].lookup(net.address(2), net.now)


def test_a_lost_attaching_announce_is_repeated_in_time() -> None:
    net = MeshNet(2)
    lossy = True
    net.lost = lambda sender, receiver, message: lossy and sender == 1 and message[0] == 0x10
    net.link(0, 1)
    net.run(5)
    assert not net.routers[0].is_tree_peer(net.address(1))
    lossy = False
    net.run(61)
    assert net.routers[0].is_tree_peer(net.address(1))


def test_a_lookup_for_a_vanished_node_fails_after_its_attempts() -> None:
    net = chain(4)
    net.lost = lambda sender, receiver, message: message[0] == 0x31
    assert net.routers[0].lookup(net.address(3), net.now)
    net.run(14.9)
    assert not any(isinstance(event, LookupFailed) for event in net.events[0])
    net.run(1)
    assert LookupFailed(net.address(3)) in net.events[0]
    assert net.routers[0].counters.lookup.req_initiated == 4


def test_a_request_that_was_lost_on_its_way_costs_a_second() -> None:
    """Spec 03, section 7.3: three seconds, where the relays before the loss hold the second attempt back."""
    net = chain(5)
    lost: list[bytes] = []

    def loses(sender: int, receiver: int, message: bytes) -> bool:
        if (sender, receiver, message[0]) == (2, 3, 0x30) and not lost:
            lost.append(message)
            return True
        return False

    net.lost = loses
    net.routers[0].lookup(net.address(4), net.now)
    net.run(1.5)
    assert lost
    assert CoordinatesLearned(net.address(4), 1472) in net.events[0]


def test_a_lookup_learns_the_smallest_link_on_the_way() -> None:
    net = MeshNet(4)
    for n, mtu in ((0, 1472), (1, 1280), (2, 1400)):
        net.link(n, n + 1, mtu)
    net.run(10)
    net.routers[0].lookup(net.address(3), net.now)
    net.run(1)
    assert CoordinatesLearned(net.address(3), 1280) in net.events[0]


def test_a_neighbour_that_makes_answers_up_hides_nobody() -> None:
    """It claims a node of another branch, and answers whoever looks for it before that node can."""
    net = MeshNet(5)
    asker, target, liar = 1, 3, 2
    for a, b in ((0, asker), (0, 4), (4, target), (0, liar)):
        net.link(a, b)
    net.run(20)

    def lie(sender: int, receiver: int, message: bytes) -> bool:
        if receiver == liar and message[0] == 0x30:
            request = LookupRequest.parse(message[1:])
            place = [request.target, net.address(liar), net.address(0)]
            made_up = LookupResponse(request.request_id, request.target, 1400, place, bytes(64))
            net.queue.appendleft((liar, 0, made_up.encode()))
        return sender == liar and message[0] == 0x20

    net.lost = lie
    bits = filter_of([net.address(liar), net.address(target)]).to_bytes(1024, "little")
    false_filter = FilterAnnounce(1 << 40, 5, 1, bits).encode()
    net.routers[0].message(net.address(liar), 0x20, false_filter[1:], net.now, net.wall)
    net.run(5)
    net.events[asker].clear()
    net.routers[asker].lookup(net.address(target), net.now)
    net.run(5)
    assert net.routers[asker].lookups.counters.resp_proof_failed == 1
    assert net.events[asker] == [CoordinatesLearned(net.address(target), 1472)]


@pytest.mark.parametrize("liars", [(4,), (4, 5)], ids=["one", "two"])
def test_children_that_claim_all_that_is_believed_hide_no_newcomers(liars: tuple[int, ...]) -> None:
    """Spec 03, section 5.6: with the claims of others they make a filter that everybody refuses."""
    net = MeshNet(8)
    for a, b in ((0, 1), (1, 2), (2, 3), (2, 4), (2, 5)):
        net.link(a, b)
    net.run(20)
    net.lost = lambda sender, receiver, message: sender in liars and message[0] == 0x20
    bits = made_up(5936 if len(liars) == 1 else 4500, net.random)
    for liar, claim in zip(liars, (bits, made_up(4500, net.random)), strict=False):
        message = FilterAnnounce(1 << 40, 5, 1, claim.to_bytes(1024, "little")).encode()
        net.routers[2].message(net.address(liar), message[0], message[1:], net.now, net.wall)
    assert net.routers[2].filters.counters.fill_exceeded == 0
    net.run(5)
    net.link(3, 6)
    net.link(1, 7)
    net.run(10)
    assert [router.filters.counters.fill_exceeded for router in net.routers] == [0] * 8
    assert_everybody_found(net, [0, 1, 2, 3, 6, 7])


def test_one_that_claims_much_hides_nobody_who_was_known_not_even_below_its_own_parent() -> None:
    """Its parent may pass the claim on whole, and then it is the parent who seems to claim too much further up."""
    net = MeshNet(12)
    for a, b in ((0, 1), (1, 2), (2, 3), (2, 4), (2, 5), *((1, n) for n in range(6, 12))):
        net.link(a, b)
    net.run(20)
    net.lost = lambda sender, receiver, message: sender == 5 and message[0] == 0x20
    claim = made_up(5928, net.random)
    message = FilterAnnounce(1 << 40, 5, 1, claim.to_bytes(1024, "little")).encode()
    net.routers[2].message(net.address(5), message[0], message[1:], net.now, net.wall)
    net.run(20)
    assert net.routers[2].neighbours[net.address(5)].filter == claim
    assert_everybody_found(net, [0, 1, 2, 3, 4, *range(6, 12)])


def made_up(count: int, random: Random) -> int:
    """A filter with so many bits, of nobody in particular."""
    return sum(1 << position for position in random.sample(range(8192), count))


def test_measured_costs_move_a_node_to_the_better_parent() -> None:
    net = MeshNet(4)
    for a, b in ((0, 1), (0, 2), (1, 3), (2, 3)):
        net.link(a, b)
    net.run(40)
    assert net.parents()[3] == 1
    net.costs.update({(3, 1): 9.0, (3, 2): 1.1})
    net.run(70)
    assert net.parents()[3] == 2


def test_the_first_measurement_can_attach_a_node() -> None:
    net = MeshNet(4)
    net.link(2, 3)
    net.costs[(3, 2)] = 1.2
    net.run(2)
    net.link(0, 3)
    net.run(5)
    assert net.parents()[3] == 2  # the newcomer is not measured yet
    net.costs[(3, 0)] = 1.3
    net.routers[3].first_rtt(net.address(0), net.now, net.wall)
    assert net.parents()[3] == 0
    net.run(10)
    assert_one_tree(net, [0, 2, 3])


def test_a_link_too_fast_to_give_a_sample_attaches_a_node_too() -> None:
    """Spec 03, section 3.5: the first sample would not come, and the better root is behind this link alone."""
    net = MeshNet(4)
    net.link(2, 3)
    net.costs[(3, 2)] = 1.2
    net.run(2)
    net.link(0, 3)
    net.run(2)
    net.costs[(3, 0)] = 1.0
    net.run(2)
    assert net.parents()[3] == 0


@pytest.mark.parametrize("step", [-1e9, 1e9])
def test_a_clock_that_is_set_holds_nothing_up(step: float) -> None:
    """Spec 03, section 0: the reference spaces announces, filters and lookups by the time of day."""
    net = MeshNet(4)
    for n in range(2):
        net.link(n, n + 1)
    net.run(10)
    net.clock_is_off = step
    net.link(2, 3)
    net.run(5)
    assert_one_tree(net, [0, 1, 2, 3])
    assert_everybody_found(net, [0, 1, 2, 3])


def test_a_better_root_behind_a_peer_that_never_reports_is_taken_in_the_end() -> None:
    """Spec 03, section 3.5 leaves such a peer out while another is measured: two trees, and no way between them."""
    net = MeshNet(5)
    net.link(2, 3)
    net.link(3, 4)
    for peer in (2, 4):
        net.costs |= {(3, peer): 1.2, (peer, 3): 1.2}
    net.run(2)
    net.link(0, 1)
    net.link(0, 3)
    net.run(20)
    assert_one_tree(net, [0, 1, 2, 3, 4])
    assert_everybody_found(net, [0, 1, 2, 3, 4])


def test_a_peer_that_never_reports_is_the_last_choice() -> None:
    net = MeshNet(4)
    for a, b in ((0, 1), (0, 3), (1, 3)):
        net.link(a, b)
    net.costs |= {(1, 0): 1.2, (3, 1): 9.0}
    net.run(100)
    assert net.parents()[3] == 1
