"""On which interfaces there is a local network, and what can be reached of us there (spec 04b section 1)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from meshnode.transports.addresses import SocketAddress
from meshnode.transports.netlink import Interface, KernelLinks

MOST_INTERFACES = 16
_IPV6_ADDRESSES = Path("/proc/net/if_inet6")
_TENTATIVE, _DUPLICATE = 0x40, 0x08  # IFA_F_TENTATIVE and IFA_F_DADFAILED; the table's fifth column
_WILDCARDS = {"0.0.0.0": (4,), "::": (4, 6)}

Adapters = Iterable[tuple[str, tuple[str, ...]]]
"""Names of interfaces and their numeric addresses, without scopes."""


@dataclass(frozen=True, slots=True)
class LanInterface:
    """One interface with the addresses it has."""

    name: str
    index: int
    addresses: tuple[str, ...]


def lan_interfaces(
    chosen: Collection[str], adapters: Adapters, look_up: Callable[[str], Interface | None]
) -> list[LanInterface]:
    """Return the interfaces on which neighbours may be: those `chosen` by name, or all that are Ethernet or Wi-Fi.

    Interfaces without carrier or without an address are left out, and so are, unless chosen, loopback, tunnels and
    point-to-point links.
    """
    found = []
    for name, addresses in adapters:
        interface = look_up(name)
        if interface is not None and addresses and _is_wanted(interface, chosen):
            found.append(LanInterface(name, interface.index, addresses))
    return found[:MOST_INTERFACES]


def _is_wanted(interface: Interface, chosen: Collection[str]) -> bool:
    if not (interface.is_up and interface.carrier):
        return False
    if chosen:
        return interface.name in chosen
    return interface.is_ethernet and not interface.is_loopback


def unusable_addresses(table: Path = _IPV6_ADDRESSES) -> set[str]:
    """Return the IPv6 addresses of this machine that nothing can be sent from: not yet, or because they are a
    duplicate. Whoever announces itself from one of them is not heard.
    """
    try:
        rows = [line.split() for line in table.read_text().splitlines()]
    except OSError:
        return set()
    return {str(IPv6Address(bytes.fromhex(row[0]))) for row in rows if int(row[4], 16) & (_TENTATIVE | _DUPLICATE)}


def interfaces_of_this_machine(chosen: Collection[str]) -> list[LanInterface]:
    """Return what `lan_interfaces` makes of this machine. Raises OSError when the system does not tell."""
    import ifaddr  # comes with zeroconf

    unusable = unusable_addresses()
    adapters = [
        (adapter.name, tuple(text for ip in adapter.ips if (text := _text(ip.ip)) not in unusable))
        for adapter in ifaddr.get_adapters()
    ]
    with closing(KernelLinks()) as links:
        return lan_interfaces(chosen, adapters, links.look_up)


def reachable(addresses: Iterable[str], bound: SocketAddress) -> tuple[str, ...]:
    """Return those of `addresses` at which a socket bound to `bound` hears datagrams."""
    families = _WILDCARDS.get(bound[0])
    if families is None:
        return tuple(address for address in addresses if ip_address(address) == ip_address(bound[0]))
    return tuple(address for address in addresses if ip_address(address).version in families)


def _text(address: str | tuple[str, int, int]) -> str:
    """An address as `ifaddr` gives it, without flow and scope."""
    return address if isinstance(address, str) else address[0]
