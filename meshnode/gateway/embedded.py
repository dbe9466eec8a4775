"""The gateway inside a node (`meshnode.gateway.embedded`): at any time the one that the configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import DeferredLock, ensureDeferred
from twisted.internet.interfaces import IDelayedCall

from meshnode.config.errors import ConfigError, Place
from meshnode.config.schema import Config

if TYPE_CHECKING:
    from .assembly import LocalNetwork

RETRY_SECS = 30.0
"""How long after one that could not start another one is tried: interfaces and addresses may come after the node."""

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
        self._retry: IDelayedCall | None = None

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
            self._assemble(candidate, places).check(self._network)
        except GatewayError as error:
            raise ConfigError("policy", str(error)) from None

    async def follow(self, places: Mapping[str, Place]) -> str | None:
        """Be what the configuration asks for by now; returns why that cannot be yet, and goes on trying.

        As long as there is a gateway before and after, connections through it go on.
        """
        return await self._lock.run(self._follow, places)

    async def _follow(self, places: Mapping[str, Place]) -> str | None:
        self._give_up()
        if not _is_asked_for(self._config):
            await self._leave()
            return None
        from .plan import GatewayError

        before, self._network = self._network, None
        try:
            network = self._assemble(self._config, places)
            await (network.start() if before is None else network.succeed(before))
        except GatewayError as error:
            problem = f"no gateway for the local network yet, everything else works: {error}"
            self._retry = self._reactor.callLater(RETRY_SECS, lambda: ensureDeferred(self._try_again(places, problem)))
            return problem
        self._network = network
        return None

    async def _try_again(self, places: Mapping[str, Place], known: str) -> None:
        problem = await self.follow(places)
        if problem not in (None, known):
            self._log("warn", str(problem))

    def _give_up(self) -> None:
        retry, self._retry = self._retry, None
        if retry is not None and retry.active():
            retry.cancel()

    def advice(self, changed: list[str]) -> list[str]:
        """What the operator has to know who changed these keys."""
        beside = "gateway" in changed and not self._config.meshnode.gateway.embedded
        return [_BESIDE] if beside else []

    async def stop(self) -> None:
        """Take everything back."""
        await self._lock.run(self._leave)

    async def _leave(self) -> None:
        self._give_up()
        before, self._network = self._network, None
        if before is not None:
            await before.stop()

    def _assemble(self, config: Config, places: Mapping[str, Place]) -> LocalNetwork:
        from .assembly import LocalNetwork

        return LocalNetwork(config, places, self._reactor, self._log)


def _is_asked_for(config: Config) -> bool:
    section, extras = config.gateway, config.meshnode.gateway
    return extras.embedded and ((section is not None and section.enabled) or bool(extras.proxy))
