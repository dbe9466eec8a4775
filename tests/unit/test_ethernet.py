"""The life of an Ethernet transport, and what it does with frames, on a wire without a network."""

from __future__ import annotations

import errno
from types import SimpleNamespace

import pytest
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from meshnode.transports.ethernet import BURST_FRAMES, RETRY_SECS, EthernetSettings, EthernetTransport
from meshnode.transports.interfaces import ITransport, TransportError
from meshnode.transports.mac_addresses import Stations, parse_mac
from meshnode.transports.registry import factory
from meshnode.transports.send_queue import QUEUE_FRAMES
from meshnode.wire.ethernet import enclose
from tests.unit.ethernet_rig import OTHER, OTHER_TEXT, PEER, PEER_TEXT, US_TEXT, EthernetRig
from tests.unit.udp_rig import RecordingHost, StillReactor, log_lines

# -- starting and stopping --------------------------------------------------------------------------------------------


def test_it_provides_the_interfaces_it_claims() -> None:
    transport = EthernetRig().transport
    verifyObject(ITransport, transport)
    verifyObject(IReadDescriptor, transport)


def test_started_it_is_up_with_the_mtu_of_the_interface_less_its_header() -> None:
    rig = EthernetRig()
    transport = rig.transport
    assert (transport.state, transport.local_address, transport.mtu) == ("up", US_TEXT, 1497)
    assert transport in rig.reactor.readers
    assert transport.fileno() == rig.port.fileno()


def test_before_the_start_it_sends_nothing() -> None:
    rig = EthernetRig(start=False)
    assert (rig.transport.state, rig.transport.local_address, rig.transport.fileno()) == ("configured", None, -1)
    rig.emit(PEER_TEXT, [b"frame"])
    assert rig.counter("send_errors") == 1
    assert not rig.transport.can_dial(PEER_TEXT)


def test_a_second_start_is_refused() -> None:
    with pytest.raises(TransportError, match="already started"):
        EthernetRig().transport.start()


def test_stopping_sends_what_is_queued_then_closes_everything() -> None:
    rig = EthernetRig(announce=True)
    port = rig.port
    rig.transport.send(PEER_TEXT, [b"goodbye"])
    rig.transport.stop()
    assert rig.data == [(PEER, b"goodbye")]
    assert port.closed
    assert rig.feed.closed
    assert rig.reactor.readers == set()
    assert rig.reactor.getDelayedCalls() == []
    assert (rig.transport.state, rig.transport.local_address) == ("down", None)
    rig.transport.stop()
    rig.transport.start()
    assert rig.transport.state == "up"


def test_without_the_right_to_it_the_start_fails_with_one_line() -> None:
    rig = EthernetRig(start=False)
    rig.wire.refusal = errno.EPERM
    with pytest.raises(TransportError, match="ethernet eth0: not permitted; raw Ethernet needs root or CAP_NET_RAW"):
        rig.transport.start()
    assert rig.transport.state == "failed"
    assert rig.reactor.readers == set()


def test_without_netlink_the_start_fails_with_one_line() -> None:
    rig = EthernetRig(start=False)
    rig.wire.links_refusal = errno.EAFNOSUPPORT
    with pytest.raises(TransportError, match="ethernet eth0: this system has no packet sockets"):
        rig.transport.start()
    assert rig.transport.state == "failed"


@pytest.mark.parametrize(
    ("interface_mtu", "configured", "usable"),
    [(1500, None, 1497), (1300, 1400, 1297), (9000, None, 8997), (9000, 1400, 1400), (65536, None, 65532)],
)
def test_the_mtu_is_never_more_than_the_interface_takes(
    interface_mtu: int, configured: int | None, usable: int
) -> None:
    rig = EthernetRig(plugged=False, start=False, mtu=configured)
    rig.wire.plug("eth0", mtu=interface_mtu)
    rig.transport.start()
    assert rig.transport.mtu == rig.transport.link_mtu(PEER_TEXT) == usable


def test_it_accepts_strangers_only_when_told_to() -> None:
    assert not EthernetRig().transport.accepts_connections
    assert EthernetRig(accept_connections=True).transport.accepts_connections


def test_the_registry_makes_it_from_a_section() -> None:
    section = SimpleNamespace(interface="wan", mtu=None, beacon_interval_secs=20, announce=True)
    made = factory("ethernet").create(2, "w", section, RecordingHost(), StillReactor())
    assert isinstance(made, EthernetTransport)
    assert EthernetSettings.from_section(section) == EthernetSettings("wan", announce=True, beacon_interval_secs=20)


def test_a_descriptor_the_reactor_gave_up_is_opened_again() -> None:
    rig = EthernetRig()
    rig.transport.connectionLost(Failure(OSError("gone")))
    assert rig.host.events == [("state", "down", "gone")]
    rig.reactor.advance(RETRY_SECS)
    assert rig.transport.state == "up"
    assert rig.host.events[-1] == ("state", "up", "interface eth0 is there")


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        (PEER_TEXT, True),
        ("eth0/AA:BB:CC:DD:EE:F0", True),
        ("eth0/2:0:0:0:0:9", True),
        ("eth1/02:00:00:00:00:09", False),
        ("02:00:00:00:00:09", False),
        (US_TEXT, False),
        ("eth0/ff:ff:ff:ff:ff:ff", False),
        ("eth0/01:00:5e:00:00:01", False),
        ("eth0/00:00:00:00:00:00", False),
        ("eth0/02:00:00:00:00", False),
        ("eth0/02:00:00:00:00:0g", False),
        ("eth0/", False),
        ("", False),
    ],
)
def test_it_dials_single_stations_on_its_interface(text: str, possible: bool) -> None:
    assert EthernetRig().transport.can_dial(text) is possible


@pytest.mark.parametrize(
    "text", ["1:2:3:4:5", "1:2:3:4:5:6:7", "111:2:3:4:5:6", "1-2-3-4-5-6", ":::::", "1:2:3:4:5:6\n"]
)
def test_what_is_no_mac_address_is_none(text: str) -> None:
    assert parse_mac(text) is None


def test_a_flood_of_senders_is_forgotten() -> None:
    stations = Stations("eth0")
    for number in range(10_000):
        stations.text_of(b"\x02\x00" + number.to_bytes(4, "big"))
    assert len(stations.texts) < 5000
    assert len(stations.macs) < 5000


# -- sending ----------------------------------------------------------------------------------------------------------


def test_a_batch_leaves_in_one_call_each_frame_behind_its_length() -> None:
    rig = EthernetRig()
    rig.emit(PEER_TEXT, [b"one", b"three", b"x" * 1497])
    assert rig.port.calls == 1
    assert [payload for _mac, payload in rig.port.sent] == [b"\0\3\0one", b"\0\5\0three", b"\0\xd9\5" + b"x" * 1497]
    assert rig.counter("frames_sent") == 3
    assert rig.counter("bytes_sent") == 6 + 8 + 1500


def test_more_than_the_socket_takes_at_once_leaves_in_several_calls_in_order() -> None:
    rig = EthernetRig()
    rig.port.batch = 7
    frames = [bytes([number]) * (1 + number % 3) for number in range(40)]
    rig.emit(PEER_TEXT, frames)
    assert rig.data == [(PEER, frame) for frame in frames]
    assert rig.port.calls == 6


def test_frames_to_several_stations_go_each_to_its_own() -> None:
    rig = EthernetRig()
    rig.transport.send(PEER_TEXT, [b"a"])
    rig.transport.send(OTHER_TEXT, [b"b"])
    rig.transport.send(PEER_TEXT, [b"c"])
    assert rig.data == []
    rig.transport.flush()
    assert rig.data == [(PEER, b"a"), (PEER, b"c"), (OTHER, b"b")]


def test_frames_beyond_the_mtu_are_counted_and_the_rest_goes() -> None:
    rig = EthernetRig()
    rig.emit(PEER_TEXT, [b"x" * 1498, b"fits"])
    assert rig.data == [(PEER, b"fits")]
    assert rig.counter("frames_too_long") == 1


def test_a_full_socket_drops_the_rest_and_counts_it() -> None:
    rig = EthernetRig()
    rig.port.failures.extend([0, errno.ENOBUFS])
    rig.transport.send(PEER_TEXT, [b"a", b"b", b"c"])
    rig.transport.send(OTHER_TEXT, [b"d"])
    with log_lines() as lines:
        rig.transport.flush()
    assert rig.data == [(PEER, b"a")]
    assert rig.counter("send_errors") == 3
    assert lines == []


def test_one_refused_frame_does_not_take_the_others_along() -> None:
    rig = EthernetRig()
    rig.port.failures.extend([0, errno.EINVAL])
    with log_lines() as lines:
        rig.emit(PEER_TEXT, [b"a", b"b", b"c"])
    assert rig.data == [(PEER, b"a"), (PEER, b"c")]
    assert rig.counter("send_errors") == 1
    assert lines == [f"ethernet cannot send to {PEER_TEXT}: Invalid argument"]


def test_an_interface_that_is_gone_drops_everything_with_one_line() -> None:
    rig = EthernetRig()
    rig.port.failures.append(errno.ENXIO)
    with log_lines() as lines:
        rig.emit(PEER_TEXT, [b"a", b"b"])
    assert rig.counter("send_errors") == 2
    assert len(lines) == 1


def test_a_queue_that_is_never_flushed_flushes_itself() -> None:
    rig = EthernetRig()
    rig.transport.send(PEER_TEXT, [b"x"] * QUEUE_FRAMES)
    assert len(rig.data) == QUEUE_FRAMES


def test_an_address_that_is_none_is_counted() -> None:
    rig = EthernetRig()
    rig.emit("eth0/nobody", [b"a"])
    rig.emit(PEER_TEXT, [])
    assert rig.counter("send_errors") == 1
    assert rig.data == []


# -- receiving --------------------------------------------------------------------------------------------------------


def test_a_burst_goes_up_station_by_station_and_ends() -> None:
    rig = EthernetRig()
    for frame, mac in ((b"a", PEER), (b"b", PEER), (b"c", OTHER), (b"d", PEER)):
        rig.port.arrive(enclose([frame]), mac)
    rig.transport.doRead()
    assert rig.host.calls == [(PEER_TEXT, [b"a", b"b"]), (OTHER_TEXT, [b"c"]), (PEER_TEXT, [b"d"]), None]
    assert rig.counter("frames_recv") == 4
    assert rig.counter("bytes_recv") == 16


def test_one_burst_is_bounded() -> None:
    rig = EthernetRig()
    for _ in range(3 * BURST_FRAMES):
        rig.port.arrive(enclose([b"frame"]), PEER)
    rig.transport.doRead()
    assert len(rig.host.frames) == BURST_FRAMES
    assert rig.host.bursts == 1


def test_a_station_is_named_by_numbers_whatever_letters_they_spell() -> None:
    """Spec 04, section 1.1: the reference shows these six bytes as a word."""
    rig = EthernetRig()
    rig.arrive(b"frame", mac=b"beacon")
    assert rig.host.runs == [("eth0/62:65:61:63:6f:6e", [b"frame"])]


def test_what_lies_about_its_length_is_counted() -> None:
    rig = EthernetRig()
    rig.port.arrive(b"\0\6\0short", PEER)
    rig.port.arrive(b"\0\0\0nothing", PEER)
    rig.transport.doRead()
    assert rig.host.frames == []
    assert rig.counter("frames_too_short") == 2


def test_a_failing_read_is_counted_and_told_once() -> None:
    rig = EthernetRig()
    rig.port.receive_failures.extend([errno.EIO, errno.EIO, errno.ENETDOWN])
    with log_lines() as lines:
        for _ in range(3):
            rig.transport.doRead()
    assert rig.counter("recv_errors") == 3
    assert len(lines) == 1


def test_a_host_that_fails_does_not_stop_the_reading() -> None:
    rig = EthernetRig()

    def fail(*_: object) -> None:
        raise RuntimeError("not today")

    rig.host.on_frames = fail
    with log_lines():
        rig.arrive(b"a")
        rig.arrive(b"b")
    assert rig.host.bursts == 2


def test_a_host_that_stops_the_transport_hears_no_more() -> None:
    rig = EthernetRig()
    rig.host.on_frames = lambda transport, address, frames: transport.stop()
    rig.port.arrive(enclose([b"a"]), PEER)
    rig.port.arrive(enclose([b"b"]), OTHER)
    rig.transport.doRead()
    assert rig.host.frames == [b"a"]
