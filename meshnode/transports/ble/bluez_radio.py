"""The radio that every Linux machine has: BlueZ finds and shows devices, kernel sockets carry the channels."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from meshnode.asyncio_bridge import bridge_of
from meshnode.transports.ble.channel import Channel
from meshnode.transports.ble.l2cap import Dialler, KernelL2cap, L2capSystem, Listener
from meshnode.transports.ble.radio import IRadio, IRadioUser, RadioError, RadioSettings, RadioStatus

_log = Logger()


@implementer(IRadio)
class BluezRadio:
    """One adapter of BlueZ. `system` is where sockets come from."""

    def __init__(self, settings: RadioSettings, reactor: Any, system: L2capSystem | None = None) -> None:
        self._settings = settings
        self._reactor = reactor
        self._system = KernelL2cap() if system is None else system
        self._bluez: Any = None
        self._user: IRadioUser | None = None
        self._listener: Listener | None = None
        self._random: set[str] = set()
        self._may_power = True
        self._gone_because: str | None = None

    def open(self, user: IRadioUser) -> Deferred[RadioStatus]:
        """Use the adapter. One that somebody switched off while we ran is left alone until it is on again."""
        return Deferred.fromCoroutine(self._open(user))

    async def _open(self, user: IRadioUser) -> RadioStatus:
        try:
            from meshnode.transports.ble.bluez import Bluez
        except ImportError:
            raise RadioError(
                "Bluetooth needs the library dbus-fast: pip install meshnode[ble]", permanent=True
            ) from None
        await self.close()
        self._user, self._gone_because = user, None
        bluez = self._bluez = Bluez(self._settings.adapter, self)
        bridge = bridge_of(self._reactor)
        try:
            adapter = await bridge.run(bluez.open(may_power=self._may_power))
            if self._bluez is not bluez:
                raise RadioError("closed meanwhile")
            if self._settings.listen:
                self._listen(adapter.device)
            # Whoever switches the adapter off from now on means it.
            self._may_power = False
            advertising = self._settings.advertise and await self._try(bluez.advertise())
            if self._settings.scan:
                await self._try(bluez.scan())
            if self._gone_because is not None:
                raise RadioError(self._gone_because)
        except RadioError:
            await self.close()
            raise
        if adapter.random:
            _log.warn(
                "ble: {adapter} has a random address {device}; other implementations dial public ones only",
                adapter=self._settings.adapter,
                device=adapter.device,
            )
        return RadioStatus(adapter.device, advertising)

    def _listen(self, device: str) -> None:
        self._listener = Listener(self._reactor, self._system, self._accepted)
        self._listener.listen(device, self._settings.psm, self._settings.mtu)

    async def _try(self, coroutine: Any) -> bool:
        """Do what the radio is of use without; whether it went well."""
        try:
            await bridge_of(self._reactor).run(coroutine)
        except RadioError as error:
            _log.warn("ble: {error}", error=error)
            return False
        return True

    def dial(self, device: str) -> Deferred[Channel]:
        """Open a channel to `device`, by the kind of address it was heard with; unheard ones count as public."""
        dialler = Dialler(self._reactor, self._system, device)
        return dialler.dial(self._settings.psm, self._settings.mtu, device in self._random)

    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        self._user = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        bluez, self._bluez = self._bluez, None
        if bluez is not None:
            await bridge_of(self._reactor).run(bluez.close())

    # -- what comes in

    def _accepted(self, channel: Channel) -> None:
        if self._user is None:
            channel.close()
        else:
            self._user.channel_accepted(channel)

    def device_seen(self, device: str, random: bool) -> None:
        """Pass on what BlueZ saw (`BluezWatcher`, on the loop)."""
        bridge_of(self._reactor).call_reactor(self._found, device, random)

    def _found(self, device: str, random: bool) -> None:
        (self._random.add if random else self._random.discard)(device)
        if self._user is not None:
            self._user.device_found(device)

    def adapter_lost(self, reason: str, switched_off: bool) -> None:
        """Pass on that the adapter is gone (`BluezWatcher`, on the loop)."""
        bridge_of(self._reactor).call_reactor(self._gone, reason, switched_off)

    def _gone(self, reason: str, switched_off: bool) -> None:
        # An adapter that was pulled out and comes back may need switching on as at the start.
        self._may_power = not switched_off
        self._gone_because = reason
        user = self._user
        if user is not None:
            user.radio_lost(reason)
