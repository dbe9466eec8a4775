"""From no entry to an established session, with every message lost in turn."""

from __future__ import annotations

import pytest

from meshnode.identity import Identity
from meshnode.mesh.session import CloseReason, SessionClosed, SessionEstablished, SessionState
from meshnode.mesh.settings import MeshSettings
from meshnode.wire.session import K

from .session_rig import ACK, B_SECRET, MSG3, SETUP, Node, exchange, lose_first, pair


def names(node: Node) -> list[str]:
    return [type(event).__name__ for event in node.events]


@pytest.mark.parametrize("smaller_opens", [True, False])
def test_either_side_may_open(smaller_opens: bool) -> None:
    net, a, b = pair()
    opener, answerer = (a, b) if smaller_opens else (b, a)
    opener.send(answerer, b"one", b"two")
    net.run(0.1)
    assert answerer.received == [b"one", b"two"]
    assert exchange(net, a, b)
    assert opener.session(answerer).is_initiator
    assert not answerer.session(opener).is_initiator
    assert opener.layer.identities.peek(answerer.address) == answerer.identity.peer
    assert answerer.layer.identities.peek(opener.address) == opener.identity.peer


def test_opening_twice_or_to_ourselves_does_nothing() -> None:
    net, a, b = pair()
    a.open(b)
    a.open(b)
    a.layer.open(a.identity.peer, net.now)
    assert a.phases() == [SETUP]
    assert list(a.layer.sessions) == [b.address]


@pytest.mark.parametrize("lost", [SETUP, ACK, MSG3])
def test_a_lost_handshake_message_costs_about_a_second(lost: int) -> None:
    net, a, b = pair()
    net.lose = lose_first(lost)
    a.send(b, b"first")
    net.run(1.2)
    assert a.session(b).established
    assert b.session(a).established
    assert exchange(net, a, b)


@pytest.mark.parametrize("lost", [SETUP, ACK, MSG3])
def test_data_sent_before_a_lost_message3_arrives_is_not_lost(lost: int) -> None:
    net, a, b = pair()
    net.lose = lose_first(lost)
    a.send(b, b"first", b"second")
    net.run(1.2)
    assert b.received == [b"first", b"second"]


def test_copies_leave_with_growing_gaps_and_the_same_bytes_and_then_the_entry_dies() -> None:
    net, a, b = pair()
    net.lose = lambda source, message: True
    start = net.now
    times = []
    a.open(b)
    for _ in range(3200):
        before = len(a.sent)
        net.run(0.01)
        times += [round(net.now - start)] * (len(a.sent) - before)
    assert times == [1, 3, 7, 15]
    assert len({message for _to, message in a.sent}) == 1
    assert a.layer.sessions == {}
    assert a.events == [SessionClosed(b.address, CloseReason.HANDSHAKE_TIMEOUT)]


def test_data_keeps_repeating_an_old_setup_until_the_peer_comes_up() -> None:
    net, a, b = pair()
    b.alive = False
    for _ in range(38):
        a.send(b, b"x")
        net.run(0.5)
    b.alive = True
    for _ in range(9):
        a.send(b, b"x")
        net.run(0.5)
    assert b.received
    setups = [message for _to, message in a.sent if message[0] == SETUP]
    assert len(setups) <= 9
    assert len(set(setups)) == 1


def test_a_fresh_path_repeats_the_setup() -> None:
    net, a, b = pair()
    a.open(b)
    a.layer.lookup_succeeded(b.address, net.now + 0.9)
    a.drain()
    assert a.phases() == [SETUP]
    a.layer.lookup_succeeded(b.address, net.now + 1.0)
    a.drain()
    assert a.phases() == [SETUP] * 2


def test_a_handshake_goes_on_soon_after_its_way_became_another() -> None:
    """The former way may have been a dead one, and the regular copies are 4 and 8 s apart by then."""
    net, a, b = pair()
    net.lose = lambda source, message: a.router.hop is None
    a.open(b)
    net.run(8)
    assert a.handshakes() == [SETUP] * 4
    a.router.hop = bytes([5]) * 16
    net.run(1.1)
    assert a.session(b).established
    assert a.handshakes() == [SETUP] * 5 + [MSG3]


def test_an_answerer_that_found_a_way_repeats_its_ack_as_far_as_it_is_earned() -> None:
    net, a, b = pair()
    net.lose = lambda source, message: source is b
    a.open(b)
    net.run(0.5)
    assert b.phases() == [ACK]
    for seconds in (0.5, 1.5, 2.5, 3.5):
        b.layer.lookup_succeeded(a.address, net.now + seconds)
        b.drain()
    assert b.phases() == [ACK] * 2
    assert sum(len(message) + 72 for _, message in b.sent) <= 3 * (len(a.sent[0][1]) + 72)


def test_an_answerer_repeats_its_ack_a_little_and_forgets_after_thirty_seconds() -> None:
    """A Setup's source may be forged: the Acks it causes stay below three times its size, copies included."""
    net, a, b = pair()
    net.lose = lambda source, message: source is b or message[0] & 15 != SETUP
    a.open(b)
    a.layer.remove(b.address, CloseReason.SHUTDOWN)
    net.run(0.5)
    assert b.session(a).state is SessionState.AWAITING_MESSAGE3
    net.run(29)
    assert b.phases() == [ACK] * 2
    assert sum(len(message) + 72 for _, message in b.sent) <= 3 * (len(a.sent[0][1]) + 72)
    net.run(2)
    assert b.layer.sessions == {}


def test_an_answerer_repeats_its_ack_to_whoever_keeps_asking() -> None:
    net, a, b = pair()
    net.lose = lambda source, message: source is b
    a.open(b)
    net.run(8)
    assert a.phases() == [SETUP] * 4
    assert 4 <= len(b.phases()) <= 10
    sizes = [sum(len(message) + 72 for _, message in node.sent) for node in (a, b)]
    assert sizes[1] <= 3 * sizes[0]


def test_forged_traffic_does_not_prolong_an_unfinished_handshake() -> None:
    net, a, b = pair()
    net.lose = lambda source, message: source is b
    a.open(b)
    for _ in range(62):
        net.run(0.5)
        for phase in (SETUP, ACK, MSG3, 0):
            if a.address in b.layer.sessions:
                b.receive(a.address, bytes([phase]) + bytes(60))
    assert a.layer.sessions == {}


def test_crossing_opens_end_with_the_smaller_address_as_initiator() -> None:
    net, a, b = pair()
    a.send(b, b"from a")
    b.send(a, b"from b")
    net.run(0.2)
    assert a.session(b).is_initiator
    assert not b.session(a).is_initiator
    assert (a.received, b.received) == ([b"from b"], [b"from a"])


def test_crossing_opens_survive_the_loss_of_the_winning_setup() -> None:
    net, a, b = pair()
    net.lose = lambda source, message: source is a and net.now < 1000.5
    a.send(b, b"from a")
    b.send(a, b"from b")
    net.run(1.5)
    assert (a.received, b.received) == ([b"from b"], [b"from a"])


def test_the_winner_of_a_tie_repeats_its_setup_when_the_loser_still_tries() -> None:
    net, a, b = pair()
    a.open(b)
    b.layer.open(a.identity.peer, net.now)
    setup = b.layer.outbound.pop().payload
    a.receive(b.address, setup)
    assert a.phases() == [SETUP]
    net.now += 1.0
    a.receive(b.address, setup)
    a.receive(b.address, setup)
    assert a.phases() == [SETUP] * 2


def test_another_setup_to_an_awaiting_entry_gets_an_ack_of_its_own() -> None:
    """An opener that restarted within the half minute has lost what the first Ack needs."""
    net, a, b = pair()
    net.lose = lambda source, message: source is b and net.now < 1000.2
    a.open(b)
    net.run(0.1)
    a.layer.remove(b.address, CloseReason.SHUTDOWN)
    net.run(0.2)
    a.send(b, b"hello")
    net.run(0.3)
    assert b.received == [b"hello"]


def test_an_ack_that_does_not_authenticate_leaves_the_handshake_usable() -> None:
    net, a, b = pair()
    a.open(b)
    net.run(0.012)
    (_to, genuine) = b.sent[0]
    forged = genuine[:-1] + bytes([genuine[-1] ^ 1])
    a.receive(b.address, forged)
    assert a.session(b).state is SessionState.INITIATING
    assert a.layer.counters.ack_handshake_failed == 1
    net.run(0.1)
    assert a.session(b).established


def test_a_message3_that_does_not_authenticate_leaves_the_entry_usable() -> None:
    net, a, b = pair()
    a.open(b)
    net.run(0.012)
    b.receive(a.address, bytes.fromhex("03004c00004900") + bytes(73))
    assert b.session(a).state is SessionState.AWAITING_MESSAGE3
    net.run(0.1)
    assert b.session(a).established


def test_a_session_under_another_nodes_address_is_refused() -> None:
    _net, a, b = pair()
    liar = bytes([0x77]) * 16
    a.open(b)
    b.receive(liar, a.sent[0][1])
    ack = b.sent[0][1]
    a.receive(b.address, ack)
    message3 = next(message for _to, message in a.sent if message[0] == MSG3)
    b.receive(liar, message3)
    assert b.layer.counters.addr_mismatch == 1
    assert liar not in b.layer.sessions
    assert SessionClosed(liar, CloseReason.ADDRESS_MISMATCH) in b.events


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x01",
        b"\x01\x00\x00\x00",
        b"\x04\x00\x00\x00" + bytes(60),
        bytes.fromhex("0100480000") + b"\x00\x00" + b"\x00\x00" + b"\x21\x00" + bytes(33),
        bytes.fromhex("0100480000") + (b"\x01\x00" + bytes(16)) * 2 + b"\x20\x00" + bytes(32),
        bytes.fromhex("0100480000") + (b"\x01\x00" + bytes(16)) * 2 + b"\x21\x00" + bytes(33),
    ],
)
def test_a_setup_that_is_no_setup_makes_no_entry(message: bytes) -> None:
    _net, a, b = pair()
    b.receive(a.address, message)
    assert b.layer.sessions == {}
    assert b.sent == []


def test_our_own_address_as_source_is_ignored() -> None:
    _net, a, b = pair()
    a.open(b)
    b.receive(b.address, a.sent[0][1])
    assert b.layer.sessions == {}
    assert b.layer.counters.unknown_session == 0


def test_data_that_overtakes_message3_is_held_in_bounds() -> None:
    net, a, b = pair()
    held: list[bytes] = []

    def lose(source: Node, message: bytes) -> bool:
        if message[0] == MSG3:
            held.append(message)
        return message[0] == MSG3

    net.lose = lose
    a.send(b, b"early")
    net.run(0.1)
    a.send(b, *[b"%d" % number for number in range(40)])
    net.run(0.1)
    assert b.received == []
    b.receive(a.address, held[0])
    assert b.received == [b"%d" % number for number in range(24, 40)]


def test_a_responder_whose_initiator_never_repeats_message3_opens_from_its_side() -> None:
    """As release 0.4.1 does not, and we would: so A is made to forget how."""
    net, a, b = pair()
    net.lose = lambda source, message: source is a and message[0] == MSG3
    b.layer.identities.insert(a.identity.peer, net.now)
    a.send(b, b"lost")
    net.run(0.1)
    a.session(b).unproven = None
    net.lose = lambda source, message: False
    for _ in range(6):
        a.send(b, b"still there?")
        net.run(0.5)
    assert b.session(a).is_initiator
    assert exchange(net, a, b)


def test_the_rescue_takes_the_k_bit_opposite_to_the_peers_frames() -> None:
    net, a, b = pair()
    net.lose = lambda source, message: source is a and message[0] == MSG3
    b.layer.identities.insert(a.identity.peer, net.now)
    a.send(b, b"lost")
    net.run(0.1)
    a.session(b).unproven = None
    a.session(b).k = True
    net.lose = lambda source, message: message[0] == ACK
    for _ in range(5):
        a.send(b, b"x")
        net.run(0.5)
    assert b.session(a).state is SessionState.INITIATING
    net.lose = lambda source, message: False
    net.run(3)
    assert not b.session(a).k
    assert not any(message[1] & K for _to, message in b.sent if message[0] == 0)
    assert exchange(net, a, b)


def test_an_unknown_initiator_is_not_rescued() -> None:
    net, a, b = pair()
    net.lose = lambda source, message: source is a and message[0] == MSG3
    a.send(b, b"lost")
    for _ in range(8):
        net.run(0.5)
        a.send(b, b"x")
    assert b.session(a).state is SessionState.AWAITING_MESSAGE3


def test_message3_is_repeated_at_most_once_a_second() -> None:
    net, a, b = pair()
    net.lose = lambda source, message: source is a and message[0] == MSG3
    a.send(b, b"x")
    net.run(0.5)
    ack = b.sent[0][1]
    for _ in range(50):
        a.receive(b.address, ack)
    assert a.phases().count(MSG3) == 1
    net.run(0.6)
    for _ in range(50):
        a.receive(b.address, ack)
    assert a.phases().count(MSG3) == 2
    assert a.layer.counters.bad_state == 0


def test_message3_is_repeated_without_being_asked_and_not_for_ever() -> None:
    net, a, b = pair()
    start = net.now
    times = []
    net.lose = lambda source, message: message[0] & 15 not in (SETUP, ACK)
    a.send(b, b"x")
    net.run(0.1)
    net.lose = lambda source, message: True
    for _ in range(40):
        before = a.phases().count(MSG3)
        net.run(1.0)
        times += [int(net.now - start)] * (a.phases().count(MSG3) - before)
    assert times == [1, 3, 7, 15, 31]


def test_a_repeated_ack_after_the_peer_was_heard_is_bad_state() -> None:
    net, a, b = pair()
    a.send(b, b"x")
    net.run(0.5)
    a.receive(b.address, b.sent[0][1])
    assert a.layer.counters.bad_state == 1


def test_an_answerer_with_nothing_to_say_confirms_the_session() -> None:
    net, a, b = pair()
    a.send(b, b"x")
    net.run(0.1)
    assert a.session(b).unproven is None


def test_the_established_events_name_role_and_remote() -> None:
    net, a, b = pair()
    a.open(b)
    net.run(0.1)
    assert a.events == [SessionEstablished(b.identity.peer, True, [])]
    assert b.events == [SessionEstablished(a.identity.peer, False, [])]


def test_the_handshake_timeouts_follow_the_settings() -> None:
    settings = MeshSettings()
    settings.rate_limit.handshake_timeout_secs = 5
    settings.rate_limit.handshake_resend_interval_ms = 500
    settings.rate_limit.handshake_max_resends = 2
    net, a, b = pair(settings)
    net.lose = lambda source, message: True
    a.open(b)
    net.run(6.1)
    assert a.phases() == [SETUP] * 3
    assert a.layer.sessions == {}


def test_a_stranger_with_the_same_key_material_is_a_different_entry() -> None:
    net, a, b = pair()
    c = net.node(Identity.generate(lambda size: bytes([9]) * size).secret)
    a.send(b, b"to b")
    a.send(c, b"to c")
    net.run(0.2)
    assert (b.received, c.received) == ([b"to b"], [b"to c"])
    assert names(a) == ["SessionEstablished", "SessionEstablished"]
    assert b.identity.secret == B_SECRET
