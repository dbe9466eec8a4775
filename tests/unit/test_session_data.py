"""Established messages: ports, replay, key trial, coordinates, measurement, idleness, path MTU."""

from __future__ import annotations

from random import Random

import pytest

from meshnode.mesh.session import (
    CloseReason,
    Delivery,
    LookupWanted,
    PathMtuChanged,
    PendingExpired,
    Queued,
    Session,
    SessionClosed,
    SessionError,
    SessionNotReady,
)
from meshnode.mesh.settings import MeshSettings
from meshnode.noise import MAX_COUNTER, NONCE
from meshnode.wire import EncryptedMessage, parse_session_message
from meshnode.wire.session import CP, DATA_PACKET, PATH_MTU_NOTIFICATION, K

from .session_rig import PORT, Net, Node, established, exchange, pair


def sealed(a: Node, b: Node, *payloads: bytes, source: int = PORT, destination: int = PORT) -> list[bytes]:
    return a.layer.seal(b.address, source, destination, list(payloads), a.net.now)


def take(b: Node, a: Node, messages: list[bytes], path_mtu: int = 1400, ce: bool = False) -> list[Delivery]:
    """Hand over a run as it comes from the link layer: at an offset of each buffer."""
    buffers = [bytes(40) + message for message in messages]
    return b.layer.receive(a.address, a.address, buffers, 40, path_mtu, ce, b.net.now)


def contents(deliveries: list[Delivery]) -> list[bytes]:
    return [buffer[delivery.offset :] for delivery in deliveries for buffer in delivery.buffers]


def control(a: Node, b: Node, message_type: int, body: bytes) -> bytes:
    """A message of A's session layer to B's."""
    a.layer._core.send_inner(a.session(b), message_type, body, a.net.now)
    return a.layer.outbound.pop().payload


def message_type(receiver: Session, message: bytes) -> int:
    """What is inside a message to `receiver` under its current keys."""
    assert receiver.current is not None
    parsed = parse_session_message(message)
    assert isinstance(parsed, EncryptedMessage)
    return receiver.current.decrypt(NONCE.pack(parsed.header.counter), parsed.ciphertext, message[:12])[4]


@pytest.fixture
def two() -> tuple[Net, Node, Node]:
    return established()


def test_sealing_without_a_session_is_refused() -> None:
    _net, a, b = pair()
    with pytest.raises(SessionNotReady):
        sealed(a, b, b"x")
    a.open(b)
    with pytest.raises(SessionNotReady):
        sealed(a, b, b"x")


def test_a_run_arrives_as_one_delivery_in_order(two: tuple[Net, Node, Node]) -> None:
    _net, a, b = two
    payloads = [b"%d" % number for number in range(100)]
    (delivery,) = take(b, a, sealed(a, b, *payloads), ce=True)
    assert contents([delivery]) == payloads
    assert delivery.ce
    assert delivery.source == a.address


def test_ports_separate_deliveries_and_neighbours_of_one_flow_are_joined(two: tuple[Net, Node, Node]) -> None:
    _net, a, b = two
    messages = (
        sealed(a, b, b"1", b"2", destination=256)
        + sealed(a, b, b"3", source=7)
        + [control(a, b, 0x77, b"")]
        + sealed(a, b, b"4", source=7)
        + sealed(a, b, b"5", destination=256)
    )
    deliveries = take(b, a, messages)
    assert [(d.source_port, d.destination_port, contents([d])) for d in deliveries] == [
        (PORT, 256, [b"1", b"2"]),
        (7, PORT, [b"3", b"4"]),
        (PORT, 256, [b"5"]),
    ]


def test_counts_follow_the_data(two: tuple[Net, Node, Node]) -> None:
    _net, a, b = two
    before = a.session(b).packets_sent, a.session(b).bytes_sent, b.session(a).packets_received
    received = b.session(a).bytes_received
    take(b, a, sealed(a, b, b"12345", b"123"))
    assert a.session(b).packets_sent == before[0] + 2
    assert a.session(b).bytes_sent == before[1] + 8
    assert b.session(a).packets_received == before[2] + 2
    assert b.session(a).bytes_received == received + 8 + 2 * 4


@pytest.mark.parametrize("seed", range(8))
def test_any_order_with_repetitions_delivers_each_message_once(seed: int) -> None:
    _net, a, b = established()
    random = Random(seed)
    messages = sealed(a, b, *[b"%d" % number for number in range(300)])
    mixed = messages + random.sample(messages, 100)
    random.shuffle(mixed)
    got: list[bytes] = []
    while mixed:
        size = random.randint(1, 40)
        got += contents(take(b, a, mixed[:size]))
        del mixed[:size]
    assert sorted(got) == sorted(b"%d" % number for number in range(300))


def test_the_replay_window_is_2048_wide(two: tuple[Net, Node, Node]) -> None:
    _net, a, b = two
    messages = sealed(a, b, *[b"%d" % number for number in range(2050)])
    assert contents(take(b, a, messages[-1:])) == [b"2049"]
    assert contents(take(b, a, messages[:3])) == [b"2"]
    assert take(b, a, messages[2:3]) == []


def test_a_damaged_message_in_the_middle_costs_only_itself(two: tuple[Net, Node, Node]) -> None:
    _net, a, b = two
    messages = sealed(a, b, *[b"%d" % number for number in range(9)])
    messages[4] = messages[4][:-1] + bytes([messages[4][-1] ^ 1])
    assert contents(take(b, a, messages)) == [b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"8"]


@pytest.mark.parametrize("cut", [0, 1, 3, 4, 11, 12, 27, 28, 40])
def test_a_truncated_message_changes_nothing(two: tuple[Net, Node, Node], cut: int) -> None:
    _net, a, b = two
    (message,) = sealed(a, b, b"payload that is long enough")
    assert take(b, a, [message[:cut]]) == []
    assert contents(take(b, a, [message])) == [b"payload that is long enough"]


@pytest.mark.parametrize("change", [(0, 0x10), (1, 0x04), (1, 0x01), (2, 1), (4, 1), (12, 1)])
def test_every_cleartext_bit_is_judged(two: tuple[Net, Node, Node], change: tuple[int, int]) -> None:
    """Version, U, CP, length, counter, ciphertext: none can be altered on the way."""
    _net, a, b = two
    (message,) = sealed(a, b, b"payload")
    at, bit = change
    altered = message[:at] + bytes([message[at] ^ bit]) + message[at + 1 :]
    assert take(b, a, [altered]) == []


def test_all_living_keys_are_tried_whatever_the_k_bit_says() -> None:
    net, a, b = established()
    net.run(31)
    old = sealed(a, b, b"old")
    a.layer._rekeying.start(a.session(b), net.now)
    a.drain()
    net.run(1.0)
    assert b.session(a).pending is not None
    assert contents(take(b, a, old)) == [b"old"]
    older = sealed(a, b, b"old keys, wrong hint")
    a.layer._rekeying.promote(a.session(b), net.now)
    a.session(b).k = b.session(a).k
    new = sealed(a, b, b"new keys, wrong hint")
    assert not new[0][1] & K
    assert contents(take(b, a, new)) == [b"new keys, wrong hint"]
    assert b.session(a).previous is not None
    assert contents(take(b, a, older)) == [b"old keys, wrong hint"]
    assert contents(take(b, a, sealed(a, b, b"and on"))) == [b"and on"]


def test_messages_under_draining_keys_do_not_confuse_the_measurement() -> None:
    net, a, b = established()
    old = sealed(a, b, *[b"x"] * 50)
    net.run(31)
    a.layer._rekeying.start(a.session(b), net.now)
    a.drain()
    net.run(2.5)
    assert contents(take(b, a, old)) == [b"x"] * 50
    assert b.session(a).measurement.receiver.highest_counter < 10


def test_a_plaintext_without_an_inner_header_only_uses_up_its_counter(two: tuple[Net, Node, Node]) -> None:
    _net, a, b = two
    epoch = a.session(b).current
    assert epoch is not None
    short = [epoch.seal(0, bytes(size)) for size in range(6)]
    portless = [epoch.seal(0, bytes(4) + b"\x10\x00" + bytes(size)) for size in range(4)]
    before = b.session(a).packets_received, b.session(a).last_activity
    b.net.now += 1
    assert take(b, a, short + portless) == []
    assert (b.session(a).packets_received, b.session(a).last_activity) == before
    assert contents(take(b, a, sealed(a, b, b"next"))) == [b"next"]


def test_sealing_refuses_what_can_never_be_carried(two: tuple[Net, Node, Node]) -> None:
    _net, a, b = two
    epoch = a.session(b).current
    assert epoch is not None
    counter = epoch.send_counter
    with pytest.raises(SessionError):
        sealed(a, b, b"x", bytes(65510))
    assert epoch.send_counter == counter
    assert len(sealed(a, b, bytes(65509))) == 1
    epoch.send_counter = MAX_COUNTER
    assert len(sealed(a, b, b"last")) == 1
    with pytest.raises(SessionError):
        sealed(a, b, b"too many")
    a.session(b).warmup_remaining = 5
    with pytest.raises(SessionError):
        sealed(a, b, b"too many")


# Coordinates


def coordinate_flags(messages: list[bytes]) -> list[bool]:
    return [bool(message[1] & CP) for message in messages]


def test_the_first_five_data_messages_carry_coordinates() -> None:
    net, a, b = pair()
    a.open(b)
    net.run(0.1)
    assert coordinate_flags(sealed(a, b, *[b"x"] * 7)) == [True] * 5 + [False] * 2
    assert a.session(b).warmup_remaining == 0


def test_coordinates_count_once_their_message_has_authenticated() -> None:
    """They lie outside of what is sealed (spec 02 section 2.4), but whoever cannot seal teaches nothing."""
    net, a, b = pair()
    a.open(b)
    net.run(0.1)
    a.router.own_coordinates = [a.address, b"\7" * 16, bytes(16)]
    (message,) = sealed(a, b, b"x")
    known = dict(b.router.cache)
    assert take(b, a, [message[:-1] + bytes([message[-1] ^ 1])]) == []
    assert b.router.cache == known
    assert contents(take(b, a, [message])) == [b"x"]
    assert b.router.cache[a.address] == a.router.own_coordinates


def test_what_does_not_fit_beside_coordinates_is_preceded_by_a_warmup() -> None:
    net, a, b = pair()
    a.open(b)
    net.run(0.1)
    a.layer.transport_mtu = 1280
    room = 1280 - 110 - 2 * (2 + 32)
    messages = sealed(a, b, bytes(room), bytes(room + 1), bytes(room))
    assert coordinate_flags(messages) == [True, True, False, True]
    assert [len(message) for message in messages] == [1208, 102, 12 + 10 + 16 + room + 1, 1208]
    assert contents(take(b, a, messages)) == [bytes(room), bytes(room + 1), bytes(room)]
    assert a.session(b).warmup_remaining == 2


def test_unknown_coordinates_are_replaced_by_our_own() -> None:
    net, a, b = pair()
    a.open(b)
    net.run(0.1)
    a.router.cache.clear()
    parsed = parse_session_message(sealed(a, b, b"x")[0])
    assert isinstance(parsed, EncryptedMessage)
    assert parsed.source_coordinates == parsed.destination_coordinates == a.router.own_coordinates
    a.router.cache[b.address] = [b.address, bytes(16)]
    parsed = parse_session_message(sealed(a, b, b"x")[0])
    assert isinstance(parsed, EncryptedMessage)
    assert parsed.destination_coordinates == [b.address, bytes(16)]


def test_changed_coordinates_are_told_once_per_interval(two: tuple[Net, Node, Node]) -> None:
    net, a, _b = two
    a.router.own_coordinates = [a.address, b"\x01" * 16, bytes(16)]
    for _ in range(3):
        a.layer.coordinates_changed(net.now)
    a.drain()
    assert coordinate_flags([message for _to, message in a.sent]) == [True]
    a.sent.clear()
    net.run(4)
    assert sum(coordinate_flags([message for _to, message in a.sent])) == 1
    a.sent.clear()
    net.run(10)
    assert sum(coordinate_flags([message for _to, message in a.sent])) == 0


@pytest.mark.parametrize(("idle", "earliest", "latest"), [(0.0, 0.0, 0.0), (10.0, 1.0, 2.8)])
def test_a_lost_route_is_looked_for_at_once_only_by_sessions_in_use(
    two: tuple[Net, Node, Node], idle: float, earliest: float, latest: float
) -> None:
    """When a root dies all routes are lost at once; who has nothing to send lets the tree settle first."""
    net, a, b = two
    net.run(idle)
    a.router.routed = False
    begin, wanted = net.now, LookupWanted(b.address)
    a.layer.coordinates_changed(net.now)
    while wanted not in a.layer.events + a.events and net.now < begin + 5:
        net.run(0.1)
    assert earliest <= net.now - begin <= latest + 0.2


def test_a_lookup_that_succeeds_warms_the_path_again(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    a.layer.lookup_succeeded(b.address, net.now)
    assert coordinate_flags(sealed(a, b, *[b"x"] * 6)) == [True] * 5 + [False]


def test_reports_never_carry_coordinates() -> None:
    net, a, b = pair()
    a.open(b)
    net.run(0.1)
    before = len(a.sent)
    a.layer.tick(net.now)
    a.drain()
    assert len(a.sent) > before
    assert coordinate_flags([message for _to, message in a.sent[before:]]) == [False] * (len(a.sent) - before)


def test_broken_coordinates_spoil_the_message(two: tuple[Net, Node, Node]) -> None:
    _net, a, b = two
    a.session(b).warmup_remaining = 1
    (message,) = sealed(a, b, b"x")
    assert take(b, a, [message[:12] + b"\xff\xff" + message[14:]]) == []
    assert contents(take(b, a, [message])) == [b"x"]


# Measurement and path MTU


def test_reports_give_both_sides_a_round_trip_time(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    for _ in range(30):
        assert exchange(net, a, b)
        net.run(0.1)
    for node, other in ((a, b), (b, a)):
        srtt = node.session(other).measurement.srtt_ms
        assert srtt is not None
        assert 15 < srtt < 30


def test_the_spin_bit_goes_into_the_inner_header(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    bits = set()
    for _ in range(20):
        exchange(net, a, b)
        bits.add(a.session(b).measurement.spin_bit)
    assert bits == {0, 1}


def test_the_congestion_mark_is_counted(two: tuple[Net, Node, Node]) -> None:
    _net, a, b = two
    take(b, a, sealed(a, b, b"1", b"2", b"3"), ce=True)
    take(b, a, sealed(a, b, b"4"))
    assert b.session(a).measurement.ecn_ce_count == 3


def test_the_receiver_tells_the_path_mtu_and_the_sender_takes_it(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    take(b, a, sealed(a, b, b"x"), path_mtu=1300)
    net.run(3)
    assert a.session(b).path_mtu.current == 1300
    assert PathMtuChanged(b.address, 1300) in a.events


def test_a_path_mtu_below_the_floor_is_not_believed(two: tuple[Net, Node, Node]) -> None:
    _net, a, b = two
    before = b.session(a).path_mtu.current
    take(b, a, [control(a, b, 0x13, b"\xff\x00"), control(a, b, 0x13, b"\x00")])
    assert b.session(a).path_mtu.current == before
    assert b.layer.errors.path_mtu_notif_below_floor == 1


def test_the_first_hop_bounds_the_path_mtu(two: tuple[Net, Node, Node]) -> None:
    _net, a, b = two
    a.layer.first_hop_mtu(b.address, 1311)
    a.layer.first_hop_mtu(b.address, 1500)
    a.layer.first_hop_mtu(bytes(16), 500)
    assert a.session(b).path_mtu.current == 1311


def test_malformed_reports_and_unknown_types_are_ignored(two: tuple[Net, Node, Node]) -> None:
    _net, a, b = two
    messages = [control(a, b, kind, bytes(size)) for kind in (0x11, 0x12, 0x13, 0x14, 0x15, 0xFF) for size in (0, 1, 9)]
    assert take(b, a, messages) == []
    assert contents(take(b, a, sealed(a, b, b"fine"))) == [b"fine"]


@pytest.mark.parametrize(("mode", "kinds"), [("full", {0x11, 0x12}), ("lightweight", {0x12}), ("minimal", set())])
def test_the_mode_decides_which_reports_are_sent(mode: str, kinds: set[int]) -> None:
    settings = MeshSettings()
    settings.session_mmp.mode = mode  # type: ignore[assignment]
    net, a, b = established(settings)
    for _ in range(5):
        exchange(net, a, b)
        net.run(1)
    seen = {message_type(b.session(a), message) for _to, message in a.sent}
    assert seen - {DATA_PACKET, PATH_MTU_NOTIFICATION} == kinds
    assert PATH_MTU_NOTIFICATION in seen


# Idleness and queues


def test_a_session_without_data_ends_after_ninety_seconds_despite_reports(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    net.run(89)
    assert a.layer.sessions
    net.run(4)
    assert a.layer.sessions == b.layer.sessions == {}
    assert a.events[-1] == SessionClosed(b.address, CloseReason.IDLE)


def test_data_in_either_direction_keeps_both_ends(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    for _ in range(4):
        net.run(60)
        a.send(b, b"x")
    assert a.layer.sessions
    assert b.layer.sessions


def test_an_idle_timeout_of_zero_means_never() -> None:
    settings = MeshSettings()
    settings.session.idle_timeout_secs = 0
    net, a, b = established(settings)
    net.run(300)
    assert exchange(net, a, b)


def test_removal_by_the_link_layer_is_silent(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    before = len(a.sent)
    a.layer.remove(b.address, CloseReason.PEER_REMOVED)
    a.layer.remove(b.address, CloseReason.PEER_REMOVED)
    a.drain()
    assert len(a.sent) == before
    assert a.events[-1] == SessionClosed(b.address, CloseReason.PEER_REMOVED)
    net.run(1)
    a.send(b, b"again")
    net.run(0.1)
    assert b.received[-1] == b"again"


def test_queues_are_bounded_aged_and_handed_back() -> None:
    net, a, b = pair()
    for number in range(20):
        assert a.layer.queue(b.address, Queued(256, 256, b"%d" % number, b"packet"), net.now)
    assert a.layer.queue(b.address, Queued(1, 2, b"native"), net.now)
    items = a.layer.take(b.address)
    assert [item.payload for item in items] == [b"%d" % number for number in range(4, 20)] + [b"native"]
    a.layer.queue(b.address, Queued(256, 256, b"late", b"packet"), net.now)
    net.run(14)
    assert a.events == []
    net.run(2)
    assert a.events == [PendingExpired(b.address, [Queued(256, 256, b"late", b"packet")])]


def test_a_lookup_that_succeeds_opens_for_waiting_packets_only() -> None:
    net, a, b = pair()
    a.layer.lookup_succeeded(b.address, net.now)
    a.layer.queue(b.address, Queued(256, 256, b"x", b"packet"), net.now)
    a.layer.lookup_succeeded(b.address, net.now)
    assert a.layer.sessions == {}
    a.layer.identities.insert(b.identity.peer, net.now)
    a.layer.lookup_succeeded(b.address, net.now)
    a.drain()
    net.run(0.1)
    assert b.received == [b"x"]


def test_a_lost_route_asks_for_another_and_the_next_sign_of_life_releases_the_queue(
    two: tuple[Net, Node, Node],
) -> None:
    net, a, b = two
    a.router.cache[b.address] = [b.address, bytes(16)]
    for _ in range(5):
        a.layer.route_lost(b.address, net.now)
    a.layer.queue(b.address, Queued(PORT, PORT, b"waited", b"packet"), net.now)
    a.drain()
    assert b.address not in a.router.cache
    assert a.events.count(LookupWanted(b.address)) == 1
    assert a.session(b).warmup_remaining == 5
    b.send(a, b"sign of life")
    net.run(0.1)
    assert b.received == [b"waited"]


def test_a_handshake_whose_way_is_lost_looks_for_another(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    a.layer.remove(b.address, CloseReason.IDLE)
    a.layer.open(b.identity.peer, net.now)
    a.drain()
    for _ in range(5):
        a.layer.route_lost(b.address, net.now)
    a.drain()
    assert a.events.count(LookupWanted(b.address)) == 1
