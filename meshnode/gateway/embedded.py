"""The gateway inside a node (`meshnode.gateway.embedded`): at any time the one that the configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import DeferredLock

from meshnode.config.errors import ConfigError, Place
from meshnode.config.schema import Config

if TYPE_CHECKING:
    from .assembly import LocalNetwork

_BESIDE = (
    "gateway: this section is for the program meshnode-gateway; make it begin anew: systemctl reload meshnode-gateway"
)


class EmbeddedGateway:
    """Serves the local network as `config`, the running node's own, says. `log(level, text)` is for the operator.

    A node whose configuration asks for nothing of the kind imports nothing of it.
    """

    def __init__(self, config: Config, reactor: Any, log: Callable[[str, str], None]) -> None:
        self._config = config
        self._reactor = reactor
        self._log = log
        self._network: LocalNetwork | None = None
        self._lock = DeferredLock()

    def check(self, new: Config, places: Mapping[str, Place]) -> None:
        """Raises `ConfigError` where this machine cannot be the gateway that `new` asks for, now that it is running."""
        ours = self._config
        if (new.gateway, new.meshnode.gateway) == (ours.gateway, ours.meshnode.gateway):
            return
        candidate = copy(ours)  # of what `new` says, only this much takes effect without a restart
        candidate.gateway, candidate.meshnode = new.gateway, new.meshnode
        if not _is_asked_for(candidate):
            return
        from .plan import GatewayError

        try:
            self._assemble(candidate, places).check()
        except GatewayError as error:
            raise ConfigError("policy", str(error)) from None

    async def follow(self, places: Mapping[str, Place]) -> str | None:
        """Be what the configuration asks for by now; returns why that cannot be.

        As long as there is a gateway before and after, connections through it go on.
        """
        return await self._lock.run(self._follow, places)

    async def _follow(self, places: Mapping[str, Place]) -> str | None:
        if not _is_asked_for(self._config):
            await self._leave()
            return None
        from .plan import GatewayError

        before, self._network = self._network, None
        try:
            network = self._assemble(self._config, places)
            await (network.start() if before is None else network.succeed(before))
        except GatewayError as error:
            return f"no gateway for the local network, everything else works: {error}"
        self._network = network
        return None

    def advice(self, changed: list[str]) -> list[str]:
        """What the operator has to know who changed these keys."""
        beside = "gateway" in changed and not self._config.meshnode.gateway.embedded
        return [_BESIDE] if beside else []

    async def stop(self) -> None:
        """Take everything back."""
        await self._lock.run(self._leave)

    async def _leave(self) -> None:
        before, self._network = self._network, None
        if before is not None:
            await before.stop()

    def _assemble(self, config: Config, places: Mapping[str, Place]) -> LocalNetwork:
        from .assembly import LocalNetwork

        return LocalNetwork(config, places, self._reactor, self._log)


def _is_asked_for(config: Config) -> bool:
    section, extras = config.gateway, config.meshnode.gateway
    return extras.embedded and ((section is not None and section.enabled) or bool(extras.proxy))
