"""What the Bluetooth transport needs of a radio: the seam behind which BlueZ is, or something else that a package adds.

`adapter: hci0` in the configuration means BlueZ. `adapter: SCHEME:TEXT` means the `IRadioFactory` of that scheme, found
through Twisted's plugin system; TEXT is its own affair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.plugin import getPlugins
from zope.interface import Attribute, Interface

from meshnode.transports.ble.channel import Channel
from meshnode.transports.interfaces import TransportError

SERVICE_UUID = "9c90b790-2cc5-42c0-9f87-c9cc40648f4c"
LOCAL_NAME = "fips"


class RadioError(TransportError):
    """The radio cannot be used now; the text is one line that names the cause and what to do.

    `permanent` is true when only another configuration or installation can help, so that trying again is of no use.
    """

    def __init__(self, text: str, *, permanent: bool = False) -> None:
        super().__init__(text)
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class RadioSettings:
    """What a radio is asked to do; `mtu` in bytes."""

    adapter: str
    psm: int
    mtu: int
    advertise: bool
    scan: bool
    listen: bool


@dataclass(frozen=True, slots=True)
class RadioStatus:
    """What an opened radio does: its own device address, and whether others can see it."""

    device: str
    advertising: bool


class IRadioUser(Interface):
    """The transport, as a radio sees it. All calls come in the reactor's thread."""

    def device_found(device: str) -> None:
        """Note that `device` (`AA:BB:CC:DD:EE:FF`) advertises our service; it may be told often."""

    def channel_accepted(channel: Channel) -> None:
        """Take a channel that the other side opened."""

    def radio_lost(reason: str) -> None:
        """Note that the radio stopped working. Channels end by themselves; `open` may be tried again."""


class IRadio(Interface):
    """One Bluetooth controller with L2CAP channels on it."""

    def open(user: IRadioUser) -> Deferred[RadioStatus]:
        """Begin to listen, advertise and scan as the settings say. Fails with `RadioError`.

        What others do not depend on (advertising, scanning) is only logged when it fails.
        """

    def dial(device: str) -> Deferred[Channel]:
        """Open a channel to `device`. Fails with `TransportError` or `OSError`; cancelling gives up."""

    def close() -> Deferred[None]:
        """Stop everything but open channels. Never fails; may be called in any state."""


class IRadioFactory(Interface):
    """Makes radios for one scheme; ours for the empty one, other people's as Twisted plugins (`IPlugin` too)."""

    scheme: str = Attribute("What stands before the colon in `adapter`.")

    def create(settings: RadioSettings, reactor: Any) -> IRadio:
        """Make one radio; opens nothing yet. Raises `TransportError` for settings it cannot use."""


def make_radio(settings: RadioSettings, reactor: Any) -> IRadio:
    """Return the radio that `settings.adapter` names. Raises `TransportError`."""
    scheme, colon, _rest = settings.adapter.partition(":")
    if not colon:
        # Late, because dbus-fast and ctypes are of no use to a radio of somebody else's.
        from meshnode.transports.ble.bluez_radio import BluezRadio

        return BluezRadio(settings, reactor)
    for factory in getPlugins(IRadioFactory):
        if factory.scheme == scheme:
            radio: IRadio = factory.create(settings, reactor)
            return radio
    raise TransportError(f"ble adapter {settings.adapter!r}: no installed package provides a radio called {scheme!r}")
