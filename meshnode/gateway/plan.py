"""From the configuration to what a gateway works with; whatever is missing is one clear line (spec 07 section 1.2)."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Interface, IPv6Network
from pathlib import Path

from meshnode.config.errors import Place
from meshnode.config.schema import Config, GatewaySection
from meshnode.transports.addresses import HostName, parse_address
from meshnode.transports.interfaces import TransportError

from .pool import PoolError, Prefix
from .rules import Forward

_FORWARDING = Path("/proc/sys/net/ipv6/conf/all/forwarding")
_PROXY_NDP = Path("/proc/sys/net/ipv6/conf/all/proxy_ndp")
_INTERFACES = Path("/proc/sys/net/ipv6/conf")
_ROUTES = Path("/proc/net/ipv6_route")
_DEFAULT_BY_ADVERTISEMENT = 0x00050000  # RTF_DEFAULT and RTF_ADDRCONF
_STATUS = Path("/proc/self/status")
_ADDRESSES = Path("/proc/net/if_inet6")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class GatewayError(Exception):
    """There can be no gateway; the text is one line that says why and what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the gateway is to do. `timeouts` are the connection tracking times that the file names, in seconds."""

    section: GatewaySection
    mesh: str
    local: Sequence[str]
    prefix: Prefix = field(compare=False)  # read off the section
    forwards: Sequence[Forward]
    listen: tuple[str, int]
    node: tuple[str, int]
    timeouts: Mapping[str, int]


def plan(config: Config, places: Mapping[str, Place]) -> Plan:
    """Read the plan off the configuration. Raises `GatewayError`."""
    section = config.gateway
    if section is None:
        raise GatewayError(
            "there is no `gateway` section; write gateway: {enabled: true, pool: ..., lan_interface: ...}"
        )
    if not section.enabled:
        raise GatewayError("the gateway is switched off; set gateway.enabled to true")
    try:
        prefix = Prefix(section.pool)
    except PoolError as error:
        raise GatewayError(str(error)) from None
    if not prefix.size:
        raise GatewayError(f"gateway.pool `{section.pool}` has no address to lend; write one like fd01::/112")
    return Plan(
        section,
        config.tun.name,
        _local(section.lan_interface, config.meshnode.gateway.lan_interfaces),
        prefix,
        _forwards(section),
        endpoint(section.dns.listen, "gateway.dns.listen"),
        endpoint(section.dns.upstream, "gateway.dns.upstream"),
        {
            key: getattr(section.conntrack, key)
            for key in section.conntrack.KEYS
            if f"gateway.conntrack.{key}" in places
        },
    )


def _local(first: str, further: Sequence[str]) -> list[str]:
    """The interfaces of the local networks, each once."""
    for key, name in (
        ("gateway.lan_interface", first),
        *((f"meshnode.gateway.lan_interfaces[{number}]", name) for number, name in enumerate(further)),
    ):
        if not name:
            raise GatewayError(f"{key} is empty; write the name of the local network's interface, such as br-lan")
    return list(dict.fromkeys([first, *further]))


def _forwards(section: GatewaySection) -> list[Forward]:
    seen: set[tuple[int, str]] = set()
    for number, forward in enumerate(section.port_forwards):
        where = f"gateway.port_forwards[{number}]"
        if not forward.listen_port:
            raise GatewayError(f"{where}.listen_port is 0; write the port that mesh nodes are to use")
        if (forward.listen_port, forward.proto) in seen:
            raise GatewayError(
                f"{where}: {forward.proto} port {forward.listen_port} is forwarded twice; keep one of them"
            )
        seen.add((forward.listen_port, forward.proto))
    return [Forward(forward.listen_port, forward.proto, forward.target) for forward in section.port_forwards]


def endpoint(text: str, key: str) -> tuple[str, int]:
    """Read `address:port`, the address in numbers. Raises `GatewayError`, which names `key`."""
    try:
        address = parse_address(text)
    except TransportError as error:
        raise GatewayError(f"{key}: {error}") from None
    if isinstance(address, HostName):
        raise GatewayError(f"{key} is the name {address.host!r}; write a numeric address such as [::1]:5353")
    host, port = address[:2]
    return (f"{host}%{address[3]}" if len(address) == 4 and address[3] else host), port


def check(plan: Plan, forwarding: Path = _FORWARDING) -> list[str]:
    """Look whether this machine can be a gateway; returns warnings. Raises `GatewayError`."""
    if os.geteuid() != 0 and not _may_change_network():
        raise GatewayError("the gateway changes the kernel's tables and needs root (or CAP_NET_ADMIN)")
    for program, package in (("nft", "nftables"), ("ip", "iproute2")):
        if shutil.which(program, path=_PATH) is None:
            raise GatewayError(f"the program {program} is missing; install the package {package}")
    if _read(forwarding) != "1":
        raise GatewayError(f"this machine does not forward IPv6; type: {forwarding_command()}")
    present = {name for _, name in socket.if_nameindex()}
    if plan.mesh not in present:
        raise GatewayError(f"there is no interface {plan.mesh}; start the node with tun.enabled: true first")
    for name in plan.local:
        if name not in present:
            first = name == plan.section.lan_interface
            remedy = "gateway.lan_interface" if first else "meshnode.gateway.lan_interfaces, or wait until it is there"
            raise GatewayError(f"there is no interface {name}; correct {remedy}")
    _check_networks(plan)
    return _hints(plan)


def forwarding_command() -> str:
    """What makes this machine forward IPv6, and keeps its own way out: a kernel that forwards drops default routes
    which routers advertise, unless told otherwise beforehand.
    """
    # sysctl reads a slash within a name as a dot, for interfaces such as eth0.5
    kept = [f"net.ipv6.conf.{name.replace('.', '/')}.accept_ra=2" for name in _advertised_ways_out()]
    return " ".join(["sysctl -w", *kept, "net.ipv6.conf.all.forwarding=1"])


def _advertised_ways_out() -> list[str]:
    """Interfaces with a default route that the kernel took from an advertisement and would drop when it forwards."""
    rows = [line.split() for line in (_read(_ROUTES) or "").splitlines()]
    advertised = {row[9] for row in rows if int(row[8], 16) & _DEFAULT_BY_ADVERTISEMENT == _DEFAULT_BY_ADVERTISEMENT}
    return sorted(name for name in advertised if _read(_INTERFACES / name / "accept_ra") == "1")


def _check_networks(plan: Plan) -> None:
    if plan.mesh in plan.local:
        raise GatewayError(f"gateway.lan_interface is {plan.mesh}, the way into the mesh; write that of the LAN")
    pool = IPv6Network(plan.prefix.network)
    for own, name in own_networks():
        # A single address is left out when lending, as the one a DHCP server gave; behind the mesh's lies the mesh.
        if own.network.subnet_of(pool) and (own.network.prefixlen < 128 or name == plan.mesh):
            raise GatewayError(
                f"gateway.pool {plan.prefix.text} holds {own.network} of {name}, which it would cut off; "
                "write a prefix that nothing else uses, such as fd01::/112"
            )


def own_networks() -> list[tuple[IPv6Interface, str]]:
    """The IPv6 addresses of this machine, each with the length of its network, and the interface they are on."""
    rows = [line.split() for line in (_read(_ADDRESSES) or "").splitlines()]
    return [(IPv6Interface((bytes.fromhex(row[0]), int(row[2], 16))), row[5]) for row in rows]


def _hints(plan: Plan) -> list[str]:
    hints = []
    if plan.section.pool_grace_period < plan.section.dns.ttl:
        hints.append("gateway.pool_grace_period is shorter than gateway.dns.ttl: cached names may stop working")
    if _read(_PROXY_NDP) == "0":
        hints.append(
            "net.ipv6.conf.all.proxy_ndp is 0: hosts need a route to the pool, which cannot lie within their own prefix"
        )
    return hints


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _may_change_network() -> bool:
    """Whether CAP_NET_ADMIN is among the effective capabilities."""
    status = _read(_STATUS) or ""
    lines = [line for line in status.splitlines() if line.startswith("CapEff:")]
    return bool(lines) and bool(int(lines[0].split()[1], 16) >> 12 & 1)
