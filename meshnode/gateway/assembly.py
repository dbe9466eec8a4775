"""Everything a machine does for its local network, put together: the gateway, and proxies into the mesh."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from meshnode.config.errors import Place
from meshnode.config.schema import Config
from meshnode.ipv6.dns_forward import Forwarder

from .gateway import ANSWER_SECS, Gateway
from .names import GatewayNames
from .plan import GatewayError, endpoint, plan
from .proxy import Proxy, ProxyError

_NO_IPV4 = (
    "hosts without IPv6 are not served: nftables cannot translate between IPv4 and IPv6; "
    "give them a proxy with meshnode.gateway.proxy"
)


class LocalNetwork:
    """Starts and stops what the configuration asks for. `log(level, text)` takes lines for the operator.

    Raises `GatewayError` when it asks for nothing, or for what cannot be.
    """

    def __init__(
        self, config: Config, places: Mapping[str, Place], reactor: Any, log: Callable[[str, str], None]
    ) -> None:
        self._log = log
        listen = config.meshnode.gateway.proxy
        proxies_only = bool(listen) and (config.gateway is None or not config.gateway.enabled)
        self.gateway = None if proxies_only else Gateway(plan(config, places), reactor, log)
        node = endpoint(config.gateway.dns.upstream, "gateway.dns.upstream") if config.gateway else None
        self._node = Forwarder([node or (config.dns.bind_addr, config.dns.port)], reactor, os.urandom, ANSWER_SECS)
        names = GatewayNames(self._node, _lend_nothing, 0, time.time, lambda text: log("warn", text))
        self.proxies = [
            Proxy(endpoint(text, f"meshnode.gateway.proxy[{number}]"), names.ask_node, reactor)
            for number, text in enumerate(listen)
        ]
        self._listen = listen

    async def start(self) -> None:
        """Raises `GatewayError`, and has then left nothing behind."""
        try:
            for proxy in self.proxies:
                proxy.start()
        except ProxyError as error:
            self._stop_proxies()
            raise GatewayError(str(error)) from None
        try:
            if self.gateway is not None:
                await self.gateway.start()
        except GatewayError:
            self._stop_proxies()
            raise
        if self.gateway is not None and not self.proxies:
            self._log("info", _NO_IPV4)
        if self.proxies:
            self._log("info", f"proxy into the mesh at {', '.join(self._listen)}; browsers: http://HOST:PORT/proxy.pac")

    async def stop(self, *, keep: bool = False) -> None:
        """Take everything back; with `keep` leave the kernel as it is, for a run that follows."""
        self._stop_proxies()
        if self.gateway is not None:
            await self.gateway.stop(keep=keep)

    def _stop_proxies(self) -> None:
        for proxy in self.proxies:
            proxy.stop()
        self._node.stop()


async def _lend_nothing(mesh: bytes, name: str) -> bytes | None:
    """A proxy connects to mesh addresses themselves."""
    return None
