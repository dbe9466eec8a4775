"""A private D-Bus with a BlueZ of ours on it: adapters, devices, faults. For one asyncio loop."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from tests.rigs import processes

_ADAPTER = "org.bluez.Adapter1"
_ADVERTISING = "org.bluez.LEAdvertisingManager1"
_DEVICE = "org.bluez.Device1"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_MANAGER = "org.freedesktop.DBus.ObjectManager"

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow receive_type="method_call"/>
    <allow send_type="signal"/>
    <allow receive_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_requested_reply="true" receive_type="method_return"/>
    <allow receive_requested_reply="true" receive_type="error"/>
    {more}
  </policy>
</busconfig>
"""
DENY_BLUEZ = '<deny send_destination="org.bluez"/>'


class Bus:
    """A dbus-daemon of our own."""

    def __init__(self, directory: Path, more_policy: str = "") -> None:
        socket = directory / "bus"
        config = directory / "bus.conf"
        config.write_text(_CONFIG.format(socket=socket, more=more_policy))
        self.address = f"unix:path={socket}"
        self._process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "dbus-daemon did not start"

    def close(self) -> None:
        processes.end(self._process)
        assert self._process.stdout is not None
        self._process.stdout.close()


class FakeBluez:
    """`org.bluez` with one adapter. `refusals` maps a method to the error name and text it answers with."""

    def __init__(self, bus: Any) -> None:
        self._bus = bus
        self.calls: list[tuple[str, list[Any]]] = []
        self.refusals: dict[str, tuple[str, str]] = {}
        self.advertisement: dict[str, Any] = {}
        self.objects: dict[str, dict[str, dict[str, Variant]]] = {}
        self._reading: set[asyncio.Future[None]] = set()

    def add_adapter(self, name: str = "hci0", *, powered: bool = True, kind: str = "public") -> str:
        path = f"/org/bluez/{name}"
        self.objects[path] = {
            _ADAPTER: {
                "Address": Variant("s", "00:11:22:33:44:55"),
                "AddressType": Variant("s", kind),
                "Powered": Variant("b", powered),
            },
            _ADVERTISING: {},
        }
        return path

    def device(self, address: str, uuids: list[str], *, kind: str = "public", rssi: int | None = -50) -> str:
        """Remember a device; `appear` tells of it."""
        path = f"/org/bluez/hci0/dev_{address.replace(':', '_')}"
        properties = {
            "Address": Variant("s", address),
            "AddressType": Variant("s", kind),
            "UUIDs": Variant("as", uuids),
        }
        if rssi is not None:
            properties["RSSI"] = Variant("n", rssi)
        self.objects[path] = {_DEVICE: properties}
        return path

    async def appear(self, path: str) -> None:
        await self._signal("/", _MANAGER, "InterfacesAdded", "oa{sa{sv}}", [path, self.objects[path]])

    async def vanish(self, path: str) -> None:
        interfaces = list(self.objects.pop(path))
        await self._signal("/", _MANAGER, "InterfacesRemoved", "oas", [path, interfaces])

    async def change(self, path: str, interface: str, name: str, value: Variant) -> None:
        self.objects[path][interface][name] = value
        await self._signal(path, _PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, {name: value}, []])

    async def switch_off(self, path: str) -> None:
        await self.change(path, _ADAPTER, "Powered", Variant("b", False))

    async def heard(self, path: str, rssi: int) -> None:
        await self.change(path, _DEVICE, "RSSI", Variant("n", rssi))

    async def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        await self._bus.send(Message.new_signal(path, interface, member, signature, body))

    def answer(self, message: Message) -> Message | None:
        """Do what a method call asks (a handler of the bus)."""
        if message.message_type is not MessageType.METHOD_CALL or message.destination == "org.freedesktop.DBus":
            return None
        member = message.member or ""
        self.calls.append((member, list(message.body)))
        if member in self.refusals:
            return Message.new_error(message, *self.refusals[member])
        if member == "GetManagedObjects":
            return Message.new_method_return(message, "a{oa{sa{sv}}}", [self.objects])
        if member == "Set":
            interface, name, value = message.body
            self.objects[str(message.path)][interface][name] = value
        if member == "RegisterAdvertisement":
            self.spawn(self._read_advertisement(str(message.sender), message.body[0]))
        return Message.new_method_return(message)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside the answer to a call."""
        self._reading.add(asyncio.ensure_future(work))

    async def _read_advertisement(self, owner: str, path: str) -> None:
        """Ask for the properties, as BlueZ does."""
        reply = await self._bus.call(
            Message(
                destination=owner,
                path=path,
                interface=_PROPERTIES,
                member="GetAll",
                signature="s",
                body=["org.bluez.LEAdvertisement1"],
            )
        )
        self.advertisement = {name: variant.value for name, variant in reply.body[0].items()}

    async def advertised(self) -> dict[str, Any]:
        """Return the advertisement once it was read."""
        await asyncio.gather(*self._reading)
        return self.advertisement

    def called(self, member: str) -> list[list[Any]]:
        return [body for name, body in self.calls if name == member]

    def stop(self) -> None:
        """Leave the bus, as when the service is stopped."""
        self._bus.disconnect()


@asynccontextmanager
async def bluez_on(bus: Bus) -> AsyncIterator[FakeBluez]:
    """Run a BlueZ without adapters on `bus`."""
    connection: Any = await MessageBus(bus.address, BusType.SYSTEM).connect()
    bluez = FakeBluez(connection)
    connection.add_message_handler(lambda message: bluez.answer(message))
    await connection.request_name("org.bluez")
    try:
        yield bluez
    finally:
        if connection.connected:
            connection.disconnect()
