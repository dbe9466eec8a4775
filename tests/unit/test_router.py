"""One router from outside: its messages, effects, deadlines, and what it learns and reports on the way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.identity import Identity
from meshnode.mesh.disputes import MEMORY, PATIENCE, Disputes
from meshnode.mesh.next_hop import RouteClass
from meshnode.mesh.router import CoordinatesChanged, ParentChanged, Router
from meshnode.mesh.settings import MeshSettings, TreeSettings
from meshnode.wire.signals import CoordinatesRequired, MtuExceeded, PathBroken, parse_signal
from meshnode.wire.tree import AncestryEntry, TreeAnnounce, declaration_bytes
from tests.unit.mesh_rig import VECTORS, WALL, addr, path
from tests.unit.router_rig import ADDRESSES, FILTER, NODES, TREE, Node, announce

# Announces: the receive pipeline


def test_the_announce_of_the_vectors_is_accepted() -> None:
    for vector in VECTORS["tree_announce"]["announce"]:
        signer = VECTORS["identities"][vector["signer"]]
        identity = Identity(bytes.fromhex(signer["secret_key"]))
        router = Router(NODES[0], MeshSettings(), bytes, 0.0, WALL, lambda _: None, lambda _: None)
        router.peer_up(identity.peer, 1472, 0.0, WALL)
        router.message(identity.node_addr, TREE, bytes.fromhex(vector["message"])[1:], 0.0, WALL)
        accepted = vector["semantic_result"] == "ok"
        assert router.counters.tree.accepted == int(accepted)
        assert router.counters.tree.ancestry_invalid == int(not accepted)


@pytest.mark.parametrize("vector", VECTORS["tree_announce"]["announce_decode"], ids=lambda v: v["note"])
def test_announces_that_do_not_decode_are_counted(vector: dict[str, Any]) -> None:
    node = Node(3, [])
    node.router.message(ADDRESSES[1], TREE, bytes.fromhex(vector["payload_after_msg_type"]), 0.0, WALL)
    decoded = vector["result"] == "ok"
    assert node.router.counters.tree.decode_error == int(not decoded)
    assert node.router.counters.tree.unknown_peer == int(decoded)


def test_checks_come_in_order() -> None:
    node = Node(3, [1, 2])
    counters = node.router.counters.tree
    stranger = announce(5, 0).encode()[1:]
    node.router.message(ADDRESSES[5], TREE, stranger, node.now, WALL)
    node.router.message(ADDRESSES[1], TREE, stranger, node.now, WALL)
    node.hear(1, 0, signer=NODES[2])
    node.hear(2, 0, 1)
    node.hear(2, 1, 0, sequence=7)
    node.hear(2, 1, 0, sequence=7)
    assert (counters.unknown_peer, counters.addr_mismatch, counters.sig_failed) == (1, 1, 1)
    assert (counters.ancestry_invalid, counters.accepted, counters.stale) == (1, 1, 1)
    assert counters.received == 6


# Announces: the clocks of those who sign them


def clock_of(node: Node, peer: int) -> tuple[int, bool] | None:
    reading = node.router.neighbours[ADDRESSES[peer]].clock
    return None if reading is None else (reading.ahead, reading.is_exact)


def test_the_first_announce_of_a_link_dates_only_a_clock_that_is_ahead() -> None:
    node = Node(3, [1, 2])
    node.hear(1, 0, date=WALL - 5000)
    assert clock_of(node, 1) is None  # it may have been signed long ago
    node.hear(2, 0, date=WALL + 7200)
    assert clock_of(node, 2) == (7200, False)


@pytest.mark.parametrize("off", [-7200, 0, 7200])
def test_an_announce_after_the_first_dates_the_clock_exactly(off: int) -> None:
    node = Node(3, [1])
    node.hear(1, 0, date=WALL - 5000)
    node.hear(1, 0, sequence=2, date=WALL + off)
    assert clock_of(node, 1) == (off, True)


def test_a_stale_announce_says_nothing_about_a_clock() -> None:
    node = Node(3, [1])
    node.hear(1, 0, sequence=2, date=WALL - 5000)
    node.hear(1, 0, sequence=2, date=WALL + 50)
    assert clock_of(node, 1) is None


def test_a_peer_that_came_back_is_dated_anew() -> None:
    node = Node(3, [1])
    node.hear(1, 0, date=WALL + 7200)
    node.router.peer_down(ADDRESSES[1], node.now, WALL)
    node.up(1)
    assert clock_of(node, 1) is None


# Announces: effects


def test_a_new_link_is_greeted_with_announce_and_filter() -> None:
    node = Node(3, [1])
    assert node.said() == [(1, TREE)]
    assert node.router.next_deadline() is not None
    node.pass_time(0)
    assert node.said() == [(1, FILTER)]
    assert node.router.next_deadline() is None


def test_taking_a_parent_tells_everybody_after_the_interval() -> None:
    """Spec 03, sections 3.7 and 3.10."""
    node = Node(3, [1, 4])
    node.pass_time(0)
    node.said()
    node.hear(1, 0)
    assert node.router.own_coordinates == [ADDRESSES[n] for n in (3, 1, 0)]
    assert node.said() == []
    assert node.router.counters.tree.rate_limited == 2
    assert node.router.next_deadline() == node.now + 0.5
    node.pass_time(0.5)
    assert node.said() == [(1, TREE), (4, TREE), (1, FILTER), (4, FILTER)]
    assert node.router.events == [ParentChanged(ADDRESSES[3], ADDRESSES[1]), CoordinatesChanged()]


def test_following_the_parent_is_announced_only_when_the_path_changed() -> None:
    node = Node(4, [1, 2])
    node.hear(1, 0)
    node.pass_time(10)
    node.said()
    node.router.events.clear()
    before = node.router.tree.sequence
    node.hear(1, 0, sequence=2)
    assert node.router.tree.sequence == before + 1
    assert node.said() == []
    assert node.router.events == []
    node.pass_time(1)
    node.hear(1, 3, 0, sequence=3)
    assert [receiver for receiver, kind in node.said() if kind == TREE] == [1, 2]
    assert node.router.events == [CoordinatesChanged()]
    assert node.router.counters.tree.ancestry_changed == 1


def test_a_parent_below_ourselves_is_left() -> None:
    """Spec 03, sections 3.6 and 3.7, the row LOOP_DROP."""
    node = Node(3, [1])
    node.hear(1, 0)
    node.pass_time(1)
    node.said()
    node.router.events.clear()
    node.hear(1, 4, 3, 2, 0, sequence=2)
    assert node.router.tree.is_root
    assert node.router.counters.tree.loop_detected == 1
    node.pass_time(0.5)
    assert node.said() == [(1, TREE), (1, FILTER)]


def test_a_worse_root_is_answered() -> None:
    """Spec 03, section 3.9."""
    node = Node(0, [3])
    node.pass_time(1)
    node.said()
    node.hear(3)
    assert node.said() == [(3, TREE)]
    node.hear(3)
    assert node.said() == []  # stale announces are not answered


def test_a_path_that_a_peer_on_it_contradicts_is_not_taken() -> None:
    """Spec 03, section 3.5 leaves it to us whom to believe: 5 still counts on what 6 has taken back."""
    node = Node(4, [6, 5])
    node.hear(6, 1)
    node.hear(5, 6, 0)
    assert node.router.tree.root == ADDRESSES[1]
    node.hear(6, 0, sequence=2)
    assert node.router.tree.root == ADDRESSES[0]


def test_a_peer_that_tells_everybody_something_else_keeps_us_out_of_no_tree() -> None:
    """6 hangs below 1 by what it tells us and below 0 by what it tells 5, and stays at that."""
    node = Node(4, [6, 5])
    node.hear(6, 1)
    node.hear(5, 6, 0)
    assert node.router.tree.root == ADDRESSES[1]
    for pause in (PATIENCE - 1, 2):
        assert node.router.tree.root == ADDRESSES[1]
        node.pass_time(pause)
        node.router.tick(node.now, WALL)
    assert (node.router.tree.root, node.router.tree.parent) == (ADDRESSES[0], ADDRESSES[5])


def test_changing_its_story_gives_a_liar_no_more_time() -> None:
    node = Node(4, [6, 5])
    for second in range(round(PATIENCE) + 2):
        node.hear(6, 1, sequence=second + 1)
        node.hear(5, 6, second % 2 + 2, 0, sequence=second + 1)
        node.pass_time(1)
    assert node.router.tree.root == ADDRESSES[0]


def test_after_a_calm_time_a_peer_is_right_about_itself_again() -> None:
    disputes = Disputes()
    assert disputes.is_believed(ADDRESSES[6], 0.0)
    assert not disputes.is_believed(ADDRESSES[6], PATIENCE)
    assert not disputes.is_believed(ADDRESSES[6], PATIENCE + MEMORY)
    assert disputes.is_believed(ADDRESSES[6], PATIENCE + 2 * MEMORY + 1)


def test_a_parent_that_is_behind_with_its_path_is_waited_for() -> None:
    node = Node(4, [5, 6])
    node.hear(5, 6, 0)
    assert node.router.tree.parent == ADDRESSES[5]
    node.hear(6, 1)
    node.hear(6, 2, 1, sequence=2)
    assert node.router.tree.parent == ADDRESSES[5]


def test_contradicted_paths_are_better_than_none() -> None:
    """Each of the two hangs below the other, by its own word; what a silent one said proves nothing."""
    node = Node(4, [5, 6])
    node.hear(6, 5, 0)
    node.hear(5, 6, 0)
    assert node.router.tree.root == ADDRESSES[0]
    node = Node(4, [5, 6])
    node.hear(6, 1)
    node.router.set_trust(ADDRESSES[6], True, True, node.now, WALL)
    node.hear(5, 6, 0)
    assert node.router.tree.parent == ADDRESSES[5]


def test_the_loss_of_a_root_is_told_at_once_and_its_return_after_the_interval() -> None:
    """Spec 03, section 3.10: others take what we told for true until they hear otherwise."""
    node = Node(4, [1, 5])
    node.pass_time(1)
    node.hear(1, 0)
    assert (5, TREE) in node.said()
    node.pass_time(0.01)
    node.hear(1, sequence=2)
    assert (5, TREE) in node.said()
    node.pass_time(0.01)
    node.hear(1, 0, sequence=3)
    assert (5, TREE) not in node.said()
    node.pass_time(0.5)
    assert (5, TREE) in node.said()


def test_becoming_root_when_the_only_smaller_one_disappears() -> None:
    node = Node(1, [3])
    node.hear(3, 0)
    assert not node.router.tree.is_root
    node.pass_time(1)
    node.hear(3, 2, sequence=2)
    assert node.router.tree.is_root
    assert node.router.counters.tree.parent_switches == 2


def test_losing_the_parent_keeps_the_backoff_and_marks_all() -> None:
    """Spec 03, section 3.11."""
    node = Node(3, [1, 4])
    node.hear(1, 0)
    node.pass_time(1)
    node.said()
    node.router.lookups.backoff.record_failure(ADDRESSES[7], node.now)
    node.router.peer_down(ADDRESSES[1], node.now, WALL)
    node.router.peer_down(ADDRESSES[1], node.now, WALL)
    assert node.router.tree.is_root
    assert node.router.counters.tree.parent_losses == 1
    assert node.router.lookups.backoff.record_failure(ADDRESSES[7], node.now) == 2
    node.pass_time(0.5)
    assert node.said() == [(4, TREE), (4, FILTER)]


def test_losing_another_peer_refreshes_filters_only() -> None:
    node = Node(3, [1, 4])
    node.hear(1, 0)
    node.pass_time(1)
    node.pass_time(1)
    node.said()
    node.router.peer_down(ADDRESSES[4], node.now, WALL)
    node.pass_time(0)
    assert node.said() == [(1, FILTER)]


def test_a_resolved_cross_connection_greets_again_and_keeps_what_is_known() -> None:
    node = Node(3, [1])
    node.hear(1, 0)
    node.hear_filter(1, [0], sequence=4)
    node.up(1, mtu=1300)
    neighbour = node.router.neighbours[ADDRESSES[1]]
    assert (neighbour.filter_sequence, neighbour.link_mtu, neighbour.announce.pending) == (4, 1300, True)


def test_a_position_too_deep_for_a_link_is_not_sent_and_does_not_block_filters() -> None:
    node = Node(7, [1])
    node.router.set_link_mtu(ADDRESSES[1], 1100)
    node.router.set_link_mtu(ADDRESSES[2], 1100)
    long_path = [AncestryEntry(ADDRESSES[1], 1, 1), *[AncestryEntry(bytes([9] * 15 + [n]), 1, 1) for n in range(30)]]
    long_path.append(AncestryEntry(bytes(16), 1, 1))
    signature = NODES[1].sign(declaration_bytes(ADDRESSES[1], long_path[1].node_addr, 1, 1), bytes(32))
    body = TreeAnnounce(1, 1, long_path[1].node_addr, long_path, signature).encode()[1:]
    node.said()
    node.router.message(ADDRESSES[1], TREE, body, node.now, WALL)
    node.pass_time(0.5)
    assert node.said() == [(1, FILTER)]
    assert node.router.counters.tree.send_failed == 1


# Time


def test_the_tick_repeats_announces_and_filters_every_minute() -> None:
    """Spec 03, section 3.10."""
    node = Node(3, [1])
    node.pass_time(1)
    node.said()
    spoken = []
    for second in range(125):
        node.now += 1
        node.router.tick(node.now, WALL)
        spoken += [(second, kind) for _, kind in node.said()]
    assert spoken == [(0, TREE), (0, FILTER), (60, TREE), (60, FILTER), (120, TREE), (120, FILTER)]


def test_periodic_work_can_be_turned_off() -> None:
    node = Node(3, [1], tree=TreeSettings(reeval_interval_secs=0))
    node.pass_time(1)
    node.said()
    for _ in range(70):
        node.now += 1
        node.router.tick(node.now, WALL)
    assert node.said() == []


# Routing


def test_peers_need_no_coordinates_and_we_are_no_destination() -> None:
    node = Node(3, [1])
    assert node.router.next_hop(ADDRESSES[1], node.now) == ADDRESSES[1]
    assert node.router.next_hop(ADDRESSES[3], node.now) is None
    assert node.router.next_hop(ADDRESSES[5], node.now) is None
    assert node.router.route_class(ADDRESSES[1], ADDRESSES[1]) is RouteClass.DIRECT_PEER


def test_decisions_follow_every_change() -> None:
    node = Node(4, [1, 2])
    node.hear(1, 0)
    node.hear(2, 0)
    target = ADDRESSES[6]
    node.router.coordinate_cache.insert(target, [target, ADDRESSES[2], ADDRESSES[0]], node.now)
    assert node.router.next_hop(target, node.now) == ADDRESSES[2]
    assert node.router.route_class(target, ADDRESSES[2]) is RouteClass.CROSSLINK_DESCEND
    node.hear_filter(1, [6])
    assert node.router.next_hop(target, node.now) == ADDRESSES[1]
    assert node.router.route_class(target, ADDRESSES[1]) is RouteClass.TREE_UP
    node.router.peer_down(ADDRESSES[1], node.now, WALL)
    assert node.router.next_hop(target, node.now) == ADDRESSES[2]
    node.router.coordinate_cache.insert(target, [target, ADDRESSES[5]], node.now)
    assert node.router.next_hop(target, node.now) is None
    node.router.forget_coordinates(target)
    assert node.router.next_hop(target, node.now) is None


def test_nothing_is_relayed_back_to_where_it_came_from() -> None:
    node = Node(4, [1, 2])
    node.hear(1, 0)
    node.hear(2, 0)
    node.hear_filter(1, [6])
    target = ADDRESSES[6]
    known = [target, ADDRESSES[2], ADDRESSES[0]]
    node.router.coordinate_cache.insert(target, known, node.now)
    assert node.router.onward_hop(target, ADDRESSES[3], node.now) == ADDRESSES[1]
    assert node.router.onward_hop(target, ADDRESSES[1], node.now) == ADDRESSES[2]
    assert node.router.coordinates_for(target, node.now) == known


def test_coordinates_that_only_lead_back_are_forgotten_and_asked_for() -> None:
    node = Node(4, [1])
    node.hear(1, 0)
    target = ADDRESSES[6]
    node.router.learn_coordinates(target, [target, ADDRESSES[0]], node.now)
    node.pass_time(2.1)
    assert node.router.next_hop(target, node.now) == ADDRESSES[1]
    assert node.router.onward_hop(target, ADDRESSES[1], node.now) is None
    assert node.router.coordinates_for(target, node.now) is None
    signal = node.router.routing_error(target, b"", 0, node.now)
    assert signal is not None
    assert parse_signal(signal[4:]) == CoordinatesRequired(target, ADDRESSES[4])


def test_what_the_destination_said_just_now_is_not_given_up_for_an_old_notion_of_somebody_else() -> None:
    node = Node(4, [1])
    node.hear(1, 0)
    target = ADDRESSES[6]
    place = [target, ADDRESSES[0]]
    node.router.learn_coordinates(target, place, node.now)
    assert node.router.onward_hop(target, ADDRESSES[1], node.now) is None
    assert node.router.next_hop(target, node.now) == ADDRESSES[1]
    node.router.coordinate_cache.insert(target, [target, ADDRESSES[1], ADDRESSES[0]], node.now)  # anybody's claim
    assert node.router.onward_hop(target, ADDRESSES[1], node.now) is None
    assert node.router.coordinates_for(target, node.now) is None


def test_a_peer_that_announced_nothing_so_far_is_the_second_choice() -> None:
    """It may be none: to answer our dial and forget it looks the same (spec 01 section 7.1)."""
    node = Node(1, [0, 3])
    node.hear(0)
    newcomer = ADDRESSES[3]
    assert node.router.next_hop(newcomer, node.now) == newcomer
    node.router.learn_coordinates(newcomer, [newcomer, ADDRESSES[2], ADDRESSES[0]], node.now)
    assert node.router.next_hop(newcomer, node.now) == ADDRESSES[0]
    assert node.router.onward_hop(newcomer, ADDRESSES[0], node.now) == newcomer
    node.hear(3, 2, 0)
    assert node.router.next_hop(newcomer, node.now) == newcomer


def lose(node: Node, peer: int) -> None:
    """The link to a peer fell silent, and probing it was in vain."""
    node.router.set_trust(ADDRESSES[peer], True, False, node.now, WALL)


def test_a_lost_peer_that_another_one_claims_to_reach_is_nowhere_until_it_is_found() -> None:
    node = Node(1, [0, 3])
    node.hear(0)
    node.hear(3, 1, 0)
    lost = ADDRESSES[3]
    lose(node, 3)
    assert node.router.next_hop(lost, node.now) == lost  # nobody could be asked
    node.hear_filter(0, [0, 2, 3])
    assert node.router.next_hop(lost, node.now) is None
    assert node.router.onward_hop(lost, ADDRESSES[0], node.now) is None
    node.router.learn_coordinates(lost, [lost, ADDRESSES[2], ADDRESSES[0]], node.now)
    assert node.router.next_hop(lost, node.now) == ADDRESSES[0]
    assert node.router.onward_hop(lost, ADDRESSES[0], node.now) is None
    node.router.set_trust(lost, False, True, node.now, WALL)
    assert node.router.next_hop(lost, node.now) == lost


def test_a_lost_peer_is_the_last_resort_of_a_node_that_has_no_other() -> None:
    node = Node(1, [3])
    node.hear(3, 1)
    node.hear_filter(3, [3, 5])
    lose(node, 3)
    assert node.router.next_hop(ADDRESSES[3], node.now) == ADDRESSES[3]


def test_what_a_peer_sends_to_itself_is_not_sent_back() -> None:
    node = Node(4, [1])
    node.hear(1, 0)
    assert node.router.onward_hop(ADDRESSES[1], ADDRESSES[1], node.now) is None


def test_link_costs_take_effect_with_the_next_tick() -> None:
    node = Node(4, [1, 2])
    for peer in (1, 2):
        node.hear(peer, 0)
        node.hear_filter(peer, [6])
    target = ADDRESSES[6]
    node.router.coordinate_cache.insert(target, [target, ADDRESSES[0]], node.now)
    assert node.router.next_hop(target, node.now) == ADDRESSES[1]
    node.costs[ADDRESSES[1]] = 3.0
    node.router.tick(node.now, WALL)
    assert node.router.next_hop(target, node.now) == ADDRESSES[2]


def test_a_used_route_stays_and_an_unused_one_expires() -> None:
    node = Node(4, [1])
    node.hear(1, 0)
    target = ADDRESSES[6]
    node.router.coordinate_cache.insert(target, [target, ADDRESSES[0]], 0.0)
    for now in (200.0, 400.0, 600.0):
        assert node.router.next_hop(target, now) == ADDRESSES[1]
    assert node.router.next_hop(target, 901.0) is None


# Learning from traffic


def setup_message(source: list[int], destination: list[int], phase: int = 1) -> bytes:
    def block(nodes: list[int]) -> bytes:
        return len(nodes).to_bytes(2, "little") + b"".join(path(nodes))

    return bytes([phase, 0, 0, 0, 0]) + block(source) + block(destination) + b"\x21\0" + bytes(33)


def data_message(source: list[int], destination: list[int], tail: int = 16) -> bytes:
    blocks = setup_message(source, destination)[5:-35]
    return bytes([0, 1, 0, 0]) + bytes(8) + blocks + bytes(tail)


@pytest.mark.parametrize(
    "payload",
    [setup_message([21, 0], [22, 1, 0]), setup_message([21, 0], [22, 1, 0], 2), data_message([21, 0], [22, 1, 0])],
    ids=["setup", "acknowledgement", "data"],
)
def test_coordinates_are_learned_from_passing_messages(payload: bytes) -> None:
    router = Node(3, []).router
    assert router.warm(b"header" + payload, 6, addr(21), addr(22), 0.0)
    assert router.coordinates_for(addr(21), 0.0) == path([21, 0])
    assert router.coordinates_for(addr(22), 0.0) == path([22, 1, 0])


def test_a_handshake_teaches_where_its_sender_is_only_if_we_could_not_answer() -> None:
    """Coordinates below a dead root are as good as none; those that lead somewhere are not given up for a claim."""
    node = Node(3, [1])
    node.hear(1, 0)
    root = ADDRESSES[0]
    places = b"\2\0" + addr(21) + root + b"\1\0" + node.router.me
    claim = bytes((1, 0, 0, 0, 0)) + places + b"\x21\0" + bytes(33)
    for known, is_believed in (([addr(21), addr(99)], True), ([addr(21), addr(98), root], False)):
        node.router.coordinate_cache.insert(addr(21), known, node.now)
        node.router.warm(claim, 0, addr(21), node.router.me, node.now, ADDRESSES[1])
        assert node.router.coordinates_for(addr(21), node.now) == ([addr(21), root] if is_believed else known)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0\1",
        data_message([21, 0], [22, 0])[:20] + bytes(8),
        setup_message([21, 0], [22, 0])[:-1],
        setup_message([], [22, 0]),
        bytes([3, 0]) + setup_message([21, 0], [22, 0])[2:],
        bytes([0, 0]) + data_message([21, 0], [22, 0])[2:],
    ],
    ids=["nothing", "half a prefix", "cut blocks", "cut handshake", "empty list", "message 3", "no flag"],
)
def test_other_messages_teach_nothing_and_pass(payload: bytes) -> None:
    router = Node(3, []).router
    assert router.warm(payload, 0, addr(21), addr(22), 0.0)
    assert len(router.coordinate_cache) == 0
    assert router.hints.malformed_packets == 0


@pytest.mark.parametrize("payload", [b"\0\5" + bytes(40), b"\x10\1" + bytes(40), b"\0\1" + bytes(25)])
def test_malformed_claims_are_counted_and_pass(payload: bytes) -> None:
    router = Node(3, []).router
    assert router.warm(payload, 0, addr(21), addr(22), 0.0)
    assert router.hints.malformed_packets == 1
    assert router.hints.malformed_bytes == 35 + len(payload)


@pytest.mark.parametrize("payload", [b"\0\1\0\0", b"\0\1" + bytes(9), b"\x10\5\0\0"])
def test_stubs_that_would_end_a_node_further_on_are_refused(payload: bytes) -> None:
    router = Node(3, []).router
    assert not router.warm(payload, 0, addr(21), addr(22), 0.0)
    assert router.hints.malformed_packets == 1


def test_a_senders_own_coordinates_in_place_of_the_destinations_are_ignored() -> None:
    router = Node(3, []).router
    router.warm(setup_message([21, 0], [21, 0]), 0, addr(21), addr(22), 0.0)
    assert [owner for owner, _ in router.coordinate_cache.items()] == [addr(21)]


# Signals


def signal_of(payload: bytes | None) -> Any:
    assert payload is not None
    assert (payload[0], payload[1]) == (0, 4)
    return parse_signal(payload[4:])


def test_unroutable_datagrams_are_reported_with_what_we_know() -> None:
    node = Node(3, [])
    me, target = ADDRESSES[3], addr(22)
    assert signal_of(node.router.routing_error(target, b"\0\0", 0, 0.0)) == CoordinatesRequired(target, me)
    node.router.coordinate_cache.insert(target, path([22, 1, 0]), 0.1)
    assert signal_of(node.router.routing_error(target, b"\0\0", 0, 0.1)) == PathBroken(target, me, path([22, 1, 0]))
    assert signal_of(node.router.mtu_error(target, b"\0\0", 0, 1400, 0.2)) == MtuExceeded(target, me, 1400)


def test_one_signal_per_destination_and_tenth_of_a_second() -> None:
    router = Node(3, []).router
    assert router.routing_error(addr(22), b"\0\0", 0, 0.0) is not None
    assert router.mtu_error(addr(22), b"\0\0", 0, 1400, 0.099) is None
    assert router.routing_error(addr(23), b"\0\0", 0, 0.099) is not None
    assert router.routing_error(addr(22), b"\0\0", 0, 0.1) is not None


def test_signals_are_not_answered() -> None:
    router = Node(3, []).router
    signal = CoordinatesRequired(addr(1), addr(2)).encode()
    assert router.routing_error(addr(22), b"xx" + signal, 2, 0.0) is None
    assert router.routing_error(addr(22), b"\0\0", 0, 0.0) is not None


def test_looking_up_ourselves_is_refused() -> None:
    node = Node(3, [1])
    assert not node.router.lookup(ADDRESSES[3], node.now)


# Garbage

messages = st.tuples(
    st.sampled_from([0x10, 0x20, 0x30, 0x31, 0x77]), st.sampled_from([1, 2, 6]), st.binary(max_size=300)
)


@given(st.lists(messages, max_size=5), st.binary(max_size=120))
def test_no_bytes_from_a_peer_make_a_router_raise(noise: list[tuple[int, int, bytes]], payload: bytes) -> None:
    node = Node(3, [1, 2])
    for kind, peer, body in noise:
        node.router.message(ADDRESSES[peer], kind, body, node.now, WALL)
    node.router.warm(payload, 0, addr(21), addr(22), node.now)
    node.router.routing_error(addr(22), payload, 0, node.now)
    node.router.tick(node.now, WALL)
    assert node.router.tree.is_root


sequences = st.integers(0, 2**64 - 1)
routes = st.lists(st.sampled_from(range(8)), min_size=1, max_size=5)


@given(st.lists(st.tuples(st.sampled_from([1, 2, 5]), routes, sequences), max_size=12))
def test_any_declared_paths_leave_a_valid_position(heard: list[tuple[int, list[int], int]]) -> None:
    node = Node(4, [1, 2, 5])
    for peer, above, sequence in heard:
        node.hear(peer, *above, sequence=sequence)
        node.pass_time(0.3)
        message = node.router.tree.announce()
        assert message.ancestry_error() is None
        assert NODES[4].peer.verify(message.signing_bytes(), message.signature)
