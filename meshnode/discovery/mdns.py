"""DNS-SD over multicast DNS with zeroconf: one responder and one browser per interface (spec 04b section 1).

Each interface has an instance of its own, so that what is advertised there are the addresses of that interface and no
others. Everything here but `Mdns`' public methods runs on the asyncio loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address

from twisted.internet.defer import Deferred
from zeroconf import Error, IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from meshnode.asyncio_bridge import AsyncioBridge

from .lan_service import LanListener, Presence, Service
from .lan_table import Advert

RESOLVE_MS = 3000
MOST_RESOLVING, MOST_WAITING = 16, 256
GOODBYE_SECS = 2.0
_TEXT, _ADDRESSES = {16}, {1, 28}  # the numbers of TXT, A and AAAA
_IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 49, 29  # linux/in.h, linux/in6.h; the standard library has no names for them


class Mdns:
    """Advertises and browses `service` on a changing set of interfaces."""

    def __init__(self, bridge: AsyncioBridge, service: Service, listener: LanListener) -> None:
        self._bridge = bridge
        self._service = service
        self._listener = listener
        self._wanted: dict[str, Presence] = {}
        self._responders: dict[str, _Responder] = {}
        self._adjusting: asyncio.Task[None] | None = None

    def be_on(self, presences: list[Presence]) -> None:
        """Be present on these interfaces and no others, from soon on."""
        self._bridge.call_loop(self._want, {presence.interface.name: presence for presence in presences})

    def browse_anew(self) -> None:
        """Ask again who is there, on every interface."""
        self._bridge.call_loop(self._ask_again)

    def close(self) -> Deferred[None]:
        """Say goodbye everywhere and end."""
        return self._bridge.run(self._close())

    def _want(self, wanted: dict[str, Presence]) -> None:
        self._wanted = wanted
        if self._adjusting is None:
            self._adjusting = asyncio.ensure_future(self._adjust())

    async def _adjust(self) -> None:
        """Go from where we are to where we are wanted, which may change meanwhile."""
        wanted = None
        while wanted is not self._wanted:
            wanted = self._wanted
            for name, responder in list(self._responders.items()):
                if wanted.get(name) != responder.presence:
                    await self._leave(name)
            for name in wanted.keys() - self._responders.keys():
                await self._enter(wanted[name])
        self._adjusting = None

    async def _enter(self, presence: Presence) -> None:
        responder = _Responder(self._service, presence, self._tell)
        name = presence.interface.name
        try:
            await responder.open()
        except (OSError, RuntimeError, Error) as error:
            cause = str(error) or type(error).__name__
            await responder.close()
            self._tell(lambda listener: listener.trouble(name, cause))
        else:
            self._responders[name] = responder

    async def _leave(self, name: str) -> None:
        await self._responders.pop(name).close()
        self._tell(lambda listener: listener.left(name))

    def _ask_again(self) -> None:
        for responder in self._responders.values():
            responder.browse()

    async def _close(self) -> None:
        self._wanted = {}
        if self._adjusting is not None:
            await self._adjusting
        await asyncio.gather(*(responder.close() for responder in self._responders.values()))
        self._responders.clear()

    def _tell(self, what: Callable[[LanListener], None]) -> None:
        self._bridge.call_reactor(what, self._listener)


class _Responder:
    """The service on one interface."""

    def __init__(
        self, service: Service, presence: Presence, tell: Callable[[Callable[[LanListener], None]], None]
    ) -> None:
        self.presence = presence
        self._service = service
        self._tell = tell
        self._name = presence.interface.name
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._tasks: set[asyncio.Future[None]] = set()
        self._turns = asyncio.Semaphore(MOST_RESOLVING)

    async def open(self) -> None:
        """Announce ourselves and begin to browse. Raises OSError, RuntimeError or zeroconf's `Error`."""
        addresses = self.presence.interface.addresses
        four = [address for address in addresses if ":" not in address]
        six = [self.presence.interface.index] if len(four) < len(addresses) else []
        version = {(True, False): IPVersion.V4Only, (False, True): IPVersion.V6Only}.get((bool(four), bool(six)))
        self._zeroconf = AsyncZeroconf(interfaces=[*four, *six], ip_version=version or IPVersion.All)
        await self._zeroconf.zeroconf.async_wait_for_start()
        _hear_nothing_else(self._zeroconf.zeroconf)
        # A stale record of our own, after a quick restart, is no reason to be called otherwise: no probing.
        self._keep(await self._zeroconf.async_register_service(self._info(), cooperating_responders=True, strict=False))
        self.browse()

    def _info(self) -> AsyncServiceInfo:
        return AsyncServiceInfo(
            self._service.type,
            self._service.name,
            port=self.presence.port,
            properties=dict(self._service.properties),
            server=f"{self._service.instance}.local.",
            parsed_addresses=list(self.presence.addresses),
        )

    def browse(self) -> None:
        """Ask who is there, and hear of changes from now on; who was heard before is told again."""
        if self._zeroconf is None:
            return
        if self._browser is not None:
            self._keep(self._browser.async_cancel())
        self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, self._service.type, handlers=[self._changed])

    def _changed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        instance = name.removesuffix(f".{service_type}")
        if state_change is ServiceStateChange.Removed:
            self._tell(lambda listener: listener.gone(self._name, instance))
        elif len(self._tasks) < MOST_WAITING:
            self._keep(self._resolve(zeroconf, name, instance))

    async def _resolve(self, zeroconf: Zeroconf, name: str, instance: str) -> None:
        info = AsyncServiceInfo(self._service.type, name)
        async with self._turns:
            found = await info.async_request(zeroconf, RESOLVE_MS)
        if found:
            advert = replace(advert_of(info, self._name, instance), heard=_last_heard(zeroconf, info))
            self._tell(lambda listener: listener.seen(advert))

    def _keep(self, work: Awaitable[None]) -> None:
        """Let `work` go on until it ends or we close."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Say goodbye and close; whatever hangs is left behind."""
        for task in self._tasks:
            task.cancel()
        if self._zeroconf is None:
            return
        with suppress(asyncio.TimeoutError, OSError, Error):
            if self._browser is not None:
                await asyncio.wait_for(self._browser.async_cancel(), GOODBYE_SECS)
            await asyncio.wait_for(self._zeroconf.async_close(), GOODBYE_SECS)


def _hear_nothing_else(zeroconf: Zeroconf) -> None:
    """Hear only what arrives on interfaces we joined; by default a socket hears the groups that others joined, too."""
    for reader in zeroconf.engine.readers:
        for level, option in ((socket.IPPROTO_IP, _IP_MULTICAST_ALL), (socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL)):
            with suppress(OSError):  # the option of the other family, or a kernel without it
                reader.sock.setsockopt(level, option, 0)


def _last_heard(zeroconf: Zeroconf, info: AsyncServiceInfo) -> float:
    """When both the key and an address of an instance had last arrived, in milliseconds of zeroconf's own clock."""
    names = (info.name, info.server or info.name)
    records = [record for name in names for record in zeroconf.cache.entries_with_name(name)]
    kinds = (_TEXT, _ADDRESSES)
    return min(max((record.created for record in records if record.type in kind), default=0.0) for kind in kinds)


def advert_of(info: AsyncServiceInfo, interface: str, instance: str) -> Advert:
    """What was resolved about an instance on an interface, by whomever it was said; nothing of it is believed yet."""
    values = {key.lower(): value for key, value in info.decoded_properties.items()}
    addresses = (_with_scope(text, interface) for text in info.parsed_scoped_addresses(IPVersion.All))
    return Advert(
        interface, instance, values.get("npub"), values.get("scope") or None, info.port or 0, tuple(addresses)
    )


def _with_scope(text: str, interface: str) -> str:
    """Return an address as text, a link-local one with the interface it was heard on."""
    bare = text.partition("%")[0]
    return f"{bare}%{interface}" if ip_address(bare).is_link_local and ":" in bare else bare
