"""The example of a plug-in transport, on pseudo-terminals and a reactor that stands still."""

from __future__ import annotations

import importlib.util
import os
import select
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from meshnode.transports.interfaces import ITransport, ITransportFactory, TransportError
from tests.unit.udp_rig import RecordingHost, log_lines

_SOURCE = Path(__file__).parents[2] / "examples" / "transport-serial" / "meshnode_serial.py"
_FRAMES = [b"plain", b"\xc0\xdb\xdc\xdd\xc0", b"\xdb" * 40]
_PACKETS = b"\xc0plain\xc0\xc0\xdb\xdc\xdb\xdd\xdc\xdd\xdb\xdc\xc0\xc0" + b"\xdb\xdd" * 40 + b"\xc0"
_PATIENCE = 10.0


def _example() -> Any:
    spec = importlib.util.spec_from_file_location("meshnode_serial", _SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Rig:
    """A transport at a path; its far end is `far`, a file descriptor, once there is a terminal."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.host, self.reactor = RecordingHost(), MemoryReactorClock()
        self.factory = _example().SerialTransportFactory()
        self.far = -1

    def make(self, **section: object) -> Any:
        self.transport = self.factory.create(3, None, {"device": str(self.link), **section}, self.host, self.reactor)
        return self.transport

    def plug(self) -> None:
        self.far, near = os.openpty()
        tty.setraw(near)
        self.link.symlink_to(os.ttyname(near))
        self._near = near

    def unplug(self) -> None:
        for descriptor in (self.far, self._near):
            os.close(descriptor)
        self.link.unlink()
        self.far = -1

    def write(self) -> None:
        """Do what a reactor does when a device takes more."""
        for port in [*self.reactor.getWriters()]:
            port.doWrite()

    def read(self) -> bool:
        """Do what a reactor does once there is something to read, or a device is gone."""
        ready = select.select(self.reactor.getReaders(), [], [], _PATIENCE)[0]
        for port in ready:
            if error := port.doRead():
                port.connectionLost(Failure(error))
        return bool(ready)

    def arrives(self, data: bytes, frames: int) -> None:
        """Let `data` arrive, until there have been so many frames; terminals hand on what they please at a time."""
        os.write(self.far, data)
        while self.read() and len(self.host.frames) < frames:
            pass

    def left(self, size: int) -> bytes:
        """Return the first `size` bytes that came out at the far end."""
        data = b""
        while len(data) < size and select.select([self.far], [], [], _PATIENCE)[0]:
            data += os.read(self.far, size - len(data))
        return data


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "ttyUSB0")
    yield made
    if made.far >= 0:
        made.unplug()


def test_it_provides_the_interfaces_it_claims(rig: Rig) -> None:
    verifyObject(ITransportFactory, rig.factory)
    verifyObject(ITransport, rig.make())


def test_frames_of_any_bytes_leave_and_arrive_whole(rig: Rig) -> None:
    rig.plug()
    transport = rig.make()
    transport.start()
    assert (transport.state, transport.local_address) == ("up", str(rig.link))
    transport.send(str(rig.link), _FRAMES)
    rig.write()
    written = rig.left(len(_PACKETS))
    assert written == _PACKETS
    rig.arrives(written[:30], frames=2)
    rig.arrives(written[30:], frames=3)
    assert rig.host.frames == _FRAMES
    assert {address for address, _ in rig.host.runs} == {str(rig.link)}
    assert transport.stats()["packets_sent"] == transport.stats()["packets_recv"] == 3
    transport.stop()


def test_a_device_that_is_not_there_is_waited_for_and_looked_for_again(rig: Rig) -> None:
    transport = rig.make()
    with log_lines() as lines:
        transport.start()
        rig.reactor.advance(1)
        rig.reactor.advance(1)
    assert (transport.state, len(lines)) == ("starting", 1)
    assert str(rig.link) in lines[0]
    rig.plug()
    rig.reactor.advance(1)
    assert rig.host.events == [("state", "up", f"{rig.link} is there")]
    rig.unplug()
    rig.read()
    assert rig.host.events[1][:2] == ("state", "starting")
    assert not transport.can_dial(str(rig.link))
    rig.plug()
    rig.reactor.advance(1)
    assert rig.host.events[2:] == [("state", "up", f"{rig.link} is there")]
    transport.stop()


def test_a_slow_line_drops_what_it_cannot_take_and_counts_it(rig: Rig) -> None:
    rig.plug()
    transport = rig.make()
    transport.start()
    for _ in range(200):
        transport.send(str(rig.link), [bytes(1000)])
    stats = transport.stats()
    assert stats["packets_sent"] + stats["send_errors"] == 200
    assert 60 < stats["packets_sent"] < 80  # 64 KiB wait at most
    transport.stop()


def test_noise_without_an_end_is_not_kept(rig: Rig) -> None:
    rig.plug()
    transport = rig.make(mtu=100)
    transport.start()
    for _ in range(20):
        rig.arrives(b"x" * 100, frames=0)
    rig.arrives(b"\xc0frame\xc0", frames=2)
    assert [len(frame) for frame in rig.host.frames] == [400, 5]
    transport.stop()


@pytest.mark.parametrize("section", [{"device": 5}, {"device": None}, {"speed": "fast"}])
def test_a_section_that_makes_no_sense_is_refused_in_one_line(rig: Rig, section: dict[str, object]) -> None:
    with pytest.raises(TransportError, match="serial: write device: /dev/ttyUSB0 or the like"):
        rig.make(**section)
