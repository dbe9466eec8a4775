"""The gateway's translation as one nftables transaction (spec 07 section 3)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Literal

from .pool import Lease, Prefix

TABLE = "fips_gateway"
REMOVAL = f"table inet {TABLE}\ndelete table inet {TABLE}\n"
"""Deletes the table; the first line makes the second one succeed when there is none."""


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of this machine, as seen from the mesh, that leads to `target` (`[address]:port`) on the local network."""

    port: int
    protocol: Literal["tcp", "udp"]
    target: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rules stand between: the mesh interface, those of the local network, the pool, and what is not in it.

    `own` are addresses of this machine within the pool.
    """

    mesh: str
    local: Sequence[str]
    prefix: Prefix
    own: Collection[bytes] = ()


def ruleset(around: Surroundings, leases: Iterable[Lease], forwards: Sequence[Forward]) -> str:
    """The whole table, loaded as one transaction: no packet meets half of it."""
    pairs = [(IPv6Address(lease.virtual), IPv6Address(lease.mesh)) for lease in leases]
    mesh = _quoted(around.mesh)
    rules = {
        "prerouting": [
            *(f"meta nfproto ipv6 ip6 daddr {virtual} dnat ip6 to {node}" for virtual, node in pairs),
            *(_forward(mesh, forward) for forward in forwards),
        ],
        "postrouting": [
            f"oifname {mesh} masquerade",
            *(f"meta nfproto ipv6 ip6 saddr {node} snat ip6 to {virtual}" for virtual, node in pairs),
            *(f"iifname {mesh} oifname {_set(around.local)} meta nfproto ipv6 masquerade" for _ in forwards[:1]),
        ],
        "input": [_rejection(around)],
    }
    hooks = {
        "prerouting": "type nat hook prerouting priority -100; policy accept;",
        "postrouting": "type nat hook postrouting priority 100; policy accept;",
        "input": "type filter hook input priority 0; policy accept;",
    }
    chains = "".join(_chain(name, hook, rules[name]) for name, hook in hooks.items())
    return f"{REMOVAL}table inet {TABLE} {{\n{chains}}}\n"


def _chain(name: str, hook: str, rules: Iterable[str]) -> str:
    lines = "".join(f"    {line}\n" for line in (hook, *rules))
    return f"  chain {name} {{\n{lines}  }}\n"


def _forward(mesh: str, forward: Forward) -> str:
    kind = forward.protocol
    return (
        f"iifname {mesh} meta nfproto ipv6 meta l4proto {kind} {kind} dport {forward.port} dnat ip6 to {forward.target}"
    )


def _rejection(around: Surroundings) -> str:
    """Whoever sends to an address that is not lent learns it at once, instead of meeting this machine there."""
    own = ", ".join(str(IPv6Address(address)) for address in sorted(around.own))
    but = f"ip6 daddr != {{ {own} }} " if own else ""
    lent = f"{around.prefix.first}-{around.prefix.last}"
    return f"ip6 daddr {lent} {but}reject with icmpv6 type addr-unreachable"


def _set(names: Sequence[str]) -> str:
    return _quoted(names[0]) if len(names) == 1 else f"{{ {', '.join(map(_quoted, names))} }}"


def _quoted(name: str) -> str:
    return f'"{name}"'
