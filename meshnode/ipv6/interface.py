"""The TUN interface of a node through its life: made, configured, and made again when somebody removes it."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import ensureDeferred

from meshnode.ipv6.counters import TunCounters
from meshnode.ipv6.firewall import Firewall
from meshnode.ipv6.netsetup import NetworkSetup, NetworkSetupError
from meshnode.ipv6.tun import TunDevice, TunError, TunSystem

FIRST_RETRY_SECS = 1.0
LONGEST_RETRY_SECS = 60.0


class InterfaceHost(Protocol):
    """What lives on a `MeshInterface`."""

    def interface_open(self, device: TunDevice) -> None:
        """Packets for the host may be written to `device` from now on."""

    async def interface_up(self, name: str) -> None:
        """The interface has its address and its routes, and is read."""

    def interface_down(self, reason: str) -> None:
        """There is no interface, until `interface_open` is called again."""

    def packets_read(self, packets: list[bytes]) -> None:
        """Take IPv6 packets from the host, in order; never an empty list."""

    def burst_ended(self) -> None:
        """Everything read in this reactor turn has been handed over."""


class MeshInterface:
    """Interface `name` with mesh address `ipv6` (16 bytes) and `mtu`.

    `open` and `up` are called once at the start, and `close` at the end. In between a device that vanishes, is set
    down or loses its address or route is replaced: tried after a second, then ever less often, for as long as it
    takes. With a `firewall` there is no interface without it.
    """

    def __init__(
        self,
        reactor: Any,
        name: str,
        ipv6: bytes,
        mtu: int,
        host: InterfaceHost,
        network: NetworkSetup | None = None,
        system: TunSystem | None = None,
        firewall: Firewall | None = None,
    ) -> None:
        self.name = name
        self.state = "configured"
        self.device: TunDevice | None = None
        self.counters = TunCounters()
        self._reactor = reactor
        self._ipv6 = ipv6
        self._mtu = mtu
        self._host = host
        self._network = network or NetworkSetup(reactor)
        self._openings = 0
        self._tun = TunDevice(reactor, name, mtu, self, system, self.counters)
        self._firewall = firewall
        self._timer: Any = None
        self._delay = FIRST_RETRY_SECS
        self._closed = False

    def prepare(self) -> None:
        """Start early what `up` will need."""
        self._network.prepare()

    def cancel(self) -> None:
        """End what `prepare` started."""
        self._network.cancel()

    def open(self) -> None:
        """Make the interface; trouble is told as `interface_down`."""
        try:
            self._tun.open()
        except TunError as error:
            self._fail(str(error))
            return
        self._openings += 1
        self.device = self._tun
        self._host.interface_open(self._tun)

    async def up(self) -> None:
        """Configure the interface and begin to read; trouble is told as `interface_down`."""
        device, opening = self.device, self._openings
        if device is None:
            return
        try:
            if self._firewall is not None:
                await self._firewall.install()  # before there is anything to be reached
            await self._network.configure(self.name, self._ipv6, self._mtu)
        except NetworkSetupError as error:
            if self._is_still(opening):
                device.let_go()
                self._fail(str(error))
            return
        if self._is_still(opening):
            device.start()
            self.state = "active"
            self._delay = FIRST_RETRY_SECS
            await self._host.interface_up(self.name)

    def _is_still(self, opening: int) -> bool:
        """Whether the interface of that number is there, and not another one that was made in its place."""
        return self.device is not None and self._openings == opening

    def network_changed(self) -> None:
        """Look whether the interface still is as it was configured, after any change of the host's network."""
        device = self.device
        if device is None or self.state != "active":
            return
        lack = self._network.lack(self.name, self._ipv6)
        if lack is not None:
            device.close()  # which removes it, under whatever name it goes now
            self.tun_lost(lack)

    async def close(self) -> None:
        """Remove the interface and all that was configured with it. Raises NetworkSetupError."""
        self._closed = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self.device = None
        self._tun.close()
        try:
            await self._network.remove()
        finally:
            if self._firewall is not None:
                await self._firewall.remove()

    # -- what the device tells (`TunHost`)

    def packets_read(self, packets: list[bytes]) -> None:
        self._host.packets_read(packets)

    def burst_ended(self) -> None:
        self._host.burst_ended()

    def tun_lost(self, reason: str) -> None:
        self._fail(reason)
        self._try_later()

    def _fail(self, reason: str) -> None:
        self.device = None
        self.state = "failed"
        self._network.cancel()
        self._host.interface_down(reason)

    # -- again

    def _try_later(self) -> None:
        if self._timer is not None and self._timer.active():
            return  # it vanished while it was being set up
        self._timer = self._reactor.callLater(self._delay, lambda: ensureDeferred(self._try_again()))
        self._delay = min(2 * self._delay, LONGEST_RETRY_SECS)

    async def _try_again(self) -> None:
        self.open()
        await self.up()
        if self.device is None and not self._closed:
            self._try_later()
