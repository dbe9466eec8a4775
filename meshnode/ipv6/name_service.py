"""Names under `.fips` for the programs of this machine: the responder, and the system resolver that asks it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from meshnode.identity import PeerIdentity
from meshnode.ipv6.dns import DnsResponder, FipsZone, interface_index
from meshnode.ipv6.hosts import HostMap

RESOLV_CONF = "resolv-conf"
_LOOPBACK = ("127.0.0.1", 53)


class NameService:
    """One responder, and what was arranged around it on this machine.

    `mode` is one of `meshnode.ipv6.resolver.MODES`. With `resolv-conf` the responder listens on port 53 as well and
    passes on every question that is not about `.fips`.
    """

    def __init__(
        self,
        hosts: HostMap,
        endpoint: tuple[str, int],
        ttl: int,
        mode: str,
        resolved: Callable[[PeerIdentity], None],
        reactor: Any,
    ) -> None:
        self._mode = mode
        self._reactor = reactor
        listen = [endpoint]
        forwarder = None
        if mode == RESOLV_CONF:
            from meshnode.ipv6.dns_forward import Forwarder
            from meshnode.ipv6.resolver import upstream_servers

            listen += [_LOOPBACK] if endpoint != _LOOPBACK else []
            forwarder = Forwarder(upstream_servers("/", listen), reactor, os.urandom)
        self.responder = DnsResponder(FipsZone(hosts, ttl, resolved), listen, reactor, forwarder=forwarder)
        self._resolver: Any = None

    def start(self) -> list[str]:
        """Open the sockets; returns one line for the operator per endpoint that cannot be had."""
        return self.responder.start()

    async def interface_up(self, interface: str, may_configure: bool) -> str | None:
        """The TUN interface is there: no questions are taken from it, and the system may be told to ask us.

        Returns a line for the operator, or None when there is nothing to say.
        """
        self.responder.tun_index = interface_index(interface)
        if not may_configure or not self.responder.bound:
            return None
        from meshnode.ipv6.commands import command_runner
        from meshnode.ipv6.resolver import SystemResolver

        self._resolver = SystemResolver(self.responder.bound, interface, command_runner(self._reactor), self._mode)
        outcome = await self._resolver.configure()
        return str(outcome.message)

    async def stop(self) -> str | None:
        """Close the sockets and take back what was arranged; returns a line when that did not work."""
        self.responder.stop()
        return None if self._resolver is None else await self._resolver.undo()
