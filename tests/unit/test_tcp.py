"""The TCP transport over loopback: connections, limits, garbage, pressure (spec 04 section 4)."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IResolverSimple
from zope.interface import implementer
from zope.interface.verify import verifyObject

from meshnode.transports.interfaces import IConnectionTransport, TransportError
from meshnode.transports.registry import factory
from meshnode.transports.stream_connection import FIRST_FRAME_SECS, QUEUE_BYTES
from meshnode.transports.tcp import (
    TCP_KEEPIDLE,
    TCP_USER_TIMEOUT,
    TIMESTAMP_OPTION,
    USER_TIMEOUT_SECS,
    TcpSettings,
    TcpTransport,
    _longest_frame,
)
from tests.unit.stream_rig import MESSAGE1, PATIENCE, JumpingReactor, Station, close_down, frame
from tests.unit.udp_rig import RecordingHost, log_lines


@pytest.fixture
def reactor() -> Iterator[JumpingReactor]:
    running = JumpingReactor()
    yield running
    close_down(running)


@pytest.fixture(params=["127.0.0.1:0", "[::1]:0"])
def pair(request: pytest.FixtureRequest, reactor: JumpingReactor) -> tuple[Station, Station]:
    return Station(reactor, request.param), Station(reactor, request.param)


def test_it_is_a_connection_transport(reactor: JumpingReactor) -> None:
    verifyObject(IConnectionTransport, Station(reactor).transport)


def test_one_connection_carries_batches_both_ways(reactor: JumpingReactor, pair: tuple[Station, Station]) -> None:
    left, right = pair
    left.connect(right)
    there = [frame(size, size) for size in range(32, 1400, 9)]
    left.emit(right.address, there)
    reactor.until(lambda: len(right.host.frames) == len(there))
    assert right.host.frames == there
    assert len(right.host.runs) < len(there) / 10
    assert right.host.bursts == len(right.host.runs)
    (back_address,) = right.transport.connections()
    assert right.host.runs[0][0] == back_address
    assert right.transport.is_inbound(back_address)
    right.emit(back_address, there[:5])
    reactor.until(lambda: len(left.host.frames) == 5)
    assert left.host.runs[0][0] == right.address
    assert left.transport.stats()["bytes_sent"] == right.transport.stats()["bytes_recv"] == sum(map(len, there))
    assert left.transport.stats()["pool_outbound"] == right.transport.stats()["pool_inbound"] == 1
    assert left.transport.stats()["connections_established"] == right.transport.stats()["connections_accepted"] == 1


def test_what_is_flushed_leaves_at_once(reactor: JumpingReactor) -> None:
    """Not in the next turn of the reactor: no turn happens here."""
    station = Station(reactor)
    visitor = station.visitor()
    station.emit(station.transport.connections()[0], [frame(100), frame(100)])
    visitor.setblocking(True)
    visitor.settimeout(PATIENCE)
    assert visitor.recv(200, socket.MSG_WAITALL) == frame(100) * 2


def test_what_does_not_leave_at_once_fails_in_the_reactor(reactor: JumpingReactor) -> None:
    """A connection that was reset is told of as ever, once, and not from within the node's call."""
    station = Station(reactor)
    visitor = station.visitor()
    address = station.transport.connections()[0]
    visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    visitor.close()
    station.emit(address, [frame(100)])
    station.emit(address, [frame(100)])
    assert station.host.events == []
    reactor.until(lambda: station.host.events)
    assert [event[:2] for event in station.host.events] == [("lost", address)]


@pytest.mark.parametrize("keepalive", [45, 0])
def test_a_path_that_went_dead_is_found_out_by_the_system(reactor: JumpingReactor, keepalive: int) -> None:
    """Idle connections are probed, and what nobody acknowledges ends one; at both ends."""
    left, right = (Station(reactor, keepalive_secs=keepalive) for _ in range(2))
    left.connect(right)
    for station in (left, right):
        (address,) = station.transport.connections()
        opened = station.transport._open[address].transport.getHandle()
        assert bool(opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is bool(keepalive)
        assert not keepalive or opened.getsockopt(socket.IPPROTO_TCP, TCP_KEEPIDLE) == keepalive
        assert opened.getsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT) == USER_TIMEOUT_SECS * 1000
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_connection_dialled_by_name_goes_by_that_name(reactor: JumpingReactor) -> None:
    """Spec 04, sections 4.2 and 15: whoever asks for it by the configured text would miss it under another."""
    reactor.installResolver(LoopbackNames())
    left, right = Station(reactor), Station(reactor)
    name = right.address.replace("127.0.0.1", "node.example.org")
    left.transport.connect(name)
    reactor.until(lambda: left.host.events)
    assert left.host.events == [("connected", name)]
    assert left.transport.is_connected(name)
    assert left.transport.connections() == [name]
    left.emit(name, [MESSAGE1])
    reactor.until(lambda: right.host.frames)
    right.emit(right.host.runs[0][0], [MESSAGE1])
    reactor.until(lambda: left.host.frames)
    assert left.host.runs == [(name, [MESSAGE1])]


@implementer(IResolverSimple)
class LoopbackNames:
    """Every name is this machine's."""

    def getHostByName(self, name: str, timeout: object = ()) -> Deferred[str]:
        return succeed("127.0.0.1")


def test_a_second_connect_changes_nothing(reactor: JumpingReactor, pair: tuple[Station, Station]) -> None:
    left, right = pair
    left.transport.connect(right.address)
    left.transport.connect(right.address)
    reactor.until(lambda: left.transport.connections())
    left.transport.connect(right.address)
    reactor.turn()
    assert len(right.transport.connections()) == 1
    assert left.host.events == [("connected", right.address)]


def test_frames_without_a_connection_are_counted_and_nobody_is_dialled(reactor: JumpingReactor) -> None:
    left, right = Station(reactor), Station(reactor)
    left.emit(right.address, [frame(100)] * 3)
    reactor.turn()
    assert left.transport.stats()["send_errors"] == 3
    assert right.transport.connections() == []


def test_a_refused_connect_is_told_with_its_cause_after_the_call(reactor: JumpingReactor) -> None:
    left, gone = Station(reactor, None), Station(reactor)
    address = gone.address
    gone.transport.stop()
    reactor.turn()
    left.transport.connect(address)
    assert left.host.events == []
    reactor.until(lambda: left.host.events)
    assert left.host.events == [("failed", address, "connection refused")]
    assert left.transport.stats()["connect_refused"] == 1
    left.transport.connect(address)
    reactor.until(lambda: len(left.host.events) == 2)


def test_a_connect_without_an_answer_ends_after_the_configured_time(reactor: JumpingReactor) -> None:
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(0)
    address = f"127.0.0.1:{silent.getsockname()[1]}"
    fill = [socket.socket() for _ in range(4)]  # the queue of a listener that never accepts is soon full
    for waiting in fill:
        waiting.setblocking(False)
        waiting.connect_ex(silent.getsockname())
    left = Station(reactor, None, connect_timeout_ms=3000)
    left.transport.connect(address)
    reactor.turn()
    reactor.jump(3.1)
    reactor.until(lambda: left.host.events)
    assert left.host.events == [("failed", address, "no answer within 3 s")]
    assert left.transport.stats()["connect_timeouts"] == 1
    for opened in (silent, *fill):
        opened.close()


def test_a_dial_that_is_not_wanted_any_more_ends_in_silence(
    reactor: JumpingReactor, pair: tuple[Station, Station]
) -> None:
    left, right = pair
    left.transport.connect(right.address)
    left.transport.disconnect(right.address)
    reactor.jump(1)
    reactor.turn(20)
    assert left.host.events == []
    assert left.transport.connections() == []


def test_an_ended_connection_is_told_once_at_the_other_end_only(
    reactor: JumpingReactor, pair: tuple[Station, Station]
) -> None:
    left, right = pair
    left.connect(right)
    reactor.until(lambda: right.transport.connections())
    (inbound,) = right.transport.connections()
    left.transport.send(right.address, [MESSAGE1])
    left.transport.disconnect(right.address)
    reactor.until(lambda: right.host.events)
    assert right.host.frames == [MESSAGE1]
    assert right.host.events == [("lost", inbound, "closed by the other side", False)]
    assert right.transport.stats()["recv_errors"] == 1
    assert left.host.events == [("connected", right.address)]
    assert left.transport.connections() == right.transport.connections() == []


def test_a_lost_connection_that_we_dialled_may_be_dialled_again(
    reactor: JumpingReactor, pair: tuple[Station, Station]
) -> None:
    left, right = pair
    left.connect(right)
    reactor.until(lambda: right.transport.connections())
    right.transport.disconnect(right.transport.connections()[0])
    reactor.until(lambda: len(left.host.events) == 2)
    assert left.host.events[1] == ("lost", right.address, "closed by the other side", True)
    left.host.events.clear()
    left.connect(right)


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.0\r\n", bytes.fromhex("1603010200"), b"\x03\x00\x10\x00", b"\x00\x00\xff\xff", b"\xff" * 99],
)
def test_garbage_closes_the_connection_at_once(reactor: JumpingReactor, garbage: bytes) -> None:
    station = Station(reactor)
    visitor = station.visitor()
    visitor.sendall(garbage)
    reactor.until(lambda: station.host.events)
    assert station.host.events[0][0] == "lost"
    assert "the other side sent" in str(station.host.events[0][2])
    assert station.host.frames == []
    visitor.close()


@pytest.mark.parametrize("begun", [b"", MESSAGE1[:113]])
def test_who_says_nothing_whole_for_half_a_minute_is_cut_off(reactor: JumpingReactor, begun: bytes) -> None:
    station = Station(reactor)
    visitor = station.visitor()
    visitor.sendall(begun)
    reactor.turn(20)
    reactor.jump(FIRST_FRAME_SECS - 1)
    assert station.transport.connections()
    reactor.jump(1.1)
    reactor.until(lambda: station.host.events)
    assert "no frame within 30 s" in str(station.host.events[0][2])
    visitor.close()


def test_who_said_something_whole_may_be_silent(reactor: JumpingReactor) -> None:
    station = Station(reactor)
    visitor = station.visitor()
    visitor.sendall(MESSAGE1)
    reactor.until(lambda: station.host.frames)
    reactor.jump(3600)
    assert station.transport.connections()
    visitor.close()


def test_more_connections_than_allowed_are_closed_at_once_when_links_use_the_others(reactor: JumpingReactor) -> None:
    station = Station(reactor, max_inbound_connections=5)
    visitors = [station.visitor() for _ in range(5)]
    reactor.until(lambda: len(station.transport.connections()) == 5)
    station.host.links = set(station.transport.connections())
    visitors += [station.visitor() for _ in range(4)]
    reactor.until(lambda: station.transport.stats()["connections_rejected"] == 4)
    assert station.transport.stats()["connections_displaced"] == 0
    assert len(station.transport.connections()) == 5
    assert station.transport.stats()["connections_accepted"] == 5
    visitors[0].close()
    reactor.until(lambda: len(station.transport.connections()) == 4)
    station.visitor().close()
    for visitor in visitors:
        visitor.close()


def test_the_oldest_connection_without_a_link_gives_way_to_a_newcomer(reactor: JumpingReactor) -> None:
    station = Station(reactor, max_inbound_connections=3)
    visitors = [station.visitor() for _ in range(3)]
    reactor.until(lambda: len(station.transport.connections()) == 3)
    first, second, third = station.transport.connections()
    station.host.links = {first}
    station.transport.send(second, [frame(100)])
    visitors.append(station.visitor())
    reactor.until(lambda: station.transport.stats()["connections_accepted"] == 4)
    reactor.turn()
    assert set(station.transport.connections()) > {first, third}
    assert station.host.events == [("lost", second, "its place was needed", False)]
    assert station.transport.stats()["pool_inbound"] == 3
    station.transport.flush()
    with pytest.raises(ConnectionResetError):
        visitors[1].recv(1)
    for visitor in visitors:
        visitor.close()


def test_a_crowd_of_connections_at_once_stays_within_the_limit(reactor: JumpingReactor) -> None:
    station = Station(reactor, max_inbound_connections=5)
    crowd = [socket.socket() for _ in range(60)]
    for one in crowd:
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", station.port))
    reactor.until(lambda: station.transport.stats()["connections_displaced"] == 55)
    reactor.turn()
    assert station.transport.stats()["pool_inbound"] == len(station.transport.connections()) == 5
    assert len(station.transport._visitors) == 5
    for one in crowd:
        one.close()
    reactor.until(lambda: not station.transport.connections())
    assert len(station.transport._visitors) == 0


def test_a_reader_that_does_not_read_costs_frames_and_no_memory(reactor: JumpingReactor) -> None:
    station = Station(reactor, send_buf_size=65536)
    visitor = station.visitor()
    (address,) = station.transport.connections()
    burst = [frame(1400, number) for number in range(256)]
    for _ in range(200):
        station.emit(address, burst)
        reactor.turn(1)
    stats = station.transport.stats()
    assert stats["packets_sent"] + stats["send_errors"] == 200 * len(burst)
    assert stats["send_errors"] > 40_000
    assert stats["packets_sent"] * 1400 < 8_000_000  # the system's buffers at both ends, and ours
    connection = station.transport._open[address]
    assert connection._waiting_bytes <= QUEUE_BYTES
    got = b""
    visitor.setblocking(True)
    visitor.settimeout(0.2)

    def drained() -> bool:
        nonlocal got
        try:
            got += visitor.recv(1 << 20)
        except TimeoutError:
            pass
        return len(got) == stats["packets_sent"] * 1400

    reactor.until(drained)
    assert {got[start : start + 4] for start in range(0, len(got), 1400)} == {burst[0][:4]}  # every frame is whole
    visitor.close()


def test_frames_beyond_the_mtu_are_refused(reactor: JumpingReactor, pair: tuple[Station, Station]) -> None:
    left, right = pair
    left.connect(right)
    left.emit(right.address, [frame(1400), frame(1401), frame(40)])
    reactor.until(lambda: len(right.host.frames) == 2)
    assert left.transport.stats()["mtu_exceeded"] == 1


class Segments:
    """A socket that knows its segment size."""

    def __init__(self, size: int | None) -> None:
        self.size = size

    def getsockopt(self, level: int, option: int) -> int:
        if self.size is None:
            raise OSError
        return self.size


@pytest.mark.parametrize(
    ("segment", "longest"),
    [(1248, 1248 - TIMESTAMP_OPTION), (1448, 1400), (32768, 1400), (0, 1400), (None, 1400), (1400, 1400)],
)
def test_frames_are_kept_within_a_segment_of_a_narrow_path(segment: int | None, longest: int) -> None:
    assert _longest_frame(Segments(segment), 1400) == longest


def test_stop_lets_the_last_word_leave_and_closes_everything(
    reactor: JumpingReactor, pair: tuple[Station, Station]
) -> None:
    left, right = pair
    left.connect(right)
    left.transport.send(right.address, [MESSAGE1])
    stopped: list[object] = []
    left.transport.stop().addBoth(stopped.append)
    reactor.until(lambda: stopped and right.host.frames)
    assert right.host.frames == [MESSAGE1]
    assert left.transport.state == "down"
    right.transport.connect(left.address if left.transport.local_address else "127.0.0.1:1")
    reactor.until(lambda: any(event[0] == "failed" for event in right.host.events))


def test_what_waits_when_a_connection_ends_leaves_once_and_then_it_is_closed(reactor: JumpingReactor) -> None:
    station = Station(reactor, send_buf_size=65536)
    visitor = station.visitor()
    (address,) = station.transport.connections()
    connection = station.transport._open[address]
    while connection._waiting_bytes < 10 * 1400:
        station.emit(address, [frame(1400, 1)] * 10)
    station.transport.disconnect(address)
    got = bytearray()

    def has_ended() -> bool:
        try:
            part = visitor.recv(1 << 20)
        except BlockingIOError:
            return False
        got.extend(part)
        return not part

    reactor.until(has_ended, "closed in good order")
    assert len(got) == station.transport.stats()["packets_sent"] * 1400
    visitor.close()


def test_stop_does_not_wait_for_a_peer_that_does_not_read(reactor: JumpingReactor) -> None:
    station = Station(reactor, send_buf_size=65536)
    visitor = station.visitor()
    (address,) = station.transport.connections()
    for _ in range(20):
        station.emit(address, [frame(1400)] * 256)
        reactor.turn(1)
    stopped: list[object] = []
    station.transport.stop().addBoth(stopped.append)
    reactor.turn()
    assert not stopped
    reactor.jump(1.1)
    reactor.until(lambda: stopped)
    visitor.close()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bind_addr": "node.example.org:8443"}, "is a name"),
        ({"bind_addr": "192.0.2.7:8443"}, "no interface of this machine has that address"),
        ({"bind_addr": "nonsense"}, "expected ip:port"),
        ({"mtu": 100}, "mtu 100 is too small"),
    ],
)
def test_a_bad_setting_is_one_clear_line(reactor: JumpingReactor, settings: dict[str, object], words: str) -> None:
    transport = TcpTransport(1, None, TcpSettings(**settings), RecordingHost(), reactor)  # type: ignore[arg-type]
    with log_lines(), pytest.raises(TransportError, match=words) as caught:
        transport.start()
    assert "\n" not in str(caught.value)


def test_a_port_that_is_taken_is_named(reactor: JumpingReactor) -> None:
    first = Station(reactor)
    transport = TcpTransport(1, None, TcpSettings(bind_addr=first.address), RecordingHost(), reactor)
    with pytest.raises(TransportError, match=f"{first.address}: address already in use"):
        transport.start()
    assert transport.state == "failed"


@pytest.mark.parametrize("address", ["10.0.0.1:8443", "[fe80::1]:8443", "node.example.org:8443"])
def test_numbers_of_both_families_and_names_can_be_dialled(reactor: JumpingReactor, address: str) -> None:
    station = Station(reactor, None)
    assert station.transport.can_dial(address)
    assert not station.transport.can_dial("nonsense")
    assert not station.transport.accepts_connections
    station.transport.stop()
    assert not station.transport.can_dial(address)


def test_the_registry_makes_one_from_its_section(reactor: JumpingReactor) -> None:
    class Section:
        bind_addr = None
        mtu = 1300
        max_inbound_connections = None

    transport = factory("tcp").create(3, "backup", Section(), RecordingHost(), reactor)
    assert (transport.kind, transport.name, transport.mtu) == ("tcp", "backup", 1300)
