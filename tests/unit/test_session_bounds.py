"""What keeps the session layer's memory bounded: the Setup limiter, the queues, and whatever anybody sends."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.identity import Identity
from meshnode.mesh.session import PendingQueues, SessionState
from meshnode.mesh.session.half_open import HALF_OPEN_PER_LINK
from meshnode.mesh.session.setup_limiter import MAX_LINKS, SetupLimiter, Source
from meshnode.mesh.settings import MeshSettings, RateLimitSettings
from meshnode.wire import SessionSetup

from .session_rig import ACK, Node, established, pair

POINT = bytes.fromhex("028d7500dd4c12685d1f568b4c2b5048e8534b873319f3a8daa612b469132ec7f7")
LINK = bytes([7]) * 16


def setup_from(source: bytes) -> bytes:
    return SessionSetup([source, bytes(16)], [bytes(16)], POINT).encode()


def flood(node: Node, count: int, now: float, link_peer: bytes = LINK) -> int:
    """Setups of so many different sources over one link; how many were answered."""
    before = node.layer.counters.setup_rate_limited
    for number in range(count):
        source = int(now * 1000).to_bytes(8, "big") + number.to_bytes(8, "big")
        node.layer.receive(source, link_peer, [setup_from(source)], 0, 1400, False, now)
    node.drain()
    return count - (node.layer.counters.setup_rate_limited - before)


def _few() -> MeshSettings:
    """The limits of the specification, section 6.5."""
    return MeshSettings(rate_limit=RateLimitSettings(session_setup_burst=64, session_setup_rate=16.0))


def test_a_link_gets_a_burst_and_then_a_rate_of_setups_through() -> None:
    net, a, _b = pair(_few())
    assert flood(a, 200, net.now) == 64
    assert flood(a, 200, net.now + 1) == 16
    assert flood(a, 200, net.now + 1, link_peer=bytes([8]) * 16) == 64


def test_by_default_they_are_128_each() -> None:
    net, a, _b = pair()
    assert flood(a, 400, net.now) == 128
    assert flood(a, 400, net.now + 1) == 128


def test_a_refused_setup_leaves_nothing_behind() -> None:
    net, a, _b = pair(_few())
    flood(a, 200, net.now)
    assert len(a.layer.sessions) == 64
    assert a.phases() == [ACK] * 64


def test_a_flood_of_setups_is_forgotten_after_thirty_seconds() -> None:
    net, a, _b = pair(_few())
    for _ in range(60):
        flood(a, 100, net.now)
        net.run(1.0)
    assert len(a.layer.sessions) <= 64 + 31 * 16
    net.run(32)
    assert a.layer.sessions == {}
    net.run(40)
    assert a.layer.next_deadline() is None


def test_no_more_than_a_thousand_through_one_link_wait_for_proof_and_the_oldest_make_room() -> None:
    net, a, _b = pair()
    for _ in range(20):
        flood(a, 300, net.now)
        net.run(1.0)
    assert len(a.layer.sessions) == HALF_OPEN_PER_LINK
    newest = int(net.now * 1000 - 1000).to_bytes(8, "big")
    assert sum(source.startswith(newest) for source in a.layer.sessions) == 128
    assert a.layer.counters.crowded_out == 20 * 128 - HALF_OPEN_PER_LINK


def test_links_that_flood_take_half_of_everybodys_turns_and_who_asks_for_little_has_the_rest() -> None:
    net, a, _b = pair()
    flooding = [bytes([number]) * 16 for number in range(1, 11)]
    answered = 0
    for _ in range(20):
        answered = sum(flood(a, 200, net.now, link) for link in flooding)
        net.run(1.0)
    assert answered <= 2 * 128 + 1
    assert flood(a, 1, net.now, link_peer=bytes([99]) * 16) == 1


def test_what_they_leave_is_there_all_at_once_also_while_they_go_on() -> None:
    limiter = SetupLimiter(MeshSettings())
    for now in range(20):
        for number in range(1, 6):
            _strangers(limiter, 300, float(now), bytes([number]) * 16)
    assert _strangers(limiter, 30, 19.0, bytes([99]) * 16) == 30


def _strangers(limiter: SetupLimiter, count: int, now: float, link: bytes) -> int:
    return sum(limiter.allow(link, bytes(16), Source.STRANGER, now) for _ in range(count))


def test_a_neighbour_has_no_more_than_its_share_for_names_that_we_know() -> None:
    limiter = SetupLimiter(MeshSettings())
    names = [number.to_bytes(16, "big") for number in range(500)]
    assert sum(limiter.allow(LINK, name, Source.KNOWN, 0.0) for name in names) == 128


def test_sessions_that_fill_half_of_the_table_make_it_sparing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshnode.mesh.session.layer.MAX_SESSIONS", 160)
    net, a, _b = pair()
    assert flood(a, 400, net.now) == 80


def test_a_storm_of_strangers_takes_no_turn_of_a_source_that_we_know() -> None:
    """The same neighbour brings both, and strangers' names cost nothing."""
    net, a, b = pair()
    a.layer.identities.insert(b.identity.peer, net.now)
    for _ in range(20):
        flood(a, 500, net.now)
        known = setup_from(b.address)
        before = a.layer.counters.setup_rate_limited
        a.layer.receive(b.address, LINK, [known], 0, 1400, False, net.now)
        assert a.layer.counters.setup_rate_limited == before
        a.drain()
        net.run(1.0)


def test_nor_does_somebody_who_asks_in_the_name_of_a_known_one_take_those_of_others() -> None:
    net, a, b = pair()
    other = Identity(bytes([3]) * 32)
    for identity in (b.identity, other):
        a.layer.identities.insert(identity.peer, net.now)
    for _ in range(20):
        flood(a, 300, net.now)
        a.layer.receive(b.address, LINK, [setup_from(b.address)] * 300, 0, 1400, False, net.now)
        before = a.layer.counters.setup_rate_limited
        a.layer.receive(other.node_addr, LINK, [setup_from(other.node_addr)], 0, 1400, False, net.now)
        assert a.layer.counters.setup_rate_limited == before
        a.drain()
        net.run(1.0)


def test_honest_newcomers_open_sessions_while_a_thousand_strangers_a_second_wait_for_proof() -> None:
    """What is crowded out is old: a newcomer needs a round trip, and has seconds."""
    net, a, b = pair(latency=0.2)
    for step in range(60):
        flood(a, 10, net.now, link_peer=a.address)
        if step == 30:
            b.send(a, b"hello")
        net.run(0.1)
    assert a.session(b).established


def test_established_remotes_have_a_bucket_of_their_own() -> None:
    net, a, b = established()
    flood(b, 200, net.now, link_peer=a.address)
    a.layer._rekeying.start(a.session(b), net.now)
    a.drain()
    net.run(0.1)
    assert b.layer.counters.rekey_armed == 1


def test_the_established_rate_follows_the_number_of_peers() -> None:
    limiter = SetupLimiter(MeshSettings())
    assert _renewals(limiter, 0.0) == 128
    assert _renewals(limiter, 10.0) == 64
    unlimited = _few()
    unlimited.limits.max_peers = 0
    assert _renewals(SetupLimiter(unlimited), 0.0) == 64


def _renewals(limiter: SetupLimiter, now: float) -> int:
    return sum(limiter.allow(LINK, bytes(16), Source.ESTABLISHED, now) for _ in range(1000))


def test_a_table_of_sessions_that_fills_leaves_strangers_what_a_modest_neighbour_asks_for() -> None:
    limiter = SetupLimiter(MeshSettings())
    burst = sum(limiter.allow(LINK, bytes(16), Source.STRANGER, 0.0, sparing=True) for _ in range(1000))
    assert burst == 64
    assert sum(limiter.allow(LINK, bytes(16), Source.STRANGER, 1.0, sparing=True) for _ in range(1000)) == 16


def test_buckets_of_links_unused_for_five_minutes_are_forgotten() -> None:
    limiter = SetupLimiter(MeshSettings())
    limiter.allow(LINK, bytes(16), Source.ESTABLISHED, 0.0)
    limiter.allow(bytes(16), bytes(16), Source.ESTABLISHED, 100.0)
    limiter.prune(299.0)
    assert len(limiter) == 2
    limiter.prune(300.0)
    assert len(limiter) == 1


def test_the_number_of_buckets_is_bounded() -> None:
    limiter = SetupLimiter(MeshSettings())
    for number in range(MAX_LINKS + 10):
        limiter.allow(number.to_bytes(16, "big"), bytes(16), Source.STRANGER, 0.0)
    assert len(limiter) == MAX_LINKS


def test_a_queue_keeps_the_newest_of_each_destination() -> None:
    queues: PendingQueues[int] = PendingQueues(4, 2)
    for number in range(6):
        assert queues.add(b"a", number, 0.0)
    assert queues.count(b"a") == 4
    assert queues.take(b"a") == [2, 3, 4, 5]
    assert queues.take(b"a") == []
    assert queues.count(b"a") == 0


def test_one_destination_too_many_is_refused_until_another_leaves() -> None:
    queues: PendingQueues[int] = PendingQueues(4, 2)
    assert queues.add(b"a", 1, 0.0)
    assert queues.add(b"b", 1, 0.0)
    assert not queues.add(b"c", 1, 0.0)
    assert queues.add(b"a", 2, 0.0)
    queues.take(b"b")
    assert queues.add(b"c", 1, 0.0)
    assert len(queues) == 2


def test_a_queue_goes_when_nothing_is_added_for_its_age() -> None:
    queues: PendingQueues[int] = PendingQueues(4, 4)
    queues.add(b"a", 1, 0.0)
    queues.add(b"a", 2, 0.0)
    queues.add(b"b", 3, 5.0)
    assert queues.expire(14.9) == []
    assert queues.expire(15.0) == [(b"a", [1, 2])]
    assert queues.expire(20.0) == [(b"b", [3])]
    assert len(queues) == 0


def test_who_goes_on_adding_learns_that_the_others_waited_in_vain() -> None:
    queues: PendingQueues[int] = PendingQueues(4, 4)
    given_up = []
    for second in range(32):
        queues.add(b"a", second, float(second))
        given_up += [(second, items) for _, items in queues.expire(float(second))]
    assert given_up == [(15, [12, 13, 14]), (30, [27, 28, 29])]
    assert queues.take(b"a") == [30, 31]


# Anything from anybody

ADDRESSES = [bytes([number]) * 16 for number in range(1, 5)]
bodies = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda phase, flags, rest: bytes([phase, flags]) + rest,
        st.integers(0, 255),
        st.integers(0, 7),
        st.binary(max_size=160),
    ),
    st.builds(setup_from, st.sampled_from(ADDRESSES)),
    st.builds(lambda rest: bytes.fromhex("03004c00004900") + rest, st.binary(min_size=73, max_size=73)),
    st.builds(
        lambda kind, rest: bytes([0, 4, 34, 0, kind, 0]) + rest,
        st.sampled_from([0x20, 0x21, 0x22]),
        st.binary(max_size=60),
    ),
)
steps = st.lists(
    st.tuples(st.integers(0, 5), st.lists(bodies, min_size=1, max_size=6), st.floats(0, 3)), min_size=1, max_size=30
)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(steps)
def test_anything_from_anybody_is_survived(script: list[tuple[int, list[bytes], float]]) -> None:
    """Strangers, the peer's own address, our own: no exception, bounded tables, a session that still works."""
    net, a, b = established()
    sources = [*ADDRESSES, a.address, b.address]
    for who, messages, wait in script:
        b.layer.receive(sources[who], LINK, messages, 0, 1400, False, net.now)
        b.drain()
        net.run(wait)
    assert len(b.layer.sessions) <= len(sources)
    assert len(b.layer._core.early) <= 256
    a.send(b, b"alive")
    net.run(0.1)
    assert b.received[-1] == b"alive"


plaintexts = st.one_of(
    st.binary(max_size=90),
    st.builds(
        lambda head, kind, flags, body: head + bytes([kind, flags]) + body,
        st.binary(min_size=4, max_size=4),
        st.integers(0x10, 0x15),
        st.integers(0, 255),
        st.binary(min_size=44, max_size=70),
    ),
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(plaintexts, st.integers(0, 2**63), st.floats(0, 3)), min_size=1, max_size=12))
def test_an_authentic_peer_may_send_whatever_it_likes(script: list[tuple[bytes, int, float]]) -> None:
    """Reports of nonsense, leaping counters, plaintexts of any shape: our own reports and timers keep working."""
    net, a, b = established()
    epoch = a.session(b).current
    assert epoch is not None
    for plaintext, leap, wait in script:
        epoch.send_counter = min(epoch.send_counter + leap % 2**61, 2**64 - 3)
        b.receive(a.address, epoch.seal(0, plaintext))
        net.run(wait)
    assert b.session(a).established
    net.run(5)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_damaged_and_shuffled_traffic_never_raises(seed: int) -> None:
    """Genuine messages of every kind, bits flipped, cut, repeated and in any order."""
    random = Random(seed)
    net, a, b = pair(seed=seed % 1000)
    genuine: list[tuple[bytes, bytes]] = []

    def record(source: Node, message: bytes) -> bool:
        genuine.append((source.address, message))
        return False

    net.lose = record
    a.send(b, b"one")
    b.send(a, b"two")
    net.run(40)
    for _ in range(200):
        source, message = random.choice(genuine)
        damaged = bytearray(message[: random.randint(0, len(message))] if random.random() < 0.3 else message)
        if damaged and random.random() < 0.7:
            damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
        target = b if source == a.address else a
        target.receive(source, bytes(damaged))
        net.run(random.choice([0, 0, 0, 0.5]))
    net.lose = lambda source, message: False
    net.run(35)
    a.send(b, b"alive")
    net.run(1)
    assert b.received[-1] == b"alive"


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.floats(0, 0.4))
def test_a_session_opens_through_any_loss_that_leaves_a_chance(seed: int, loss: float) -> None:
    random = Random(seed)
    net, a, b = pair(seed=seed % 1000)
    net.lose = lambda source, message: random.random() < loss
    for _ in range(45):
        a.send(b, b"x")
        net.run(1.0)
    assert b.received
    assert a.session(b).state is SessionState.ESTABLISHED
