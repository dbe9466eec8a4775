"""The BlueZ radio on real reactors: what happens on the bus reaches the transport in the reactor's thread."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.python.failure import Failure
from zope.interface import implementer

from meshnode.asyncio_bridge import bridge_of
from meshnode.transports.ble.bluez_radio import BluezRadio
from meshnode.transports.ble.channel import Channel
from meshnode.transports.ble.radio import SERVICE_UUID, IRadioUser, RadioError, RadioSettings, RadioStatus
from tests.rigs.bluez import Bus, FakeBluez, bluez_on
from tests.unit.test_ble_parts import UnixL2cap
from tests.unit.udp_rig import log_lines

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="these tests need dbus-daemon")

OWN = "00:11:22:33:44:55"
DEVICE = "AA:BB:CC:DD:EE:FF"


@implementer(IRadioUser)
class User:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.threads: set[int] = set()
        self.channels: list[Channel] = []

    def _note(self, what: str, detail: str) -> None:
        self.threads.add(threading.get_ident())
        self.events.append((what, detail))

    def device_found(self, device: str) -> None:
        self._note("found", device)

    def channel_accepted(self, channel: Channel) -> None:
        self.channels.append(channel)
        self._note("accepted", channel.peer)

    def radio_lost(self, reason: str) -> None:
        self._note("lost", reason)


class Scene:
    """A reactor turned by hand, a BlueZ on its bus, and one radio of ours."""

    def __init__(self, reactor: Any, bus: Bus, directory: Path, **changes: Any) -> None:
        self.reactor = reactor
        self.user = User()
        self.bridge = bridge_of(reactor)
        self._stay = asyncio.Event()
        ready: list[FakeBluez] = []
        self.serving = self.bridge.run(self._serve(bus, ready))
        self.until(lambda: bool(ready))
        (self.bluez,) = ready
        settings = {"adapter": "hci0", "psm": 0x85, "mtu": 2048, "advertise": True, "scan": True, "listen": True}
        self.radio = BluezRadio(RadioSettings(**{**settings, **changes}), reactor, UnixL2cap(directory))

    async def _serve(self, bus: Bus, ready: list[FakeBluez]) -> None:
        async with bluez_on(bus) as bluez:
            ready.append(bluez)
            await self._stay.wait()

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(400):
            if condition():
                return
            self.reactor.iterate(0.02)
        raise AssertionError(f"nothing came of it; events: {self.user.events}")

    def result(self, deferred: Deferred[Any]) -> Any:
        results: list[Any] = []
        deferred.addBoth(results.append)
        self.until(lambda: bool(results))
        return results[0]

    def close(self) -> None:
        self.result(self.radio.close())
        self.bridge.call_loop(self._stay.set)
        self.result(self.serving)
        self.bridge.close()


@pytest.fixture(params=[EPollReactor, lambda: AsyncioSelectorReactor(asyncio.new_event_loop())])
def scene(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Scene]]:
    bus = Bus(tmp_path)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    scenes: list[Scene] = []

    def make(**changes: Any) -> Scene:
        scenes.append(Scene(request.param(), bus, tmp_path, **changes))
        return scenes[-1]

    yield make
    for made in scenes:
        made.close()
    bus.close()


def test_an_opened_radio_listens_advertises_and_scans(scene: Callable[..., Scene]) -> None:
    play = scene()
    path = play.bluez.add_adapter()
    status = play.result(play.radio.open(play.user))
    assert status == RadioStatus(OWN, True)
    play.result(play.bridge.run(play.bluez.appear(play.bluez.device(DEVICE, [SERVICE_UUID]))))
    play.until(lambda: bool(play.user.events))
    channel = play.result(play.radio.dial(OWN))
    play.until(lambda: len(play.user.events) == 2)
    assert play.user.events == [("found", DEVICE), ("accepted", "11:22:33:44:55:66")]
    play.result(play.bridge.run(play.bluez.switch_off(path)))
    play.until(lambda: len(play.user.events) == 3)
    assert play.user.events[2] == ("lost", "Bluetooth adapter hci0 was switched off")
    assert play.user.threads == {threading.get_ident()}
    for one in (channel, *play.user.channels):
        one.close()


def test_an_adapter_that_was_switched_off_is_used_when_it_is_on_again(scene: Callable[..., Scene]) -> None:
    play = scene()
    path = play.bluez.add_adapter()
    play.result(play.radio.open(play.user))
    play.result(play.bridge.run(play.bluez.switch_off(path)))
    play.until(lambda: bool(play.user.events))
    failure = play.result(play.radio.open(play.user))
    assert isinstance(failure, Failure)
    assert str(failure.value) == "Bluetooth adapter hci0 is switched off"
    assert play.bluez.called("Set") == []
    play.bluez.add_adapter()
    assert play.result(play.radio.open(play.user)) == RadioStatus(OWN, True)


def test_what_can_be_done_without_is_only_logged(scene: Callable[..., Scene]) -> None:
    play = scene()
    play.bluez.add_adapter(kind="random")
    play.bluez.refusals = {
        "RegisterAdvertisement": ("org.bluez.Error.NotPermitted", "Maximum advertisements reached"),
        "StartDiscovery": ("org.bluez.Error.InProgress", "Operation already in progress"),
    }
    with log_lines() as lines:
        assert play.result(play.radio.open(play.user)) == RadioStatus(OWN, False)
    assert lines[-3:-1] == [
        "ble: BlueZ cannot advertise on Bluetooth adapter hci0: Maximum advertisements reached",
        "ble: BlueZ cannot scan on Bluetooth adapter hci0: Operation already in progress",
    ]
    assert "has a random address" in lines[-1]


def test_an_adapter_lost_while_it_is_opened_is_not_taken_for_open(scene: Callable[..., Scene]) -> None:
    play = scene()
    path = play.bluez.add_adapter()
    answer = play.bluez.answer

    def pull_out(message: Any) -> Any:
        if message.member == "RegisterAdvertisement":
            play.bluez.spawn(play.bluez.vanish(path))
        return answer(message)

    play.bluez.answer = pull_out  # type: ignore[method-assign]
    failure = play.result(play.radio.open(play.user))
    assert isinstance(failure, Failure)
    assert str(failure.value) == "Bluetooth adapter hci0 was removed"


def test_a_closed_radio_leaves_the_bus(scene: Callable[..., Scene]) -> None:
    play = scene()
    path = play.bluez.add_adapter()
    play.result(play.radio.open(play.user))
    play.result(play.radio.close())
    play.result(play.bridge.run(play.bluez.switch_off(path)))
    failure = play.result(play.radio.dial(OWN))
    assert isinstance(failure, Failure)
    assert not isinstance(failure.value, RadioError)
    assert play.user.events == []
