"""First messages of strangers: what they may cost, who still gets through, and what they leave behind."""

from __future__ import annotations

from random import Random

import pytest

from meshnode.identity import Identity
from meshnode.mesh.link.budget import source_of
from meshnode.mesh.settings import LimitSettings, MeshSettings
from meshnode.noise import IkInitiator
from meshnode.wire.link import Msg1
from tests.unit.link_rig import LinkHost, deterministic_entropy

DICE = Random(11)


def forged() -> bytes:
    """A first message that costs its reader a Diffie-Hellman before it turns out to be nothing."""
    point = Identity.generate(DICE.randbytes).public_key
    return b"\x01\x00\x6e\x00" + DICE.randbytes(4) + point + DICE.randbytes(73)


def genuine(target: LinkHost, identity: Identity | None = None) -> bytes:
    identity = identity or Identity.generate(DICE.randbytes)
    noise = IkInitiator(identity, target.identity.peer, DICE.randbytes(8), DICE.randbytes(32))
    return Msg1(DICE.getrandbits(32), noise.message1()).encode()


def target(**limits: int) -> LinkHost:
    return LinkHost("target", 1, MeshSettings(limits=LimitSettings(**limits)))


def read(host: LinkHost) -> int:
    """How many first messages the host looked into."""
    counters = host.layer.counters
    return counters.bad_state + len(host.layer.candidates)


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1:2121", "192.0.2.1"),
        ("[2001:db8:1:2:3:4:5:6]:2121", "2001:db8:1:2"),
        ("[2001:db8:1:2::9]:7", "2001:db8:1:2"),
        ("[fe80::1%eth0]:2121", "fe80"),
        ("onionhost", "onionhost"),
    ],
)
def test_a_source_is_a_host_or_an_ipv6_site(address: str, source: str) -> None:
    assert source_of((1, address)) == source.encode()


def test_a_message_that_is_no_point_of_the_curve_costs_nobody_a_token() -> None:
    host = target()
    for _ in range(5000):
        host.layer.receive(1, "192.0.2.1:1", [b"\x01\x00\x6e\x00\x01\x02\x03\x04\x07" + bytes(105)], 0.0)
    assert host.layer.counters.bad_state == 5000
    host.layer.receive(1, "192.0.2.1:1", [genuine(host)], 0.0)
    assert len(host.layer.drain_outbound()) == 1


def test_one_source_gets_its_burst_and_no_more() -> None:
    host = target()
    host.layer.receive(1, "192.0.2.1:9", [forged() for _ in range(1000)], 0.0)
    assert 100 <= read(host) <= 104
    assert host.layer.counters.rate_limited == 1000 - read(host)
    assert host.layer.drain_outbound() == []


def test_a_flood_from_elsewhere_does_not_keep_a_newcomer_out() -> None:
    host = target()
    for tenth in range(100):
        host.layer.receive(1, "192.0.2.1:9", [forged() for _ in range(20)], tenth / 10)
    host.layer.receive(1, "192.0.2.2:9", [genuine(host)], 10.0)
    assert len(host.layer.drain_outbound()) == 1


def test_a_flood_from_the_same_host_does_not_keep_a_newcomer_out() -> None:
    host = target()
    for tenth in range(100):
        host.layer.receive(1, "192.0.2.1:9", [forged() for _ in range(20)], tenth / 10)
    host.layer.receive(1, "192.0.2.1:77", [genuine(host)], 10.0)
    assert len(host.layer.drain_outbound()) == 1


def test_a_flood_from_everywhere_is_bounded_in_total_and_some_get_through() -> None:
    """When every source is made up nobody can be told from anybody: each copy has the same chance."""
    host, dice = target(), Random(5)
    messages = [forged() for _ in range(200)]
    newcomer, admitted = genuine(host), 0
    for tenth in range(50):
        for number in range(400):
            address = f"{dice.randrange(1, 255)}.{dice.randrange(255)}.{dice.randrange(255)}.1:{number + 1}"
            if number == tenth * 7 % 400:
                host.layer.receive(1, "192.0.2.2:9", [newcomer], tenth / 10)
            host.layer.receive(1, address, [messages[number % 200]], tenth / 10)
        admitted += len(host.layer.drain_outbound())
    assert host.layer.counters.bad_state < 600 + 1200 * 5 + 200 + 400 * 5
    assert admitted >= 1


def test_answers_cost_more_than_refusals() -> None:
    """Valid first messages of many keys from many places: fewer are answered than forged ones would be read."""
    host = target(max_pending_inbound=10_000)
    dice = Random(6)
    messages = [genuine(host) for _ in range(400)]
    for number, message in enumerate(messages):
        host.layer.receive(1, f"198.51.{dice.randrange(255)}.{number % 250}:{number + 1}", [message], 0.0)
    assert 150 <= len(host.layer.candidates) <= 260


def test_what_comes_from_where_a_peer_is_cannot_keep_other_peers_from_rekeying() -> None:
    host = target()
    buckets = host.layer._responder._budget
    assert sum(buckets.peer((1, "192.0.2.1:9"), 0.0) for _ in range(1000)) == 16
    assert buckets.peer((1, "192.0.2.2:9"), 0.0)


def test_unproved_newcomers_of_one_source_leave_room_for_others() -> None:
    host = target(max_pending_inbound=64)
    honest = genuine(host)
    host.layer.receive(1, "192.0.2.2:9", [honest], 0.0)
    for second in range(20):
        host.layer.receive(1, "192.0.2.1:9", [genuine(host) for _ in range(20)], float(second))
    assert any(candidate.path[1] == "192.0.2.2:9" for candidate in host.layer.candidates)
    assert len(host.layer.candidates) <= 1 + 64 // 8


def test_unproved_newcomers_are_forgotten() -> None:
    host = target()
    host.layer.receive(1, "192.0.2.1:9", [genuine(host) for _ in range(50)], 0.0)
    assert len(host.layer.candidates) == 50
    host.layer.tick(31.0)
    table = host.layer._table
    assert (len(host.layer.candidates), len(table.epochs), table.candidates._by_source) == (0, 0, {})


@pytest.mark.parametrize("copies", [1, 5, 100])
def test_a_stranger_never_gets_back_more_than_it_sent(copies: int) -> None:
    """Bytes out per byte in before an address is proved: answers are shorter than questions, and never repeated."""
    host = target()
    message = genuine(host)
    sent = received = 0
    for copy in range(copies):
        host.layer.receive(1, "192.0.2.1:9", [message], copy / 10)
        sent += len(message)
    for second in range(1, 40):
        deadline = host.layer.next_deadline()
        if deadline is not None and deadline <= second + 10:
            host.layer.handle_timeout(second + 10.0)
        host.layer.tick(second + 10.0)
        received += sum(len(frame) for _, frame in host.layer.drain_outbound())
    assert 0 < received < sent
    assert host.layer.peers == {}


def test_random_entropy_is_not_used_up_by_floods() -> None:
    """Forged messages must not make us draw randomness: on some machines it is slow."""
    host = target()
    drawn = []
    entropy = deterministic_entropy(3)
    host.layer._table.entropy = lambda size: drawn.append(size) or entropy(size)  # type: ignore[func-returns-value]
    host.layer.receive(1, "192.0.2.1:9", [forged() for _ in range(50)], 0.0)
    assert drawn == []
