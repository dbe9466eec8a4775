"""How many connections use a lent address, as the kernel's connection tracking knows (spec 07 section 2.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from typing import NamedTuple

from .pool import Prefix

TABLE = Path("/proc/net/nf_conntrack")


class Flow(NamedTuple):
    """Where a tracked connection was sent, and who answers it (16 bytes each)."""

    destination: bytes
    answered_by: bytes


def flows(lines: Iterable[str]) -> Iterator[Flow]:
    """Read the kernel's table of IPv6 connections; a line that is none is passed over.

    The first `dst=` of a line is the original destination, the second `src=` who answers. The kernel writes addresses
    at full length, so they are compared as values.
    """
    for line in lines:
        if not line.startswith("ipv6"):
            continue
        fields = line.split()
        sources = [field[4:] for field in fields if field.startswith("src=")]
        destinations = [field[4:] for field in fields if field.startswith("dst=")]
        try:
            yield Flow(IPv6Address(destinations[0]).packed, IPv6Address(sources[1]).packed)
        except (AddressValueError, IndexError):
            continue


def read_flows(prefix: Prefix, table: Path = TABLE) -> list[Flow] | None:
    """Every flow that was sent to an address of `prefix`; None when the kernel does not tell.

    Blocks for as long as the kernel takes to print its table: call it in a thread.
    """
    try:
        with open(table, encoding="ascii", errors="replace") as lines:
            return [flow for flow in flows(lines) if flow.destination in prefix]
    except FileNotFoundError:
        return _ask_netlink(prefix)
    except OSError:
        return None


def sessions(found: Iterable[Flow]) -> Counter[bytes]:
    """Connections by original destination."""
    return Counter(flow.destination for flow in found)


def _ask_netlink(prefix: Prefix) -> list[Flow] | None:
    """The same from ctnetlink, where the kernel has no such file."""
    from pyroute2 import NetlinkError
    from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

    try:
        with NFCTSocket(nfgen_family=10) as socket:
            return [flow for message in socket.dump() if (flow := _flow(message)) and flow.destination in prefix]
    except (NetlinkError, OSError):
        return None


def _flow(message: dict[str, object]) -> Flow | None:
    def address(direction: str, end: str) -> bytes:
        tuple_ = message.get_attr(direction)  # type: ignore[attr-defined]
        return IPv6Address(tuple_.get_attr("CTA_TUPLE_IP").get_attr(end)).packed

    try:
        return Flow(address("CTA_TUPLE_ORIG", "CTA_IP_V6_DST"), address("CTA_TUPLE_REPLY", "CTA_IP_V6_SRC"))
    except (AttributeError, AddressValueError):
        return None
