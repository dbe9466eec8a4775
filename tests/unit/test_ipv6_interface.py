"""The TUN interface of a node, which somebody may take away at any time."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.testing import MemoryReactorClock

from meshnode.ipv6.interface import MeshInterface
from meshnode.ipv6.netsetup import NetworkSetupError
from meshnode.ipv6.testing import FakeTunSystem
from meshnode.ipv6.tun import TunDevice

GONE = errno.EBADFD


class FakeNetwork:
    """Interface configuration that works, or fails with the next of `failures`."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.configured: list[str] = []
        self.removed = False
        self.hold: Deferred[None] | None = None
        self.lacking: str | None = None

    def lack(self, name: str, address: bytes) -> str | None:
        return self.lacking

    def prepare(self) -> None: ...
    def cancel(self) -> None: ...

    async def configure(self, name: str, address: bytes, mtu: int) -> None:
        if self.hold is not None:
            await self.hold
        if self.failures:
            raise NetworkSetupError(self.failures.pop(0))
        self.configured.append(name)

    async def remove(self) -> None:
        self.removed = True


class Rig:
    """An interface and what lives on it."""

    def __init__(self) -> None:
        self.system, self.network, self.reactor = FakeTunSystem(), FakeNetwork(), MemoryReactorClock()
        self.events: list[str] = []
        self.packets: list[bytes] = []
        network: Any = self.network
        self.interface = MeshInterface(self.reactor, "fips0", bytes(16), 1280, self, network, self.system)

    def interface_open(self, device: TunDevice) -> None:
        self.events.append("open")

    async def interface_up(self, name: str) -> None:
        self.events.append("up")

    def interface_down(self, reason: str) -> None:
        self.events.append(f"down: {reason}")

    def packets_read(self, packets: list[bytes]) -> None:
        self.packets += packets

    def burst_ended(self) -> None: ...

    def start(self) -> None:
        self.interface.open()
        ensureDeferred(self.interface.up())

    def take_away(self) -> None:
        """Delete the interface, as `ip link del` does."""
        device = self.interface.device
        assert device is not None
        self.system.interfaces.pop("fips0", None)
        self.system.incoming.append(GONE)
        device.doRead()


def test_it_is_made_configured_and_read() -> None:
    rig = Rig()
    rig.start()
    assert rig.events == ["open", "up"]
    assert rig.interface.state == "active"
    assert rig.interface.device in rig.reactor.getReaders()


def test_taken_away_it_is_made_again_after_a_second() -> None:
    rig = Rig()
    rig.start()
    rig.take_away()
    assert rig.events[2].startswith("down: TUN interface fips0 is gone")
    assert rig.interface.state == "failed"
    rig.reactor.advance(1)
    assert rig.events[3:] == ["open", "up"]
    assert rig.network.configured == ["fips0", "fips0"]
    rig.system.incoming.append(b"\x60" + bytes(47))
    device = rig.interface.device
    assert device is not None
    device.doRead()
    assert len(rig.packets) == 1


def test_set_down_or_without_its_address_it_is_made_again() -> None:
    rig = Rig()
    rig.start()
    rig.interface.network_changed()
    assert rig.events == ["open", "up"]
    rig.network.lacking = "it was set down"
    rig.interface.network_changed()
    rig.interface.network_changed()
    assert rig.events[2:] == ["down: it was set down"]
    assert rig.interface.state == "failed"
    assert rig.system.open_descriptors == set()
    rig.network.lacking = None
    rig.network.failures = ["IPv6 is disabled"]
    rig.reactor.advance(1)
    assert rig.events[3:] == ["open", "down: IPv6 is disabled"]
    rig.interface.network_changed()
    rig.reactor.advance(2)
    assert rig.events[5:] == ["open", "up"]
    assert rig.interface.state == "active"


def test_who_may_not_open_the_driver_any_more_makes_the_interface_again_all_the_same() -> None:
    """Root may have been given up since, and on a machine without udev only root may open the driver."""
    rig = Rig()
    rig.start()
    rig.system.may_open = False
    for _ in range(3):
        rig.take_away()
        rig.reactor.advance(1)
        assert rig.interface.state == "active"
    ensureDeferred(rig.interface.close())
    assert rig.system.open_descriptors == set()


def test_it_makes_it_again_too_when_it_was_taken_away_while_being_configured() -> None:
    rig = Rig()
    rig.start()
    rig.system.may_open = False
    rig.take_away()
    rig.network.hold = vanished = Deferred()
    rig.network.failures = ["there is no fips0"]
    rig.reactor.advance(1)
    rig.system.interfaces.clear()
    rig.network.hold = None
    vanished.callback(None)
    assert rig.interface.state == "failed"
    rig.reactor.advance(2)
    assert rig.interface.state == "active"


def test_an_interface_that_somebody_made_in_its_place_is_not_taken_for_ours() -> None:
    rig = Rig()
    rig.start()
    device = rig.interface.device
    assert device is not None
    rig.system.incoming.append(GONE)
    device.doRead()
    assert rig.system.open_descriptors == set()
    rig.reactor.advance(1)
    assert rig.interface.state == "active"


def test_it_is_tried_ever_less_often_for_as_long_as_it_takes() -> None:
    rig = Rig()
    rig.start()
    rig.system.refusals.extend([errno.EPERM] * 9)
    rig.take_away()
    tries = 0
    for _ in range(300):
        left = len(rig.system.refusals)
        rig.reactor.advance(1)
        tries += left - len(rig.system.refusals)
    assert tries == 9
    assert rig.events[-2:] == ["open", "up"] or rig.interface.state == "failed"
    rig.reactor.advance(60)
    assert rig.interface.state == "active"


def test_an_interface_that_cannot_be_configured_is_tried_again_too() -> None:
    rig = Rig()
    rig.start()
    rig.network.failures = ["no IPv6"]
    rig.take_away()
    rig.reactor.advance(1)
    assert rig.events[-1] == "down: no IPv6"
    assert rig.system.open_descriptors == set()
    rig.reactor.advance(2)
    assert rig.interface.state == "active"


def test_the_first_start_is_not_repeated_behind_the_operators_back() -> None:
    rig = Rig()
    rig.system.refusals.append(errno.EPERM)
    rig.start()
    rig.reactor.advance(120)
    assert rig.interface.device is None
    assert rig.interface.state == "failed"


def test_taken_away_while_being_configured_it_is_not_used() -> None:
    rig = Rig()
    rig.network.hold = Deferred()
    rig.start()
    hold, rig.network.hold = rig.network.hold, None
    rig.take_away()
    hold.callback(None)
    assert rig.events[-1].startswith("down")
    rig.reactor.advance(1)
    assert rig.interface.state == "active"


def test_a_setting_up_that_ends_late_does_not_start_what_was_made_since() -> None:
    rig = Rig()
    rig.network.hold = late = Deferred()
    rig.start()
    rig.take_away()
    rig.network.hold = Deferred()
    rig.reactor.advance(1)
    late.callback(None)
    assert rig.interface.state == "failed"
    assert rig.events[-1] == "open"
    rig.network.hold.callback(None)
    assert rig.events[-1] == "up"


def test_closed_it_stays_away() -> None:
    rig = Rig()
    rig.start()
    rig.take_away()
    ensureDeferred(rig.interface.close())
    rig.reactor.advance(120)
    assert rig.events[-1].startswith("down")
    assert rig.network.removed
    assert rig.system.open_descriptors == set()
