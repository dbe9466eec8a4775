"""What the gateway's control socket answers (spec 06 section 10, 07 section 5)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any

from meshnode.config.schema import GatewaySection
from meshnode.control.commands import CommandError
from meshnode.control.encoding import Answer

from .pool import AddressPool, Lease, State


class GatewayAnswers:
    """Answers from the live pool. `installed()` is the number of mappings in force, `clock()` monotonic seconds."""

    def __init__(
        self, section: GatewaySection, pool: AddressPool, installed: Callable[[], int], clock: Callable[[], float]
    ) -> None:
        self._section = section
        self._pool = pool
        self._installed = installed
        self._clock = clock
        self._started = clock()

    def every_second(self) -> None:
        """There is no history to keep."""

    def answer(self, command: str, params: Any) -> Answer:
        """Carry out a command. Raises `CommandError`."""
        if command == "show_gateway":
            return self._gateway()
        if command == "show_mappings":
            return {"mappings": iter([self._mapping(lease) for lease in self._pool.leases])}
        raise CommandError(f"unknown command: {command}")

    def _gateway(self) -> dict[str, Any]:
        section, pool = self._section, self._pool
        states = pool.count()
        return {
            "pool_total": pool.total,
            "pool_allocated": states[State.ALLOCATED],
            "pool_active": states[State.ACTIVE],
            "pool_draining": states[State.DRAINING],
            "pool_free": pool.free,
            "nat_mappings": self._installed(),
            "dns_listen": section.dns.listen,
            "uptime_secs": int(self._clock() - self._started),
            "pool_cidr": section.pool,
            "lan_interface": section.lan_interface,
            "dns_upstream": section.dns.upstream,
            "dns_ttl": section.dns.ttl,
            "pool_grace_period": section.pool_grace_period,
        }

    def _mapping(self, lease: Lease) -> dict[str, Any]:
        now = self._clock()
        return {
            "virtual_ip": str(IPv6Address(lease.virtual)),
            "mesh_addr": str(IPv6Address(lease.mesh)),
            # Rebuilt from the 15 bytes that the mesh address holds: the last one is not known here.
            "node_addr": (lease.mesh[1:] + b"\0").hex(),
            "dns_name": lease.name,
            "state": lease.state.value,
            "sessions": lease.sessions,
            "age_secs": int(now - lease.created),
            "last_ref_secs": int(now - lease.referenced),
        }
