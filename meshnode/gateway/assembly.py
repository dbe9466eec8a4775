"""Everything a machine does for its local network, put together: the gateway, and proxies into the mesh."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import gatherResults

from meshnode.config.errors import Place
from meshnode.config.schema import Config
from meshnode.ipv6.dns_forward import Forwarder

from .gateway import ANSWER_SECS, Gateway
from .listening import Listening
from .listening import check as check_listening
from .names import GatewayNames
from .plan import GatewayError, endpoint, plan
from .translation import why_only_ipv6

if TYPE_CHECKING:
    from .proxy import Proxy

Log = Callable[[str, str], None]
"""`log(level, text)`"""


class Proxies:
    """Proxies at the addresses `listen` (as in `meshnode.gateway.proxy`), which ask the responder `node` for names.

    Raises `GatewayError` for an address that is none.
    """

    def __init__(self, listen: Sequence[str], node: tuple[str, int], reactor: Any, log: Log) -> None:
        self.wishes = (tuple(listen), node)
        self._log = log
        self._node = Forwarder([node], reactor, os.urandom, ANSWER_SECS)
        names = GatewayNames(self._node, _lend_nothing, 0, time.time, lambda text: log("warn", text))
        self._proxies = _proxies(listen, names, reactor)

    def __len__(self) -> int:
        return len(self._proxies)

    @property
    def listening(self) -> list[Listening]:
        """Where they listen."""
        return [proxy.listening for proxy in self._proxies]

    async def start(self) -> None:
        """Raises `GatewayError`, and has then left nothing behind."""
        try:
            for proxy in self._proxies:
                proxy.start()
        except GatewayError:
            await self.stop()
            raise
        if self._proxies:
            listen = ", ".join(self.wishes[0])
            self._log("info", f"proxy into the mesh at {listen}; browsers: http://HOST:PORT/proxy.pac")

    async def stop(self) -> None:
        """End every connection through them, and listen no more."""
        self._node.stop()
        await gatherResults([proxy.stop() for proxy in self._proxies])


class LocalNetwork:
    """Starts and stops what the configuration asks for. `log` takes lines for the operator.

    Raises `GatewayError` when it asks for nothing, or for what cannot be.
    """

    def __init__(self, config: Config, places: Mapping[str, Place], reactor: Any, log: Log) -> None:
        self._log = log
        listen = config.meshnode.gateway.proxy
        proxies_only = bool(listen) and (config.gateway is None or not config.gateway.enabled)
        self.gateway = None if proxies_only else Gateway(plan(config, places), reactor, log)
        node = endpoint(config.gateway.dns.upstream, "gateway.dns.upstream") if config.gateway else None
        self.proxies = Proxies(listen, node or (config.dns.bind_addr, config.dns.port), reactor, log)

    def check(self, before: LocalNetwork | None = None) -> None:
        """Raises `GatewayError` when this machine cannot be what is asked for, where `before` runs until then."""
        if self.gateway is not None:
            self.gateway.check()
        check_listening(self.listening, before.listening if before is not None else [])

    @property
    def listening(self) -> list[Listening]:
        """Where names are asked and proxies found."""
        names = [] if self.gateway is None else [self.gateway.listening]
        return [*names, *self.proxies.listening]

    async def start(self) -> None:
        """Raises `GatewayError`, and has then left nothing behind."""
        await self.proxies.start()
        await self._start_gateway()

    async def succeed(self, before: LocalNetwork) -> None:
        """Start in the place of `before`, which is running: what both are asked for goes on as if nothing had happened,
        and where both lend addresses, connections go on.

        Raises `GatewayError`; then nothing is left of either.
        """
        if self.proxies.wishes == before.proxies.wishes:
            self.proxies = before.proxies
        else:
            await before.proxies.stop()
            try:
                await self.proxies.start()
            except GatewayError:
                await before.stop()
                raise
        await self._succeed_gateway(before.gateway)

    async def stop(self, *, keep: bool = False) -> None:
        """Take everything back; with `keep` leave the kernel as it is, for a run that follows."""
        await self.proxies.stop()
        if self.gateway is not None:
            await self.gateway.stop(keep=keep)

    async def _succeed_gateway(self, before: Gateway | None) -> None:
        if before is None or self.gateway is None:
            if before is not None:
                await before.stop()
            await self._start_gateway()
        elif self.gateway.plan == before.plan:
            self.gateway = before
        else:
            await before.stop(keep=True)
            try:
                await self._start_gateway()
            except GatewayError:
                await before.take_back()
                raise

    async def _start_gateway(self) -> None:
        if self.gateway is None:
            return
        try:
            await self.gateway.start()
        except GatewayError:
            await self.proxies.stop()
            raise
        if not self.proxies:
            self._log("info", why_only_ipv6())


def _proxies(listen: Sequence[str], names: GatewayNames, reactor: Any) -> list[Proxy]:
    """Without any of them half a MiB less is loaded."""
    if not listen:
        return []
    from .proxy import Proxy

    return [
        Proxy(Listening("proxy", endpoint(text, key), key), names.ask_node, reactor)
        for key, text in ((f"meshnode.gateway.proxy[{number}]", text) for number, text in enumerate(listen))
    ]


async def _lend_nothing(mesh: bytes, name: str, client: str) -> bytes | None:
    """A proxy connects to mesh addresses themselves."""
    return None
