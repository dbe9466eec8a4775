"""Somebody claims to be the remote: whatever they send, the two who mean it get their session and keep it."""

from __future__ import annotations

from random import Random

import pytest

from meshnode.identity import Identity
from meshnode.mesh.session import SessionState
from meshnode.mesh.session.answers import ANSWERS_PER_LINK, MAX_ANSWERS
from meshnode.noise import XkInitiator
from meshnode.wire import SessionAck, SessionMessage3, SessionSetup
from tests.unit.session_rig import ACK, Node, pair

FORGER = Identity(bytes([9]) * 32)
LINK = FORGER.node_addr
DICE = Random(4)


class Forgery:
    """A handshake in another's name, with keys of our own."""

    def __init__(self, claimed: Node, victim: Node, link_peer: bytes = LINK) -> None:
        self.claimed, self.victim, self.link_peer = claimed, victim, link_peer
        self.noise = XkInitiator(FORGER, victim.identity.peer, bytes(8), DICE.randbytes(32))
        self.message1 = self.noise.message1()

    def send(self, message: bytes) -> None:
        victim = self.victim
        victim.layer.receive(self.claimed.address, self.link_peer, [message], 0, 1400, False, victim.net.now)

    def setup(self) -> Forgery:
        """Send the Setup; the Ack comes to the forger and not to whom it claims to be."""
        self.send(SessionSetup([self.claimed.address], [self.victim.address], self.message1).encode())
        outbound = self.victim.layer.outbound
        acks = [message for message in outbound if message.payload[0] & 15 == ACK]
        self.ack = acks[-1].payload if acks else b""
        outbound[:] = [message for message in outbound if message not in acks]
        return self

    def complete(self) -> None:
        self.noise.read_message2(SessionAck.parse(self.ack[4:]).handshake)
        self.send(SessionMessage3(self.noise.message3()).encode())


def talk(a: Node, b: Node) -> None:
    """Data passes in both directions within a second."""
    for source, target in ((a, b), (b, a)):
        target.received.clear()
        source.send(target, b"data")
        source.net.run(1.0)
        assert target.received == [b"data"]


@pytest.mark.parametrize("times", [1, 50])
def test_a_forged_setup_does_not_lock_the_claimed_node_out(times: int) -> None:
    _net, a, b = pair()
    for _ in range(times):
        Forgery(a, b).setup()
    talk(a, b)
    assert a.session(b).established


def test_a_forged_setup_does_not_end_our_own_opening() -> None:
    """The larger address yields to a Setup; if that was forged, its own Setup is answered all the same."""
    net, a, b = pair()
    net.lose = lambda source, message: source is b and net.now < 1000.1
    b.send(a, b"from b")
    Forgery(a, b).setup()
    assert b.session(a).state is SessionState.AWAITING_MESSAGE3
    net.run(2.0)
    assert a.received == [b"from b"]
    assert b.session(a).is_initiator
    talk(a, b)


@pytest.mark.parametrize("smaller_is_deceived", [True, False])
def test_a_forged_setup_does_not_keep_us_from_opening(smaller_is_deceived: bool) -> None:
    net, a, b = pair()
    deceived, other = (a, b) if smaller_is_deceived else (b, a)
    Forgery(other, deceived).setup()
    deceived.layer.identities.insert(other.identity.peer, net.now)
    deceived.send(other, b"data")
    net.run(3.0)
    assert other.received == [b"data"]
    assert deceived.session(other).established


def test_a_forger_that_completes_its_handshake_only_loses_it() -> None:
    net, a, b = pair()
    forgery = Forgery(a, b).setup()
    net.lose = lambda source, message: message[0] & 15 == 3 and net.now < 1000.5
    a.open(b)
    net.run(0.2)
    forgery.complete()
    assert b.layer.counters.addr_mismatch == 1
    assert b.session(a).state is SessionState.AWAITING_MESSAGE3
    net.run(2.0)
    talk(a, b)


def test_forged_setups_crowd_out_each_other_and_not_those_of_another_neighbour() -> None:
    _net, a, b = pair()
    honest = Forgery(a, b, link_peer=a.address).setup()
    for number in range(30):
        Forgery(a, b, link_peer=bytes([number % 2 + 50]) * 16).setup()
    answers = b.session(a).answers
    assert len(answers) == 1 + 2 * ANSWERS_PER_LINK
    assert any(answer.message1 == honest.message1 for answer in answers)


def test_answers_are_bounded_however_many_neighbours_forge() -> None:
    _net, a, b = pair()
    for number in range(40):
        Forgery(a, b, link_peer=bytes([number + 1]) * 16).setup()
    assert len(b.session(a).answers) == MAX_ANSWERS


def test_forged_setups_do_not_end_an_established_session_or_its_rekey() -> None:
    net, a, b = pair()
    a.send(b, b"first")
    net.run(0.5)
    for _ in range(20):
        Forgery(a, b).setup()
        Forgery(b, a).setup()
    assert len(b.session(a).rekey.armed) == ANSWERS_PER_LINK
    k = b.session(a).k
    a.layer._rekeying.start(a.session(b), net.now)
    a.drain()
    net.run(4.0)
    assert b.session(a).k != k
    talk(a, b)


@pytest.mark.parametrize("restarted_is_smaller", [True, False])
def test_a_restarted_peer_gets_through_a_rain_of_forged_setups(restarted_is_smaller: bool) -> None:
    net, a, b = pair()
    restarted, other = (a, b) if restarted_is_smaller else (b, a)
    a.send(b, b"first")
    net.run(0.5)
    restarted.restart()
    for _ in range(100):
        Forgery(restarted, other).setup()
        if not restarted.layer.sessions:
            restarted.send(other, b"again")
        net.run(0.05)
    assert other.received[-1:] == [b"again"]


def test_a_forged_completion_beside_an_established_session_changes_nothing() -> None:
    net, a, b = pair()
    a.send(b, b"first")
    net.run(0.5)
    Forgery(a, b).setup().complete()
    assert b.layer.counters.rekey_key_mismatch == 1
    assert b.session(a).pending is None
    assert b.session(a).rekey.armed == []
    talk(a, b)


def test_answered_setups_are_forgotten() -> None:
    net, a, b = pair()
    a.send(b, b"first")
    net.run(0.5)
    Forgery(a, b).setup()
    for _ in range(40):
        a.send(b, b"still here")
        net.run(1.0)
    assert b.session(a).rekey.armed == []
    assert b.layer.counters.rekey_expired == 1
