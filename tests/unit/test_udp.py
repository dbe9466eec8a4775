"""The life of a UDP transport and what it does with what arrives, over sockets without a network."""

from __future__ import annotations

import errno
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from meshnode.transports.interfaces import ITransport, TransportError
from meshnode.transports.udp import BURST_FRAMES, UdpSettings
from meshnode.transports.udp_socket import (
    IP_MTU_DISCOVER,
    IP_PMTUDISC_OMIT,
    SO_RCVBUFFORCE,
    SO_SNDBUFFORCE,
    SOL_UDP,
    UDP_GRO,
    UDP_SEGMENT,
)
from meshnode.transports.udp_testing import FakeSockets
from tests.unit.udp_rig import PEER, PEER_TEXT, Rig, log_lines

# -- starting and stopping --------------------------------------------------------------------------------------------


def test_it_provides_the_interfaces_it_claims() -> None:
    transport = Rig().transport
    verifyObject(ITransport, transport)
    verifyObject(IReadDescriptor, transport)


def test_started_it_is_bound_up_and_read_by_the_reactor() -> None:
    rig = Rig("192.0.2.1:2121")
    transport = rig.transport
    assert (transport.state, transport.local_address) == ("up", "192.0.2.1:2121")
    assert rig.reactor.readers == {transport}
    assert transport.fileno() == rig.socket.fileno()
    assert transport.logPrefix() == "udp 192.0.2.1:2121"


def test_before_the_start_it_has_no_address_and_sends_nothing() -> None:
    rig = Rig(start=False)
    assert (rig.transport.state, rig.transport.local_address, rig.transport.fileno()) == ("configured", None, -1)
    rig.emit(PEER_TEXT, [b"frame"])
    rig.transport.doRead()
    assert rig.counter("send_errors") == 1
    assert rig.system.opened == []


def test_a_second_start_is_refused() -> None:
    with pytest.raises(TransportError, match="already started"):
        Rig().transport.start()


def test_stopping_sends_what_is_queued_then_closes() -> None:
    rig = Rig()
    opened = rig.socket
    rig.transport.send(PEER_TEXT, [b"goodbye"])
    rig.transport.stop()
    assert opened.sent[0].frames == [b"goodbye"]
    assert opened.closed
    assert rig.reactor.readers == set()
    assert (rig.transport.state, rig.transport.local_address) == ("down", None)
    rig.transport.stop()


def test_it_can_be_started_again_after_a_stop() -> None:
    rig = Rig()
    rig.transport.stop()
    rig.transport.start()
    rig.emit(PEER_TEXT, [b"frame"])
    assert rig.sent_frames == [b"frame"]


def test_a_descriptor_the_reactor_gave_up_is_told_and_closed() -> None:
    rig = Rig()
    with log_lines() as lines:
        rig.transport.connectionLost(Failure(OSError("gone")))
    assert rig.transport.state == "failed"
    assert "192.0.2.1:2121" in lines[0]
    rig.transport.connectionLost(Failure(OSError("gone")))


def test_a_taken_port_is_one_clear_line() -> None:
    rig = Rig("0.0.0.0:2121")
    second = Rig("0.0.0.0:2121", system=rig.system, start=False)
    with pytest.raises(TransportError) as caught:
        second.transport.start()
    assert str(caught.value).startswith("udp 0.0.0.0:2121: address already in use; another node or daemon is running")
    assert second.transport.state == "failed"
    assert rig.system.opened[-1].closed
    rig.transport.stop()
    second.transport.start()
    assert second.transport.state == "up"


def test_ports_are_never_shared() -> None:
    options = Rig().socket.options
    assert (socket.SOL_SOCKET, socket.SO_REUSEPORT) not in options
    assert (socket.SOL_SOCKET, socket.SO_REUSEADDR) not in options


@pytest.mark.parametrize("bind", ["0.0.0.0:2121", "[::]:2121"])
def test_routers_may_fragment_every_datagram(bind: str) -> None:
    assert Rig(bind).socket.options[socket.IPPROTO_IP, IP_MTU_DISCOVER] == IP_PMTUDISC_OMIT


def test_a_kernel_that_decides_about_fragments_by_itself_will_do() -> None:
    assert Rig(system=FakeSockets(unsupported={(socket.IPPROTO_IP, IP_MTU_DISCOVER)})).transport.state == "up"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"bind": "localhost:2121"}, "is a name"),
        ({"bind": "2121"}, "invalid transport address"),
        ({"mtu": 77}, "too small; write 78 or more"),
    ],
)
def test_what_cannot_be_bound_is_refused_with_what_to_write(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TransportError, match=complaint):
        Rig(**settings)


def test_a_missing_address_family_is_one_clear_line() -> None:
    with pytest.raises(TransportError, match=r"udp \[::\]:2121: this system has no such address family"):
        Rig("[::]:2121", system=FakeSockets(families={socket.AF_INET}))


def test_an_ipv6_wildcard_serves_both_families() -> None:
    assert Rig("[::]:2121").socket.options[socket.IPPROTO_IPV6, socket.IPV6_V6ONLY] == 0
    assert Rig("[2001:db8::1]:2121").socket.options[socket.IPPROTO_IPV6, socket.IPV6_V6ONLY] == 1


def test_an_ipv6_wildcard_leaves_ipv4_to_the_instance_that_has_it() -> None:
    four = Rig("0.0.0.0:2121")
    with log_lines() as lines:
        six = Rig("[::]:2121", system=four.system)
    assert six.transport.state == "up"
    assert six.socket.options[socket.IPPROTO_IPV6, socket.IPV6_V6ONLY] == 1
    assert "serving IPv6 only" in lines[0]


def test_an_ipv6_wildcard_taken_by_another_is_refused() -> None:
    first = Rig("[::]:2121")
    with pytest.raises(TransportError, match=r"udp \[::\]:2121: address already in use"):
        Rig("[::]:2121", system=first.system)
    assert [opened.closed for opened in first.system.opened] == [False, True, True]


def test_outbound_only_binds_any_port_accepts_nobody_and_ignores_the_bind_address_aloud() -> None:
    with log_lines() as lines:
        rig = Rig("192.0.2.1:2121", outbound_only=True)
    assert rig.transport.local_address is not None
    assert rig.transport.local_address.startswith("0.0.0.0:")
    assert not rig.transport.accepts_connections
    assert "ignored because of outbound_only" in lines[0]


def test_accepting_follows_the_configuration() -> None:
    assert Rig().transport.accepts_connections
    assert not Rig(accept_connections=False).transport.accepts_connections


def test_buffers_are_forced_past_the_limit_where_allowed() -> None:
    with log_lines() as lines:
        rig = Rig(recv_buf_size=3_000_000)
    assert rig.socket.options[socket.SOL_SOCKET, socket.SO_RCVBUF] == 3_000_000
    assert not any("buffer" in line for line in lines)


def test_clamped_buffers_are_told_with_the_knob_to_turn() -> None:
    forced = {(socket.SOL_SOCKET, SO_RCVBUFFORCE), (socket.SOL_SOCKET, SO_SNDBUFFORCE)}
    with log_lines() as lines:
        rig = Rig(system=FakeSockets(unsupported=forced))
    assert rig.socket.options[socket.SOL_SOCKET, socket.SO_RCVBUF] == 212_992
    assert "212992 of 2097152 bytes granted; raise net.core.rmem_max" in lines[0]
    assert "net.core.wmem_max" in lines[1]


def test_an_absurd_buffer_size_does_not_stop_the_start() -> None:
    assert Rig(recv_buf_size=1 << 60).transport.state == "up"


def test_a_kernel_without_batches_is_used_datagram_by_datagram() -> None:
    rig = Rig(system=FakeSockets(unsupported={(SOL_UDP, UDP_SEGMENT), (SOL_UDP, UDP_GRO)}))
    rig.emit(PEER_TEXT, [b"frame"] * 3)
    assert rig.groups == [(1, None)] * 3


def test_settings_are_taken_from_a_section_with_defaults_for_what_is_missing() -> None:
    section = SimpleNamespace(bind_addr=None, mtu=1400, outbound_only=True, public=True)
    assert UdpSettings.from_section(section) == UdpSettings(mtu=1400, outbound_only=True)


# -- questions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bind", "dialled", "refused"),
    [
        ("0.0.0.0:2121", "192.0.2.1:1", "[2001:db8::1]:1"),
        ("[::]:2121", "[2001:db8::1]:1", "192.0.2.1:1"),
    ],
)
def test_numeric_addresses_are_dialled_by_the_very_family_of_the_socket(bind: str, dialled: str, refused: str) -> None:
    transport = Rig(bind).transport
    assert transport.can_dial(dialled)
    assert not transport.can_dial(refused)
    assert transport.can_dial("mesh.example.org:2121")
    assert not transport.can_dial("nat")
    transport.stop()
    assert not transport.can_dial(dialled)


def test_statistics_have_the_names_operators_know() -> None:
    assert set(Rig().transport.stats()) == {
        "packets_sent",
        "bytes_sent",
        "packets_recv",
        "bytes_recv",
        "send_errors",
        "recv_errors",
        "mtu_exceeded",
        "kernel_drops",
    }


def test_the_link_mtu_is_the_configured_one() -> None:
    assert Rig(mtu=1400).transport.link_mtu(PEER_TEXT) == 1400


# -- sending ----------------------------------------------------------------------------------------------------------


def test_nothing_leaves_before_the_flush() -> None:
    rig = Rig()
    rig.transport.send(PEER_TEXT, [b"frame"])
    assert rig.socket.sent == []
    rig.transport.flush()
    rig.transport.flush()
    assert rig.sent_frames == [b"frame"]


def test_the_callers_list_stays_its_own() -> None:
    rig = Rig()
    frames = [b"one"]
    rig.transport.send(PEER_TEXT, frames)
    rig.transport.send(PEER_TEXT, [b"two"])
    assert frames == [b"one"]
    frames.append(b"never queued")
    rig.transport.flush()
    assert rig.sent_frames == [b"one", b"two"]


def test_frames_above_the_mtu_are_refused_and_counted() -> None:
    rig = Rig(mtu=1280)
    rig.emit(PEER_TEXT, [b"a" * 1280, b"b" * 1281, b"c" * 10])
    rig.emit(PEER_TEXT, [b"d" * 2000])
    assert [len(frame) for frame in rig.sent_frames] == [1280, 10]
    assert rig.counter("mtu_exceeded") == 2
    assert rig.counter("send_errors") == 0


def test_a_caller_that_never_flushes_does_not_fill_the_memory() -> None:
    rig = Rig()
    for _ in range(50):
        rig.transport.send(PEER_TEXT, [b"frame"] * 100)
    assert len(rig.sent_frames) >= 4096


@pytest.mark.parametrize("address", ["nat", "192.0.2.300:1", "[2001:db8::1]:2121"])
def test_frames_for_an_impossible_address_are_counted_and_told_once(address: str) -> None:
    rig = Rig()
    with log_lines() as lines:
        rig.emit(address, [b"one", b"two"])
        rig.emit(address, [b"three"])
    assert rig.counter("send_errors") == 3
    assert len(lines) == 1
    assert address in lines[0]


# -- receiving --------------------------------------------------------------------------------------------------------


def test_coalesced_datagrams_come_up_as_frames_with_an_odd_last_one() -> None:
    rig = Rig()
    rig.socket.arrive(b"aaabbbcc", PEER, segment=3)
    rig.transport.doRead()
    assert rig.host.calls == [(PEER_TEXT, [b"aaa", b"bbb", b"cc"]), None]
    assert rig.counter("packets_recv") == 3
    assert rig.counter("bytes_recv") == 8


def test_consecutive_reads_from_one_address_become_one_call() -> None:
    rig = Rig()
    other = ("192.0.2.8", 5)
    rig.socket.arrive(b"aabb", PEER, segment=2)
    rig.socket.arrive(b"c", PEER)
    rig.socket.arrive(b"d", other)
    rig.socket.arrive(b"e", PEER)
    rig.transport.doRead()
    assert rig.host.calls == [
        (PEER_TEXT, [b"aa", b"bb", b"c"]),
        ("192.0.2.8:5", [b"d"]),
        (PEER_TEXT, [b"e"]),
        None,
    ]


def test_a_burst_is_bounded_and_the_rest_waits_for_the_next_wake_up() -> None:
    rig = Rig()
    for _ in range(BURST_FRAMES + 10):
        rig.socket.arrive(b"frame", PEER)
    rig.transport.doRead()
    assert len(rig.host.frames) == BURST_FRAMES
    rig.transport.doRead()
    assert len(rig.host.frames) == BURST_FRAMES + 10
    assert rig.host.bursts == 2


def test_a_burst_ends_when_its_time_is_over() -> None:
    rig = Rig()
    for number in range(10):
        rig.socket.arrive(b"frame", ("192.0.2.8", 1 + number))
    rig.host.on_frames = lambda *_: rig.reactor.advance(0.0006)
    rig.transport.doRead()
    assert 1 < len(rig.host.frames) < 6


def test_punch_packets_are_counted_and_dropped() -> None:
    rig = Rig()
    rig.socket.arrive(b"NPTC" + bytes(20), PEER)
    rig.socket.arrive(b"NPTA" + bytes(20) + b"\x00" + bytes(23) + b"NPTA", PEER, segment=24)
    rig.socket.arrive(b"Nope", PEER)
    rig.transport.doRead()
    assert rig.host.frames == [b"\x00" + bytes(23), b"Nope"]
    assert rig.counter("packets_recv") == 5
    assert rig.counter("recv_errors") == 0


def test_a_burst_of_punch_packets_only_makes_no_call() -> None:
    rig = Rig()
    rig.socket.arrive(b"NPTC" + bytes(20), PEER)
    rig.transport.doRead()
    assert rig.host.calls == [None]


def test_an_empty_datagram_does_no_harm() -> None:
    rig = Rig()
    rig.socket.arrive(b"", PEER)
    rig.socket.arrive(b"", PEER, segment=0)
    rig.socket.arrive(b"frame", PEER)
    rig.transport.doRead()
    assert rig.host.frames[-1] == b"frame"
    assert rig.counter("packets_recv") == 3


def test_the_scope_of_a_link_local_sender_leads_back_to_it() -> None:
    rig = Rig("[::]:2121")
    neighbour = ("fe80::1", 2121, 0, 1)
    rig.socket.arrive(b"frame", neighbour)
    rig.transport.doRead()
    (address, _frames) = rig.host.runs[0]
    assert address == f"[fe80::1%{socket.if_indextoname(1)}]:2121"
    rig.emit(address, [b"answer"])
    assert rig.socket.sent[0].address == neighbour


def test_the_kernels_cumulative_drop_count_is_followed_across_its_wrap() -> None:
    rig = Rig()
    for overflows in (3, 3, 10, None, 0xFFFFFFFF, 4):
        rig.socket.arrive(b"frame", PEER, overflows=overflows)
    rig.transport.doRead()
    assert rig.counter("kernel_drops") == 0xFFFFFFFF + 5


def test_read_errors_are_counted_and_reading_goes_on() -> None:
    rig = Rig()
    rig.socket.receive_failures.extend([errno.ECONNREFUSED, errno.EHOSTUNREACH])
    rig.socket.arrive(b"frame", PEER)
    with log_lines() as lines:
        rig.transport.doRead()
    assert rig.host.frames == [b"frame"]
    assert rig.counter("recv_errors") == 2
    assert len(lines) == 2


def test_endless_read_errors_do_not_hold_the_reactor() -> None:
    rig = Rig()
    rig.socket.receive_failures.extend([errno.EIO] * 10_000)
    rig.transport.doRead()
    assert rig.counter("recv_errors") == BURST_FRAMES


def test_a_node_that_fails_on_a_frame_keeps_its_transport() -> None:
    rig = Rig()

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    rig.host.on_frames = fail
    rig.socket.arrive(b"one", PEER)
    with log_lines() as lines:
        rig.transport.doRead()
    assert "upset the node" in lines[0]
    assert rig.host.bursts == 1
    rig.host.on_frames = None
    rig.socket.arrive(b"two", PEER)
    rig.transport.doRead()
    assert rig.host.frames[-1] == b"two"


def test_stopping_from_within_a_delivery_ends_the_burst() -> None:
    rig = Rig()
    rig.host.on_frames = lambda *_: rig.transport.stop()
    rig.socket.arrive(b"one", PEER)
    rig.socket.arrive(b"two", ("192.0.2.8", 5))
    rig.socket.arrive(b"three", PEER)
    rig.transport.doRead()
    assert rig.host.frames == [b"one"]
    assert rig.counter("recv_errors") == 0
    assert rig.transport.state == "down"


def test_two_transports_exchange_a_burst_over_one_fake_network() -> None:
    system = FakeSockets()
    left, right = Rig("192.0.2.1:1", system=system), Rig("192.0.2.2:2", system=system)
    frames = [bytes([number]) * 200 for number in range(20)]
    left.transport.send("192.0.2.2:2", frames)
    left.transport.flush()
    right.transport.doRead()
    assert right.host.frames == frames
