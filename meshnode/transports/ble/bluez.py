"""BlueZ over D-Bus: find and power the adapter, advertise, scan, notice when it goes (spec 04 section 9.4).

Everything here runs on an asyncio loop. One library does all three jobs; scanners such as bleak cannot advertise.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dbus_fast import BusType, DBusFastError, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from meshnode.transports.ble.radio import LOCAL_NAME, SERVICE_UUID, RadioError

BLUEZ = "org.bluez"
ADAPTER = "org.bluez.Adapter1"
DEVICE = "org.bluez.Device1"
ADVERTISING_MANAGER = "org.bluez.LEAdvertisingManager1"
ADVERTISEMENT = "org.bluez.LEAdvertisement1"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
_DBUS = "org.freedesktop.DBus"
_DBUS_PATH = "/org/freedesktop/DBus"

ADVERT_PATH = "/meshnode/advertisement"
ADVERT: Mapping[str, Variant] = {
    "Type": Variant("s", "peripheral"),
    "ServiceUUIDs": Variant("as", [SERVICE_UUID]),
    "LocalName": Variant("s", LOCAL_NAME),
    "MinInterval": Variant("u", 400),
    "MaxInterval": Variant("u", 600),
}
FILTER: Mapping[str, Variant] = {"Transport": Variant("s", "le"), "UUIDs": Variant("as", [SERVICE_UUID])}

CALL_TIMEOUT = 10.0
"""Seconds BlueZ has for an answer."""
REPORT_INTERVAL = 5.0
"""Seconds between two reports of one device: an advertisement comes several times a second."""
_DEVICES = 256

_RULES = (
    f"type='signal',sender='{BLUEZ}',interface='{OBJECT_MANAGER}'",
    f"type='signal',sender='{BLUEZ}',interface='{PROPERTIES}'",
    f"type='signal',sender='{_DBUS}',member='NameOwnerChanged',arg0='{BLUEZ}'",
)


class BluezWatcher(Protocol):
    """Who is told, on the loop, what BlueZ tells."""

    def device_seen(self, device: str, random: bool) -> None: ...
    def adapter_lost(self, reason: str, switched_off: bool) -> None: ...


@dataclass(slots=True)
class Adapter:
    """The controller BlueZ gave us."""

    path: str
    device: str
    random: bool


class Bluez:
    """One connection to BlueZ, for one adapter (`hci0`, or `default` for the first there is)."""

    def __init__(self, adapter: str, watcher: BluezWatcher) -> None:
        self._name = adapter
        self._watcher = watcher
        self._bus: Any = None  # a MessageBus, whose methods are annotated in part only
        self._adapter: Adapter | None = None
        self._devices: dict[str, _Device] = {}

    async def open(self, *, may_power: bool) -> Adapter:
        """Connect, find the adapter, and switch it on if it is off and we may. Raises `RadioError`."""
        bus = await self._connect()
        for rule in _RULES:
            await self._call(_DBUS_PATH, _DBUS, "AddMatch", "s", [rule], to=_DBUS)
        bus.add_message_handler(self._on_message)
        objects = (await self._call("/", OBJECT_MANAGER, "GetManagedObjects"))[0]
        path, properties = self._find(objects)
        if not _value(properties, "Powered", False):
            await self._power(path, may_power)
        self._adapter = Adapter(
            path, str(_value(properties, "Address", "")).upper(), _value(properties, "AddressType", "") == "random"
        )
        for device_path, interfaces in objects.items():
            if DEVICE in interfaces:
                self._remember(device_path, interfaces[DEVICE])
        return self._adapter

    async def advertise(self) -> None:
        """Show the service to others until `close`. Raises `RadioError`."""
        adapter = self._opened()
        await self._call(
            adapter.path, ADVERTISING_MANAGER, "RegisterAdvertisement", "oa{sv}", [ADVERT_PATH, {}], what="advertise on"
        )

    async def scan(self) -> None:
        """Listen for the service of others until `close`. Raises `RadioError`."""
        adapter = self._opened()
        await self._call(adapter.path, ADAPTER, "SetDiscoveryFilter", "a{sv}", [dict(FILTER)], what="scan on")
        await self._call(adapter.path, ADAPTER, "StartDiscovery", what="scan on")
        for device in self._devices.values():
            # What BlueZ only remembers may be long gone; what has a signal strength was just heard.
            if device.heard:
                self._report(device)

    async def close(self) -> None:
        """Leave the bus; BlueZ ends what was begun over it."""
        bus, self._bus, self._adapter = self._bus, None, None
        self._devices.clear()
        if bus is not None and bus.connected:
            bus.remove_message_handler(self._on_message)
            bus.disconnect()
            await bus.wait_for_disconnect()

    # -- the parts of `open`

    async def _connect(self) -> Any:
        try:
            bus: Any = await asyncio.wait_for(MessageBus(bus_type=BusType.SYSTEM).connect(), CALL_TIMEOUT)
        except (TimeoutError, OSError, DBusFastError) as error:
            place = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "/run/dbus/system_bus_socket")
            raise RadioError(
                f"no D-Bus system bus at {place} ({_words(error)}); Bluetooth needs it and BlueZ "
                "(Debian: apt-get install dbus bluez)"
            ) from None
        self._bus = bus
        task = asyncio.get_running_loop().create_task(bus.wait_for_disconnect())
        task.add_done_callback(lambda done: self._bus_ended(bus, done))
        return bus

    def _bus_ended(self, bus: Any, done: asyncio.Task[None]) -> None:
        if not done.cancelled():
            done.exception()
        if self._bus is bus:
            self._lost("the connection to the D-Bus system bus broke")

    def _find(self, objects: Mapping[str, Mapping[str, Mapping[str, Variant]]]) -> tuple[str, Mapping[str, Variant]]:
        adapters = {path.rpartition("/")[2]: path for path in sorted(objects) if ADAPTER in objects[path]}
        if not adapters:
            raise RadioError("BlueZ knows no Bluetooth adapter: plug one in, or see `rfkill` and `dmesg`")
        name = next(iter(adapters)) if self._name == "default" else self._name
        if name not in adapters:
            raise RadioError(f"BlueZ has no Bluetooth adapter {name}; it has {', '.join(adapters)}")
        return adapters[name], objects[adapters[name]][ADAPTER]

    async def _power(self, path: str, may_power: bool) -> None:
        if not may_power:
            raise RadioError(f"Bluetooth adapter {path.rpartition('/')[2]} is switched off")
        await self._call(path, PROPERTIES, "Set", "ssv", [ADAPTER, "Powered", Variant("b", True)], what="switch on")

    def _opened(self) -> Adapter:
        if self._adapter is None:
            raise RadioError("the Bluetooth adapter went away")
        return self._adapter

    async def _call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: list[Any] | None = None,
        *,
        to: str = BLUEZ,
        what: str = "use",
    ) -> list[Any]:
        bus = self._bus
        if bus is None:
            raise RadioError("the connection to the D-Bus system bus broke")
        message = Message(
            destination=to, path=path, interface=interface, member=member, signature=signature, body=body or []
        )
        try:
            reply = await asyncio.wait_for(bus.call(message), CALL_TIMEOUT)
        except (TimeoutError, OSError, EOFError, DBusFastError) as error:
            raise RadioError(f"BlueZ does not answer: {_words(error)}") from None
        if reply is not None and reply.message_type is MessageType.ERROR:
            text = str(reply.body[0]) if reply.body else ""
            raise refusal(str(reply.error_name), text, what, self._name)
        return [] if reply is None else list(reply.body)

    # -- what BlueZ tells

    def _on_message(self, message: Message) -> Message | bool | None:
        if message.message_type is MessageType.SIGNAL:
            self._on_signal(message)
            return None
        if message.message_type is MessageType.METHOD_CALL and message.path == ADVERT_PATH:
            return _advert_answer(message)
        return None

    def _on_signal(self, message: Message) -> None:
        match message.member, message.body:
            case "NameOwnerChanged", [str(name), _, ""] if name == BLUEZ:
                self._lost("BlueZ stopped")
            case "InterfacesAdded", [str(path), dict(interfaces)] if DEVICE in interfaces:
                if self._remember(path, interfaces[DEVICE]):
                    self._report(self._devices[path])
            case "InterfacesRemoved", [str(path), list(interfaces)]:
                self._devices.pop(path, None)
                if self._adapter is not None and path == self._adapter.path and ADAPTER in interfaces:
                    self._lost(f"Bluetooth adapter {path.rpartition('/')[2]} was removed")
            case "PropertiesChanged", [str(interface), dict(changed), _]:
                self._properties_changed(message.path or "", interface, changed)

    def _properties_changed(self, path: str, interface: str, changed: Mapping[str, Variant]) -> None:
        if interface == ADAPTER and self._adapter is not None and path == self._adapter.path:
            if _value(changed, "Powered", True) is False:
                self._lost(f"Bluetooth adapter {path.rpartition('/')[2]} was switched off", switched_off=True)
        elif interface == DEVICE and path in self._devices:
            self._report(self._devices[path])

    def _remember(self, path: str, properties: Mapping[str, Variant]) -> bool:
        """Note a device of our adapter with our service; whether it is one."""
        adapter = self._adapter
        if adapter is None or not path.startswith(f"{adapter.path}/") or len(self._devices) >= _DEVICES:
            return False
        if SERVICE_UUID not in [str(uuid).lower() for uuid in _value(properties, "UUIDs", [])]:
            return False
        device = str(_value(properties, "Address", "")).upper()
        random = _value(properties, "AddressType", "public") == "random"
        self._devices[path] = _Device(device, random, "RSSI" in properties)
        return True

    def _report(self, device: _Device) -> None:
        now = asyncio.get_running_loop().time()
        if now >= device.silent_until:
            device.silent_until = now + REPORT_INTERVAL
            self._watcher.device_seen(device.address, device.random)

    def _lost(self, reason: str, switched_off: bool = False) -> None:
        if self._adapter is not None:
            self._adapter = None
            self._watcher.adapter_lost(reason, switched_off)


@dataclass(slots=True)
class _Device:
    address: str
    random: bool
    heard: bool
    silent_until: float = float("-inf")


def _advert_answer(message: Message) -> Message | None:
    """What BlueZ asks of the advertisement: its properties, and to note that it was released."""
    if message.interface == PROPERTIES and message.member == "GetAll":
        return Message.new_method_return(message, "a{sv}", [dict(ADVERT)])
    if message.interface == ADVERTISEMENT and message.member == "Release":
        return Message.new_method_return(message)
    return None


def _value(properties: Mapping[str, Variant], name: str, default: Any) -> Any:
    return properties[name].value if name in properties else default


def refusal(name: str, text: str, what: str, adapter: str) -> RadioError:
    """Put an error answer on the bus into one line that says what to do."""
    short = name.rpartition(".")[2]
    if short in ("ServiceUnknown", "NameHasNoOwner", "Spawn.ExecFailed", "NoReply"):
        return RadioError("BlueZ is not running: systemctl start bluetooth (Debian: apt-get install bluez)")
    if short in ("AccessDenied", "NotAuthorized"):
        return RadioError(
            f"not permitted to {what} Bluetooth adapter {adapter}: run as root, or add this account to the group "
            "`bluetooth`"
        )
    if short == "Blocked" or "rfkill" in text.lower() or "blocked" in text.lower():
        return RadioError(f"Bluetooth adapter {adapter} is blocked: rfkill unblock bluetooth")
    return RadioError(f"BlueZ cannot {what} Bluetooth adapter {adapter}: {text or name}")


def _words(error: BaseException) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return text[:1].lower() + text[1:] or type(error).__name__
