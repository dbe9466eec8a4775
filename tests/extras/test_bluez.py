"""BlueZ over D-Bus, against a BlueZ of ours on a private bus: every order given, every fault in one line."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode.transports.ble.bluez import Bluez
from meshnode.transports.ble.radio import SERVICE_UUID, RadioError
from tests.rigs.bluez import DENY_BLUEZ, Bus, FakeBluez, bluez_on

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="these tests need dbus-daemon")

FOREIGN = "0000180f-0000-1000-8000-00805f9b34fb"
DEVICE = "AA:BB:CC:DD:EE:FF"
OWN = "00:11:22:33:44:55"


class Watcher:
    """Remembers what it is told (`BluezWatcher`)."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []
        self.lost: list[tuple[str, bool]] = []

    def device_seen(self, device: str, random: bool) -> None:
        self.seen.append((device, random))

    def adapter_lost(self, reason: str, switched_off: bool) -> None:
        self.lost.append((reason, switched_off))


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    bus = Bus(tmp_path)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    yield bus
    bus.close()


Scene = Callable[[FakeBluez, Bluez, Watcher], Coroutine[Any, Any, None]]


def play(bus: Bus, scene: Scene, adapter: str = "hci0") -> None:
    """Run `scene` with a BlueZ on the bus and one client of ours."""

    async def run() -> None:
        async with bluez_on(bus) as service:
            watcher = Watcher()
            client = Bluez(adapter, watcher)
            try:
                await scene(service, client, watcher)
            finally:
                await client.close()

    asyncio.run(run())


def refused(bus: Bus, prepare: Callable[[FakeBluez], object], adapter: str = "hci0", may_power: bool = True) -> str:
    """Return the line with which opening fails."""
    lines: list[str] = []

    async def scene(service: FakeBluez, client: Bluez, watcher: Watcher) -> None:
        prepare(service)
        with pytest.raises(RadioError) as caught:
            await client.open(may_power=may_power)
        lines.append(str(caught.value))

    play(bus, scene, adapter)
    assert "\n" not in lines[0]
    return lines[0]


# -- what works


def test_the_adapter_is_found_with_its_address(bus: Bus) -> None:
    async def scene(service: FakeBluez, client: Bluez, watcher: Watcher) -> None:
        service.add_adapter()
        adapter = await client.open(may_power=True)
        assert (adapter.path, adapter.device, adapter.random) == ("/org/bluez/hci0", OWN, False)
        assert service.called("Set") == []

    play(bus, scene)


def test_default_is_the_first_adapter(bus: Bus) -> None:
    async def scene(service: FakeBluez, client: Bluez, watcher: Watcher) -> None:
        service.add_adapter("hci3", kind="random")
        adapter = await client.open(may_power=True)
        assert (adapter.path, adapter.random) == ("/org/bluez/hci3", True)

    play(bus, scene, "default")


def test_an_adapter_that_is_off_is_switched_on(bus: Bus) -> None:
    async def scene(service: FakeBluez, client: Bluez, watcher: Watcher) -> None:
        service.add_adapter(powered=False)
        await client.open(may_power=True)
        ((interface, name, value),) = service.called("Set")
        assert (interface, name, value.value) == ("org.bluez.Adapter1", "Powered", True)

    play(bus, scene)


def test_the_advertisement_shows_the_service_and_its_name(bus: Bus) -> None:
    async def scene(service: FakeBluez, client: Bluez, watcher: Watcher) -> None:
        service.add_adapter()
        await client.open(may_power=True)
        await client.advertise()
        assert await service.advertised() == {
            "Type": "peripheral",
            "ServiceUUIDs": [SERVICE_UUID],
            "LocalName": "fips",
            "MinInterval": 400,
            "MaxInterval": 600,
        }

    play(bus, scene)


def test_scanning_asks_for_our_service_only_and_removes_nobodys_devices(bus: Bus) -> None:
    async def scene(service: FakeBluez, client: Bluez, watcher: Watcher) -> None:
        service.add_adapter()
        await client.open(may_power=True)
        await client.scan()
        ((search,),) = service.called("SetDiscoveryFilter")
        assert {name: value.value for name, value in search.items()} == {"Transport": "le", "UUIDs": [SERVICE_UUID]}
        assert service.called("StartDiscovery") == [[]]
        assert service.called("RemoveDevice") == []

    play(bus, scene)


def test_devices_with_our_service_are_reported_with_the_kind_of_their_address(bus: Bus) -> None:
    async def scene(service: FakeBluez, client: Bluez, watcher: Watcher) -> None:
        service.add_adapter()
        await client.open(may_power=True)
        await client.scan()
        await service.appear(service.device("11:00:00:00:00:01", [FOREIGN]))
        await service.appear(service.device(DEVICE, [FOREIGN, SERVICE_UUID.upper()]))
        await service.appear(service.device("C0:00:00:00:00:02", [SERVICE_UUID], kind="random"))
        await until(lambda: len(watcher.seen) == 2)
        assert watcher.seen == [(DEVICE, False), ("C0:00:00:00:00:02", True)]

    play(bus, scene)


def test_a_device_is_reported_seldom_however_often_it_is_heard(bus: Bus) -> None:
    async def scene(service: FakeBluez, client: Bluez, watcher: Watcher) -> None:
        service.add_adapter()
        await client.open(may_power=True)
        await client.scan()
        path = service.device(DEVICE, [SERVICE_UUID])
        await service.appear(path)
        for rssi in range(-90, -40):
            await service.heard(path, rssi)
        await service.appear(service.device("AA:BB:CC:DD:EE:00", [SERVICE_UUID]))
        await until(lambda: ("AA:BB:CC:DD:EE:00", False) in watcher.seen)
        assert watcher.seen.count((DEVICE, False)) == 1

    play(bus, scene)


def test_a_remembered_device_is_reported_once_it_is_heard(bus: Bus) -> None:
    async def scene(service: FakeBluez, client: Bluez, watcher: Watcher) -> None:
        service.add_adapter()
        path = service.device(DEVICE, [SERVICE_UUID], rssi=None)
        service.device("AA:BB:CC:DD:EE:00", [SERVICE_UUID])
        await client.open(may_power=True)
        await client.scan()
        assert watcher.seen == [("AA:BB:CC:DD:EE:00", False)]
        await service.heard(path, -60)
        await until(lambda: len(watcher.seen) == 2)
        assert watcher.seen[1] == (DEVICE, False)

    play(bus, scene)


# -- what goes away


Ending = Callable[[FakeBluez, str], Coroutine[Any, Any, None]]


async def pulled_out(service: FakeBluez, path: str) -> None:
    await service.vanish(path)


async def switched_off(service: FakeBluez, path: str) -> None:
    await service.switch_off(path)


async def stopped(service: FakeBluez, path: str) -> None:
    service.stop()


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        (pulled_out, ("Bluetooth adapter hci0 was removed", False)),
        (switched_off, ("Bluetooth adapter hci0 was switched off", True)),
        (stopped, ("BlueZ stopped", False)),
    ],
)
def test_the_loss_of_the_adapter_is_told_once(bus: Bus, ending: Ending, told: tuple[str, bool]) -> None:
    async def scene(service: FakeBluez, client: Bluez, watcher: Watcher) -> None:
        path = service.add_adapter()
        await client.open(may_power=True)
        await ending(service, path)
        await until(lambda: watcher.lost)
        assert watcher.lost == [told]

    play(bus, scene)


def test_the_loss_of_the_bus_is_told(bus: Bus) -> None:
    async def scene(service: FakeBluez, client: Bluez, watcher: Watcher) -> None:
        service.add_adapter()
        await client.open(may_power=True)
        bus.close()
        await until(lambda: watcher.lost)
        # A bus that ends lets go of its clients one by one: the service may be the first.
        ((reason, switched_off),) = watcher.lost
        assert reason in ("the connection to the D-Bus system bus broke", "BlueZ stopped")
        assert not switched_off

    play(bus, scene)


def test_another_adapters_fate_is_no_concern(bus: Bus) -> None:
    async def scene(service: FakeBluez, client: Bluez, watcher: Watcher) -> None:
        path, other = service.add_adapter(), service.add_adapter("hci1")
        await client.open(may_power=True)
        await service.vanish(other)
        await service.switch_off(path)
        await until(lambda: watcher.lost)
        assert watcher.lost == [("Bluetooth adapter hci0 was switched off", True)]

    play(bus, scene)


# -- what is wrong at the start


def test_no_bus_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nothing")
    with pytest.raises(RadioError, match=r"no D-Bus system bus at .*apt-get install dbus bluez"):
        asyncio.run(Bluez("hci0", Watcher()).open(may_power=True))


def test_no_bluez_on_the_bus(bus: Bus) -> None:
    async def run() -> None:
        client = Bluez("hci0", Watcher())
        try:
            await client.open(may_power=True)
        finally:
            await client.close()

    with pytest.raises(RadioError, match="BlueZ is not running: systemctl start bluetooth"):
        asyncio.run(run())


def test_no_right_to_talk_to_bluez(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = Bus(tmp_path, DENY_BLUEZ)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    line = refused(bus, lambda service: service.add_adapter())
    bus.close()
    assert line == (
        "not permitted to use Bluetooth adapter hci0: run as root, or add this account to the group `bluetooth`"
    )


def test_no_adapter(bus: Bus) -> None:
    assert refused(bus, lambda service: None) == (
        "BlueZ knows no Bluetooth adapter: plug one in, or see `rfkill` and `dmesg`"
    )


def test_another_adapter(bus: Bus) -> None:
    line = refused(bus, lambda service: (service.add_adapter("hci1"), service.add_adapter("hci2")))
    assert line == "BlueZ has no Bluetooth adapter hci0; it has hci1, hci2"


def test_an_adapter_somebody_switched_off_is_left_off(bus: Bus) -> None:
    line = refused(bus, lambda service: service.add_adapter(powered=False), may_power=False)
    assert line == "Bluetooth adapter hci0 is switched off"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (("org.bluez.Error.Blocked", ""), "Bluetooth adapter hci0 is blocked: rfkill unblock bluetooth"),
        (
            ("org.bluez.Error.Failed", "Blocked through rfkill"),
            "Bluetooth adapter hci0 is blocked: rfkill unblock bluetooth",
        ),
        (("org.bluez.Error.Busy", "Busy"), "BlueZ cannot switch on Bluetooth adapter hci0: Busy"),
    ],
)
def test_an_adapter_that_cannot_be_switched_on(bus: Bus, error: tuple[str, str], line: str) -> None:
    def prepare(service: FakeBluez) -> None:
        service.add_adapter(powered=False)
        service.refusals["Set"] = error

    assert refused(bus, prepare) == line


def test_an_adapter_that_cannot_advertise(bus: Bus) -> None:
    async def scene(service: FakeBluez, client: Bluez, watcher: Watcher) -> None:
        service.add_adapter()
        service.refusals["RegisterAdvertisement"] = ("org.freedesktop.DBus.Error.UnknownMethod", "no such method")
        await client.open(may_power=True)
        with pytest.raises(RadioError) as caught:
            await client.advertise()
        assert str(caught.value) == "BlueZ cannot advertise on Bluetooth adapter hci0: no such method"

    play(bus, scene)
