"""The BLE transport between devices on a fake air: connections, keys, the choice of channels, limits, lost radios."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from meshnode.transports.ble.hello import HELLO_TIMEOUT, encode_hello
from meshnode.transports.ble.radio import RadioError, RadioStatus
from meshnode.transports.ble.settings import BleSettings
from meshnode.transports.ble.transport import ADOPT_SECS, BleTransport
from meshnode.transports.interfaces import IConnectionTransport, TransportError
from tests.unit.ble_rig import LARGE, LARGE_DEVICE, SMALL, SMALL_DEVICE, FakeAir, HandReactor, Pair, Station
from tests.unit.udp_rig import log_lines

STRANGER = "BB:00:00:00:00:01"


def lone(**settings: object) -> Station:
    return Station(FakeAir(HandReactor()), SMALL, SMALL_DEVICE, **settings).up()  # type: ignore[arg-type]


# -- connecting and carrying


def test_a_connection_carries_frames_both_ways_with_their_bounds() -> None:
    pair = Pair()
    pair.small.connect(pair.large)
    assert pair.small.node.take_events() == [("connected", pair.large.address)]
    assert pair.large.node.take_events() == []
    frames = [bytes([number]) * (1 + number * 13) for number in range(150)]
    pair.small.transport.send(pair.large.address, frames)
    pair.large.transport.send(pair.small.address, [b"answer"])
    pair.reactor.settle()
    assert pair.large.node.frames == [(pair.small.address, frame) for frame in frames]
    assert pair.small.node.frames == [(pair.large.address, b"answer")]
    assert pair.small.counter("bytes_sent") == pair.large.counter("bytes_recv") == sum(map(len, frames))


def test_a_channel_that_the_other_side_opened_serves_for_connecting() -> None:
    pair = Pair()
    pair.small.connect(pair.large)
    pair.large.connect(pair.small)
    assert pair.large.node.take_events() == [("connected", pair.small.address)]
    assert pair.large.radio.dials == []
    assert pair.large.transport.is_inbound(pair.small.address)
    assert not pair.small.transport.is_inbound(pair.large.address)


def test_the_node_may_spell_an_address_as_it_likes() -> None:
    pair = Pair()
    spelt = f"hci7/{LARGE_DEVICE.lower()}"
    assert pair.small.transport.can_dial(spelt)
    pair.small.transport.connect(spelt)
    pair.reactor.settle()
    assert pair.small.node.take_events() == [("connected", spelt)]
    pair.large.transport.send(pair.small.address, [b"hello"])
    pair.reactor.settle()
    assert pair.small.node.frames == [(spelt, b"hello")]
    assert pair.small.transport.connections() == [spelt]


@pytest.mark.parametrize("address", ["hci0", "hci0/AA:BB", "hci0/AA:BB:CC:DD:EE:GG", "127.0.0.1:2121", ""])
def test_what_is_no_device_address_cannot_be_dialled(address: str) -> None:
    station = lone()
    assert not station.transport.can_dial(address)
    station.transport.connect(address)
    station.air.reactor.settle()
    ((what, where, cause),) = station.node.take_events()
    assert (what, where) == ("failed", address)
    assert "write it as hci0/AA:BB:CC:DD:EE:FF" in cause


def test_a_refused_dial_is_told_with_its_cause_and_never_from_within_connect() -> None:
    pair = Pair()
    pair.large.transport.stop()
    pair.small.transport.connect(pair.large.address)
    assert pair.small.node.take_events() == []
    pair.reactor.settle()
    assert pair.small.node.take_events() == [("failed", pair.large.address, "Connection refused")]


def test_a_dial_without_answer_ends_in_time() -> None:
    pair = Pair(small={"connect_timeout_ms": 3000})
    pair.large.radio.answers = False
    pair.small.connect(pair.large)
    pair.reactor.pass_time(2.5)
    assert pair.small.node.take_events() == []
    pair.reactor.pass_time(1)
    assert pair.small.node.take_events() == [("failed", pair.large.address, "no answer within 3 s")]
    assert pair.small.counter("connect_timeouts") == 1


def test_disconnect_lets_what_was_sent_leave_and_tells_only_the_other_side() -> None:
    pair = Pair()
    pair.small.connect(pair.large)
    pair.small.node.take_events()
    pair.small.transport.send(pair.large.address, [b"goodbye"])
    pair.small.transport.disconnect(pair.large.address)
    pair.reactor.settle()
    assert pair.large.node.frames == [(pair.small.address, b"goodbye")]
    assert pair.large.node.take_events() == [("lost", pair.small.address, "closed by the other side", "accepted")]
    assert pair.small.node.take_events() == []
    assert not pair.small.transport.is_connected(pair.large.address)


def test_a_lost_channel_is_told_to_the_side_that_opened_it() -> None:
    pair = Pair()
    pair.small.connect(pair.large)
    pair.small.node.take_events()
    pair.large.transport.disconnect(pair.small.address)
    pair.reactor.settle()
    assert pair.small.node.take_events() == [("lost", pair.large.address, "closed by the other side", "dialled")]
    pair.small.connect(pair.large)
    assert pair.small.node.take_events() == [("connected", pair.large.address)]


def test_frames_without_a_connection_are_counted_and_dial_nobody() -> None:
    pair = Pair()
    pair.small.transport.send(pair.large.address, [b"one", b"two"])
    assert pair.small.counter("send_errors") == 2
    assert pair.small.radio.dials == []


# -- sizes


def test_a_channel_carries_what_both_ends_take_and_the_node_is_told() -> None:
    pair = Pair(large={"mtu": 600})
    pair.small.connect(pair.large)
    assert pair.small.node.take_events() == [("mtu", pair.large.address), ("connected", pair.large.address)]
    assert pair.small.transport.link_mtu(pair.large.address) == 600
    assert pair.small.transport.link_mtu("hci0/BB:00:00:00:00:09") == 2048
    pair.small.transport.send(pair.large.address, [bytes(600), bytes(601)])
    pair.reactor.settle()
    assert [len(frame) for _address, frame in pair.large.node.frames] == [600]
    assert pair.small.counter("mtu_exceeded") == 1


def test_a_slow_peer_costs_a_bounded_queue_and_whole_frames() -> None:
    pair = Pair()
    pair.small.connect(pair.large)
    frame = bytes(2000)
    pair.small.transport.send(pair.large.address, [frame] * 2000)
    dropped = pair.small.counter("send_errors")
    assert dropped > 0
    pair.reactor.settle()
    assert len(pair.large.node.frames) == 2000 - dropped
    assert {len(frame) for _address, frame in pair.large.node.frames} == {2000}
    assert pair.small.counter("packets_sent") == 2000 - dropped


def test_an_mtu_below_a_handshake_is_refused_at_the_start() -> None:
    station = Station(FakeAir(HandReactor()), SMALL, SMALL_DEVICE, mtu=100)
    with pytest.raises(TransportError, match="ble mtu 100 is too small; write 114 or more"):
        station.transport.start()


# -- the exchange of keys


BAD_HELLOS: list[tuple[bytes, str]] = [
    (b"\x00" * 32, "a hello of 32 bytes instead of 33"),
    (encode_hello(LARGE.peer) + b"\x00", "a hello of 34 bytes instead of 33"),
    (b"\x01" + LARGE.peer.xonly, "a hello that starts with 01 instead of 00"),
    (b"\x00" + b"\xff" * 32, "not a point of the curve"),
    (b"\x00" + SMALL.peer.xonly, "this device has our own key"),
]


@pytest.mark.parametrize(("hello", "cause"), BAD_HELLOS)
def test_a_channel_without_a_proper_hello_is_closed_and_named(hello: bytes, cause: str) -> None:
    station = lone()
    stranger = station.radio.arrive()
    with log_lines() as lines:
        stranger.send(hello)
        station.air.reactor.settle()
    assert stranger.recv(100) == encode_hello(SMALL.peer)
    assert stranger.recv(100) == b""
    assert station.counter("connections_rejected") == 1
    (line,) = lines
    assert line.startswith(f"ble refuses {STRANGER}:")
    assert cause in line
    stranger.close()


def test_a_silent_stranger_is_closed_and_keeps_nobody_waiting() -> None:
    pair = Pair()
    stranger = pair.large.radio.arrive()
    pair.small.connect(pair.large)
    assert pair.small.node.take_events() == [("connected", pair.large.address)]
    pair.reactor.pass_time(HELLO_TIMEOUT)
    stranger.recv(100)
    assert stranger.recv(100) == b""
    stranger.close()


def test_a_dial_to_somebody_without_hello_fails() -> None:
    pair = Pair()
    pair.large.radio.user = Mute()
    pair.small.connect(pair.large)
    pair.reactor.pass_time(HELLO_TIMEOUT)
    assert pair.small.node.take_events() == [("failed", pair.large.address, "no hello within 5 s")]


class Mute:
    """Takes channels and says nothing."""

    def __init__(self) -> None:
        self.channels: list[object] = []
        self.channel_accepted: Callable[[object], None] = self.channels.append


def test_frames_right_behind_the_hello_arrive() -> None:
    station = lone()
    stranger = station.radio.arrive()
    stranger.send(encode_hello(LARGE.peer))
    stranger.send(b"\x01first frame")
    station.air.reactor.settle()
    assert station.node.frames == [(f"hci0/{STRANGER}", b"\x01first frame")]
    stranger.close()


# -- which of two channels stays


def both_dial(pair: Pair) -> None:
    """Both sides open a channel before either has heard of the other's."""
    pair.small.transport.connect(pair.large.address)
    pair.large.transport.connect(pair.small.address)
    pair.reactor.settle()


def test_of_crossing_dials_the_smaller_nodes_channel_stays_and_both_are_connected() -> None:
    pair = Pair()
    both_dial(pair)
    assert pair.small.node.take_events() == [("connected", pair.large.address)]
    assert ("connected", pair.small.address) in pair.large.node.take_events()
    assert not pair.small.transport.is_inbound(pair.large.address)
    assert pair.large.transport.is_inbound(pair.small.address)
    pair.small.transport.send(pair.large.address, [b"there"])
    pair.large.transport.send(pair.small.address, [b"back"])
    pair.reactor.settle()
    assert (pair.small.address, b"there") in pair.large.node.frames
    assert (pair.large.address, b"back") in pair.small.node.frames


def test_a_listener_with_the_smaller_address_keeps_what_it_gets() -> None:
    pair = Pair(small={"scan": False})
    pair.large.connect(pair.small)
    assert pair.large.node.take_events() == [("connected", pair.small.address)]
    assert pair.small.transport.is_inbound(pair.large.address)


def test_a_second_channel_from_the_same_device_is_closed_without_a_word() -> None:
    pair = Pair()
    pair.small.connect(pair.large)
    second = pair.large.radio.arrive(SMALL_DEVICE)
    pair.reactor.settle()
    assert second.recv(100) == b""
    assert pair.large.transport.connections() == [pair.small.address]
    second.close()


# -- limits


def test_no_more_connections_than_allowed() -> None:
    pair = Pair(small={"max_connections": 1})
    stranger = pair.small.radio.arrive()
    pair.small.connect(pair.large)
    ((what, _address, cause),) = pair.small.node.take_events()
    assert (what, cause) == ("failed", "all 1 connections of this radio are in use (max_connections)")
    second = pair.small.radio.arrive("BB:00:00:00:00:02")
    assert second.recv(100) == b""
    assert pair.small.counter("connections_rejected") == 1
    for sock in (stranger, second):
        sock.close()


# -- finding others


def test_a_device_that_is_heard_is_asked_who_it_is_and_told_to_the_node() -> None:
    pair = Pair(small={"auto_connect": True})
    pair.small.transport.device_found(LARGE_DEVICE)
    pair.reactor.settle()
    assert pair.small.node.take_events() == [("neighbour", pair.large.address, LARGE.peer.xonly.hex())]
    assert pair.small.counter("scan_results") == 1
    pair.small.transport.device_found(LARGE_DEVICE)
    pair.reactor.settle()
    assert pair.small.radio.dials == [LARGE_DEVICE]


def test_without_auto_connect_nobody_is_probed() -> None:
    pair = Pair()
    pair.small.transport.device_found(LARGE_DEVICE)
    pair.reactor.settle()
    assert pair.small.radio.dials == []
    assert pair.small.counter("scan_results") == 1


def test_a_device_that_does_not_answer_is_probed_once_per_cooldown() -> None:
    pair = Pair(small={"auto_connect": True, "connect_timeout_ms": 2000})
    pair.large.radio.answers = False
    for _ in range(5):
        pair.small.transport.device_found(LARGE_DEVICE)
        pair.reactor.pass_time(5)
    assert pair.small.radio.dials == [LARGE_DEVICE]
    pair.reactor.pass_time(6)
    assert pair.small.radio.dials == [LARGE_DEVICE] * 2


def test_a_lost_neighbour_is_probed_again_although_the_radio_does_not_tell_of_it_again() -> None:
    pair = Pair(small={"auto_connect": True})
    pair.small.transport.device_found(LARGE_DEVICE)
    pair.reactor.settle()
    pair.large.transport.disconnect(pair.small.address)
    pair.reactor.settle()
    pair.small.node.take_events()
    pair.reactor.pass_time(31)
    assert pair.small.node.take_events() == [("neighbour", pair.large.address, LARGE.peer.xonly.hex())]


def test_whoever_came_to_us_and_says_nothing_is_dialled_over_the_same_channel() -> None:
    pair = Pair(large={"auto_connect": True})
    pair.small.connect(pair.large)
    assert pair.large.node.take_events() == []
    pair.reactor.pass_time(ADOPT_SECS)
    assert pair.large.node.take_events() == [("neighbour", pair.small.address, SMALL.peer.xonly.hex())]


def test_whoever_came_to_us_and_speaks_is_left_to_it() -> None:
    pair = Pair(large={"auto_connect": True})
    pair.small.connect(pair.large)
    pair.small.transport.send(pair.large.address, [b"\x01hello"])
    pair.reactor.pass_time(ADOPT_SECS + 1)
    assert pair.large.node.take_events() == []


# -- the radio comes and goes


def test_a_missing_radio_is_told_once_and_waited_for() -> None:
    station = Station(FakeAir(HandReactor()), SMALL, SMALL_DEVICE)
    station.radio.trouble = RadioError("BlueZ is not running: systemctl start bluetooth")
    with log_lines() as lines:
        station.transport.start()
        station.air.reactor.pass_time(20)
    assert lines == ["ble waits for its radio: BlueZ is not running: systemctl start bluetooth"]
    assert station.transport.state == "starting"
    assert not station.transport.can_dial("hci0/AA:BB:CC:DD:EE:FF")
    station.radio.trouble = None
    station.air.reactor.pass_time(30)
    assert station.transport.state == "up"
    assert station.node.take_events() == [("up", f"{station.address}, mtu 2048")]
    assert station.transport.local_address == station.address


def test_what_cannot_be_helped_is_told_and_not_tried_again() -> None:
    station = Station(FakeAir(HandReactor()), SMALL, SMALL_DEVICE)
    station.radio.trouble = RadioError("this kernel has no Bluetooth sockets", permanent=True)
    station.transport.start()
    station.air.reactor.pass_time(60)
    assert station.node.take_events() == [("failed", "this kernel has no Bluetooth sockets")]
    assert station.radio.opened == 1


def test_a_lost_radio_ends_its_connections_and_comes_back() -> None:
    pair = Pair()
    pair.small.connect(pair.large)
    pair.small.node.take_events()
    pair.small.radio.lose("Bluetooth adapter hci0 was removed")
    reason = "Bluetooth adapter hci0 was removed"
    assert pair.small.node.take_events() == [("lost", pair.large.address, reason, "dialled"), ("down", reason)]
    assert pair.small.transport.local_address is None
    pair.reactor.pass_time(2)
    assert [event[0] for event in pair.small.node.take_events()] == ["up"]
    pair.small.connect(pair.large)
    assert pair.small.node.take_events() == [("connected", pair.large.address)]


def test_a_lost_radio_ends_dials_with_the_cause() -> None:
    pair = Pair()
    pair.large.radio.answers = False
    pair.small.connect(pair.large)
    pair.small.radio.lose("gone")
    assert ("failed", pair.large.address, "gone") in pair.small.node.take_events()


@pytest.mark.parametrize("when", ["dialling", "greeting", "connected", "waiting"])
def test_stopping_leaves_nothing_behind(when: str) -> None:
    pair = Pair(small={"auto_connect": True})
    if when == "waiting":
        pair.small.radio.trouble = RadioError("not now")
        pair.small.radio.lose("gone")
    else:
        pair.large.radio.answers = when != "dialling"
        pair.small.transport.connect(pair.large.address)
        if when == "connected":
            pair.reactor.settle()
    pair.small.transport.stop()
    pair.large.transport.stop()
    pair.reactor.settle()
    assert pair.small.transport.state == "down"
    assert not pair.reactor.readers
    assert not pair.reactor.writers
    assert not pair.reactor.getDelayedCalls()


@pytest.mark.parametrize("outcome", [RadioStatus(SMALL_DEVICE, True), Failure(RadioError("too late"))])
def test_a_radio_that_answers_after_the_stop_is_left_alone(outcome: RadioStatus | Failure) -> None:
    station = Station(FakeAir(HandReactor()), SMALL, SMALL_DEVICE)
    opening = station.radio.opening = Deferred()
    station.transport.start()
    station.transport.stop()
    opening.callback(outcome)
    station.air.reactor.pass_time(60)
    assert station.transport.state == "down"
    assert station.node.take_events() == []
    assert not station.air.reactor.getDelayedCalls()


def test_a_radio_nobody_provides_fails_the_start() -> None:
    reactor = HandReactor()
    transport = BleTransport(1, None, BleSettings(adapter="usb:0"), lone().node, reactor)
    with pytest.raises(TransportError, match="no installed package provides a radio called 'usb'"):
        transport.start()
    assert transport.state == "failed"


def test_it_is_a_connection_transport() -> None:
    assert IConnectionTransport.providedBy(lone().transport)
