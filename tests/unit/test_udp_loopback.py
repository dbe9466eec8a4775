"""The UDP transport over real loopback sockets, read by hand: what fakes cannot promise about the kernel."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.pollreactor import PollReactor
from twisted.internet.selectreactor import SelectReactor

from meshnode.transports.interfaces import TransportError
from meshnode.transports.udp import UdpTransport
from meshnode.transports.udp_socket import KernelSockets
from tests.unit.udp_rig import RecordingHost, StillReactor, log_lines, make_udp


class Station:
    def __init__(self, bind: str, **settings: object) -> None:
        self.host = RecordingHost()
        self.transport: UdpTransport = make_udp(self.host, StillReactor(), KernelSockets(), bind_addr=bind, **settings)
        with log_lines():
            self.transport.start()

    @property
    def address(self) -> str:
        assert self.transport.local_address is not None
        return self.transport.local_address

    def emit(self, address: str, frames: list[bytes]) -> None:
        self.transport.send(address, frames)
        self.transport.flush()

    def read_until(self, frames: int) -> None:
        """Read whenever there is something, until `frames` have come or nothing comes for two seconds."""
        while len(self.host.frames) < frames and select.select([self.transport], [], [], 2.0)[0]:
            self.transport.doRead()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


BINDS = ["127.0.0.1:0"] + (["[::1]:0"] if has_ipv6() else [])


@pytest.fixture(params=BINDS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Station, Station]]:
    stations = Station(request.param), Station(request.param)
    yield stations
    for station in stations:
        station.transport.stop()


def test_a_burst_arrives_whole_and_in_order_from_the_senders_address(pair: tuple[Station, Station]) -> None:
    left, right = pair
    frames = [number.to_bytes(2, "big") * 600 for number in range(150)] + [b"odd last"]
    left.emit(right.address, frames)
    right.read_until(len(frames))
    assert right.host.frames == frames
    assert {address for address, _frames in right.host.runs} == {left.address}
    assert right.transport.stats()["bytes_recv"] == left.transport.stats()["bytes_sent"] == 150 * 1200 + 8


def test_frames_of_mixed_sizes_keep_their_bounds_and_their_order(pair: tuple[Station, Station]) -> None:
    left, right = pair
    frames = [bytes([number % 64]) * (1 + number * 37 % 1280) for number in range(100)]
    left.emit(right.address, frames)
    right.read_until(len(frames))
    assert right.host.frames == frames


def test_an_answer_goes_to_the_address_a_frame_came_from(pair: tuple[Station, Station]) -> None:
    left, right = pair
    left.emit(right.address, [b"\x01question"])
    right.read_until(1)
    right.emit(right.host.runs[0][0], [b"\x02answer"])
    left.read_until(1)
    assert left.host.frames == [b"\x02answer"]


def test_a_receiver_that_does_not_read_loses_frames_and_knows_how_many() -> None:
    left, right = Station("127.0.0.1:0"), Station("127.0.0.1:0", recv_buf_size=4096)
    for _ in range(20):
        for number in range(50):
            left.emit(right.address, [bytes(100 + number)])
    right.read_until(1000)
    left.emit(right.address, [b"after the flood"])
    right.read_until(1)
    while select.select([right.transport], [], [], 0.0)[0]:
        right.transport.doRead()
    assert right.host.frames[-1] == b"after the flood"
    assert right.transport.stats()["kernel_drops"] == 1001 - len(right.host.frames) > 0
    left.transport.stop()
    right.transport.stop()


@pytest.mark.parametrize("bind", BINDS)
def test_a_port_in_use_is_refused_in_one_line(bind: str) -> None:
    first = Station(bind)
    with pytest.raises(TransportError) as caught:
        Station(first.address)
    assert str(caught.value).startswith(f"udp {first.address}: address already in use; another node or daemon")
    first.transport.stop()


def test_an_address_of_nobody_here_is_refused_in_one_line() -> None:
    with pytest.raises(TransportError, match=r"udp 192\.0\.2\.1:2121: no interface of this machine"):
        Station("192.0.2.1:2121")


@pytest.mark.parametrize("make", [SelectReactor, PollReactor, EPollReactor, AsyncioSelectorReactor])
def test_it_is_read_by_any_reactor_that_takes_readers(make: Callable[[], Any]) -> None:
    left, right = Station("127.0.0.1:0"), Station("127.0.0.1:0")
    reactor = make()
    reactor.addReader(right.transport)
    left.emit(right.address, [b"frame"] * 3)
    for _ in range(10):
        if right.host.frames:
            break
        reactor.iterate(0.5)
    assert right.host.frames == [b"frame"] * 3
    reactor.removeReader(right.transport)
    assert right.transport not in reactor.getReaders()
    left.transport.stop()
    right.transport.stop()
