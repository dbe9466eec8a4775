"""Fresh keys: from either side, from both at once, and with every message lost."""

from __future__ import annotations

import pytest

from meshnode.identity import Identity
from meshnode.mesh.session import Session
from meshnode.mesh.settings import MeshSettings
from meshnode.wire.session import K

from .session_rig import ACK, MSG3, SETUP, Net, Node, established, exchange, lose_first


def start_rekey(node: Node, other: Node) -> None:
    """The routine rekey, without waiting two minutes for it."""
    node.layer._rekeying.start(node.session(other), node.net.now)
    node.drain()


def keys(session: Session) -> object:
    return session.current


def chat(net: Net, a: Node, b: Node, seconds: float) -> tuple[int, int]:
    """A message each way every tenth of a second; how many were sent and how many of them arrived."""
    a.received.clear()
    b.received.clear()
    count = int(seconds * 10)
    for _ in range(count):
        a.send(b, b"tick")
        b.send(a, b"tock")
        net.run(0.1)
    net.run(0.1)
    return 2 * count, len(a.received) + len(b.received)


@pytest.fixture
def trio() -> tuple[Net, Node, Node]:
    net, a, b = established()
    net.run(31)
    return net, a, b


@pytest.mark.parametrize("smaller", [True, False])
def test_either_side_can_rekey_without_losing_anything(trio: tuple[Net, Node, Node], smaller: bool) -> None:
    net, a, b = trio
    first, second = (a, b) if smaller else (b, a)
    before = keys(first.session(second)), keys(second.session(first))
    start_rekey(first, second)
    sent, arrived = chat(net, a, b, 4)
    assert sent == arrived
    assert keys(first.session(second)) is not before[0]
    assert keys(second.session(first)) is not before[1]
    assert (a.session(b).k, b.session(a).k) == (True, True)


def test_the_initiator_cuts_over_after_two_seconds_and_the_responder_with_its_first_frame(
    trio: tuple[Net, Node, Node],
) -> None:
    net, a, b = trio
    start_rekey(a, b)
    net.run(1.9)
    assert a.session(b).pending is not None
    assert b.session(a).pending is not None
    assert not a.session(b).k
    net.run(0.2)
    assert a.session(b).k
    assert a.session(b).is_draining
    assert b.session(a).k
    assert b.session(a).pending is None


def test_the_responder_never_cuts_over_by_itself(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    start_rekey(a, b)
    net.run(1.0)
    net.lose = lambda source, message: True
    net.run(25)
    assert not b.session(a).k
    assert b.session(a).pending is not None


def test_the_clock_of_inner_headers_restarts_with_new_keys(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    start_rekey(a, b)
    net.run(3)
    assert a.session(b).timestamp(net.now) < 1500
    assert a.session(b).packets_sent == 7


def test_drain_lasts_ten_seconds_from_the_cutover(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    start_rekey(a, b)
    net.run(3)
    assert a.session(b).is_draining
    net.run(8)
    assert a.session(b).is_draining
    net.run(2)
    assert not a.session(b).is_draining


def test_drain_lasts_as_long_as_the_peer_uses_the_old_keys(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    start_rekey(a, b)
    net.run(1)
    b.session(a).patience = 1000.0
    net.lose = lambda source, message: source is a and message[0] & 15 in (0, MSG3)
    chat(net, a, b, 25)
    assert a.session(b).k
    assert a.session(b).is_draining
    assert len(a.received) == 250


@pytest.mark.parametrize("lost", [SETUP, ACK])
def test_a_lost_setup_or_ack_costs_the_renewal_a_second(trio: tuple[Net, Node, Node], lost: int) -> None:
    net, a, b = trio
    net.lose = lose_first(lost)
    start_rekey(a, b)
    sent, arrived = chat(net, a, b, 1.5)
    assert sent == arrived
    assert a.session(b).pending is not None
    assert b.session(a).pending is not None
    assert chat(net, a, b, 3)[0]
    assert a.session(b).k
    assert b.session(a).k


def test_a_setup_in_vain_is_followed_by_others_of_other_keys_ever_later(trio: tuple[Net, Node, Node]) -> None:
    """The same one again might be answered anew, and the Msg3 for its first answer then fits nothing (7.5)."""
    net, a, b = trio
    setups: dict[bytes, float] = {}
    start = net.now

    def lose(source: Node, message: bytes) -> bool:
        if message[0] & 15 == SETUP:
            setups[message[-33:]] = net.now - start
        return message[0] & 15 == SETUP

    net.lose = lose
    start_rekey(a, b)
    sent, arrived = chat(net, a, b, 60)
    assert sent == arrived
    assert [round(at) for at in setups.values()] == [0, 1, 3, 7, 15, 31]


def test_a_setup_to_a_peer_that_is_not_heard_is_not_followed_by_another(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    net.lose = lambda source, message: True
    a.sent.clear()
    start_rekey(a, b)
    net.run(25)
    assert a.phases().count(SETUP) == 1


@pytest.mark.parametrize("heard", [True, False])
def test_an_ack_is_repeated_once_to_a_peer_that_is_heard(trio: tuple[Net, Node, Node], heard: bool) -> None:
    """The reference repeats no Setup, and waits for the Ack for ever."""
    net, a, b = trio
    net.lose = lambda source, message: message[0] & 15 == ACK
    b.sent.clear()
    start_rekey(a, b)
    a.session(b).rekey.setup_due = float("inf")
    net.run(0.02)
    net.lose = lambda source, message: message[0] & 15 == ACK or (source is a and not heard)
    chat(net, a, b, 20)
    assert b.phases().count(ACK) == 1 + heard


@pytest.mark.parametrize("lost", [SETUP, ACK])
def test_a_handshake_that_leads_nowhere_ends_and_another_can_start(trio: tuple[Net, Node, Node], lost: int) -> None:
    net, a, b = trio
    net.lose = lambda source, message: message[0] & 15 == lost
    start_rekey(a, b)
    chat(net, a, b, 62)
    assert a.session(b).rekey.noise is None
    assert b.session(a).rekey.noise is None
    assert bool(b.layer.counters.rekey_expired) == (lost == ACK)
    net.lose = lambda source, message: False
    start_rekey(b, a)
    chat(net, a, b, 4)
    assert a.session(b).k


def test_a_lost_message3_is_repeated(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    net.lose = lose_first(MSG3)
    start_rekey(a, b)
    sent, arrived = chat(net, a, b, 5)
    assert sent == arrived
    assert a.session(b).k
    assert a.session(b).rekey.message3 is None


def test_message3_is_repeated_after_our_own_cutover(trio: tuple[Net, Node, Node]) -> None:
    """Nothing that we send opens until one arrives, and by then we may use the new keys for long (section 7.5)."""
    net, a, b = trio
    net.lose = lambda source, message: message[0] & 15 == MSG3
    start_rekey(a, b)
    chat(net, a, b, 2.5)
    assert a.session(b).k
    assert not b.session(a).k
    a.session(b).patience = 1000.0
    setups = a.phases().count(SETUP)
    net.lose = lambda source, message: False
    chat(net, a, b, 1)
    sent, arrived = chat(net, a, b, 3)
    assert sent == arrived
    assert b.session(a).k
    assert a.session(b).rekey.message3 is None
    assert a.phases().count(SETUP) == setups


def test_copies_of_message3_double_their_gaps_and_end(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    a.sent.clear()
    start = net.now
    b.session(a).patience = 1000.0
    net.lose = lambda source, message: source is a and message[0] & 15 in (MSG3, 0)
    start_rekey(a, b)
    times = []
    for _ in range(70):
        before = a.phases().count(MSG3)
        b.send(a, b"tock")
        net.run(1.0)
        times += [round(net.now - start - 1)] * (a.phases().count(MSG3) - before)
    assert times == [0, 0, 0, 1, 3, 7, 15, 31]
    assert a.session(b).rekey.message3 is None
    assert a.session(b).k


def test_a_setup_of_both_at_once_is_won_by_the_smaller_address(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    start_rekey(a, b)
    start_rekey(b, a)
    sent, arrived = chat(net, a, b, 4)
    assert sent == arrived
    assert a.layer.counters.rekey_tiebreak == 1
    assert b.layer.counters.rekey_yielded == 1
    assert b.layer.counters.rekey_armed == 1
    assert (a.session(b).k, b.session(a).k) == (True, True)


def test_a_setup_is_kept_away_while_keys_are_pending(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    start_rekey(a, b)
    net.run(0.5)
    start_rekey(b, a)
    net.run(0.1)
    assert a.layer.counters.rekey_pending == 1
    sent, arrived = chat(net, a, b, 4)
    assert sent == arrived


def test_a_repeated_setup_gets_the_same_ack(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    net.lose = lambda source, message: source is b and message[0] == ACK
    start_rekey(a, b)
    net.run(0.1)
    b.sent.clear()
    for _ in range(3):
        b.receive(a.address, a.sent[-1][1])
    assert len({message for _to, message in b.sent}) == 1
    assert b.layer.counters.rekey_armed == 1
    assert b.layer.counters.rekey_yielded == 0


def test_a_forged_setup_does_not_touch_the_running_session(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    stranger = Node(net, Identity.generate(lambda size: b"\x05" * size).secret, 3)
    stranger.layer.open(b.identity.peer, net.now)
    stranger.drain()
    b.receive(a.address, stranger.sent[0][1])
    ack = next(message for _to, message in b.sent if message[0] == ACK)
    stranger.layer.receive(b.address, b.address, [ack], 0, 1400, False, net.now)
    stranger.drain()
    message3 = next(message for _to, message in stranger.sent if message[0] == MSG3)
    b.receive(a.address, message3)
    assert b.layer.counters.rekey_key_mismatch == 1
    assert b.session(a).pending is None
    assert exchange(net, a, b)


def test_a_message3_that_does_not_authenticate_does_not_cancel_the_rekey(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    start_rekey(a, b)
    net.run(0.012)
    b.receive(a.address, bytes.fromhex("03004c00004900") + bytes(73))
    chat(net, a, b, 3)
    assert b.session(a).k


def test_an_ack_that_does_not_authenticate_does_not_cancel_the_rekey(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    start_rekey(a, b)
    net.run(0.012)
    genuine = b.sent[-1][1]
    assert genuine[0] == ACK
    a.receive(b.address, genuine[:-1] + bytes([genuine[-1] ^ 1]))
    assert a.layer.counters.ack_handshake_failed == 1
    chat(net, a, b, 3)
    assert a.session(b).k


def test_a_second_handshake_of_the_peer_replaces_keys_that_it_never_used(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    start_rekey(a, b)
    net.run(0.5)
    a.session(b).pending = None
    a.session(b).rekey.clear_message3()
    net.lose = lambda source, message: source is a and message[0] == 0
    net.run(6)
    net.lose = lambda source, message: False
    start_rekey(a, b)
    chat(net, a, b, 3)
    assert b.layer.counters.pending_replaced == 1
    assert b.session(a).k


def test_k_bits_that_are_opposite_for_good_do_no_harm(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    a.session(b).k = True
    assert exchange(net, a, b)
    for node, other in ((a, b), (b, a)):
        start_rekey(node, other)
        sent, arrived = chat(net, a, b, 4)
        assert sent == arrived
        net.run(2)
    assert a.session(b).k is not b.session(a).k


def test_the_k_flag_is_sent_as_it_stands(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    a.sent.clear()
    a.send(b, b"x")
    assert not a.sent[-1][1][1] & K
    start_rekey(a, b)
    net.run(3)
    a.send(b, b"x")
    assert a.sent[-1][1][1] & K


def rekey_settings(after_secs: int = 120, after_messages: int = 65536, enabled: bool = True) -> MeshSettings:
    settings = MeshSettings()
    settings.rekey.after_secs = after_secs
    settings.rekey.after_messages = after_messages
    settings.rekey.enabled = enabled
    return settings


def test_the_routine_rekey_comes_with_age_and_jitter() -> None:
    net, a, b = established(rekey_settings(60))
    due = 60 + min(a.session(b).rekey.jitter, b.session(a).rekey.jitter)
    chat(net, a, b, due - 2)
    assert SETUP not in a.phases() + b.phases()
    chat(net, a, b, 4)
    assert SETUP in a.phases() + b.phases()


def test_the_routine_rekey_comes_with_many_messages_but_not_before_thirty_seconds() -> None:
    net, a, b = established(rekey_settings(after_messages=50))
    chat(net, a, b, 29)
    assert SETUP not in a.phases() + b.phases()
    chat(net, a, b, 2)
    assert SETUP in a.phases() + b.phases()


def test_a_short_lifetime_never_beats_thirty_seconds() -> None:
    net, a, b = established(rekey_settings(after_secs=5))
    chat(net, a, b, 28)
    assert SETUP not in a.phases() + b.phases()


def test_rekeying_can_be_disabled_and_is_still_answered() -> None:
    net, a, b = established(rekey_settings(30, enabled=False))
    chat(net, a, b, 60)
    assert SETUP not in a.phases() + b.phases()
    start_rekey(a, b)
    chat(net, a, b, 4)
    assert a.session(b).k
    assert b.session(a).k


def test_no_routine_rekey_without_a_route() -> None:
    net, a, b = established(rekey_settings(30))
    b.layer._core.settings = rekey_settings(enabled=False)
    a.router.routed = False
    chat(net, a, b, 50)
    assert SETUP not in a.phases()
    a.router.routed = True
    chat(net, a, b, 2)
    assert SETUP in a.phases()


def test_a_rekey_of_the_peer_postpones_ours(trio: tuple[Net, Node, Node]) -> None:
    net, a, b = trio
    b.session(a).rekey.last_peer_rekey = net.now
    b.session(a).session_start -= 1000
    chat(net, a, b, 28)
    assert SETUP not in b.phases()
    chat(net, a, b, 3)
    assert SETUP in b.phases()


def test_hundreds_of_rekeys_lose_nothing() -> None:
    net, a, b = established(rekey_settings(30))
    sent = arrived = 0
    for _ in range(12):
        more_sent, more_arrived = chat(net, a, b, 60)
        sent, arrived = sent + more_sent, arrived + more_arrived
    assert sent == arrived
    assert a.layer.counters.rekey_armed + b.layer.counters.rekey_armed >= 12


@pytest.mark.parametrize("seed", range(4))
def test_rekeys_survive_a_bad_network(seed: int) -> None:
    """A tenth of everything is lost; the session must always be usable afterwards."""
    net, a, b = established(rekey_settings(30), latency=0.05, seed=seed)
    net.lose = lambda source, message: source.random.random() < 0.1
    sent, arrived = chat(net, a, b, 300)
    assert arrived > 0.8 * sent
    net.lose = lambda source, message: False
    chat(net, a, b, 5)
    assert exchange(net, a, b)
