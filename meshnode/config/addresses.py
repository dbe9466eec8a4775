"""Whether Internet addresses in the file can be any; the text alone is judged, and no name is looked up.

The transports read the same text themselves; a test holds both to the same verdict.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from meshnode.config.schema import Config
from meshnode.config.transport_sections import instance_path
from meshnode.config.validate import split_transport
from meshnode.config.yaml12 import clip

_INTERNET: Final = frozenset({"udp", "tcp", "tor", "nym"})
_TRAVERSAL: Final = "nat"
_SHAPE: Final = re.compile(r"(?:\[(?P<six>[^\[\]%]+)(?:%[^\[\]%]+)?\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LONGEST_NAME: Final = 253


def bad_peer_addresses(config: Config) -> Iterator[str]:
    """A line for each address of a peer that no transport can dial, whatever the network is like."""
    for number, peer in enumerate(config.peers):
        for index, address in enumerate(peer.addresses):
            kind = split_transport(address.transport)[0]
            if kind in _INTERNET and address.addr != _TRAVERSAL and not is_address(address.addr):
                yield (
                    f"peers[{number}].addresses[{index}].addr is `{clip(address.addr)}`, which is no address: "
                    "write ip:port, [ipv6]:port or host:port"
                )


def bad_bind_addresses(config: Config) -> Iterator[str]:
    """A line for each transport that cannot start because of what it shall listen at."""
    for kind in ("udp", "tcp"):
        for name, section in getattr(config.transports, kind).items():
            bind = section.effective_bind_addr if kind == "udp" else section.bind_addr
            if bind is not None and not (is_address(bind) and is_numeric(bind)):
                yield (
                    f"{instance_path(kind, name)}.bind_addr is `{clip(bind)}`, and the transport does not start with "
                    "it: write a numeric address and a port, such as 0.0.0.0:2121 or [::]:2121"
                )


def is_address(text: str) -> bool:
    """Whether this is `ip:port`, `[ipv6]:port`, `[ipv6%scope]:port` or `host:port`."""
    shape = _SHAPE.fullmatch(text)
    if shape is None or int(shape["port"]) > 0xFFFF:
        return False
    if shape["six"] is not None:
        return _is_ipv6(shape["six"])
    return _is_ipv4(shape["host"]) or _is_name(shape["host"])


def is_numeric(address: str) -> bool:
    """Whether an address names no host that would have to be looked up."""
    return address.startswith("[") or _is_ipv4(address.rpartition(":")[0])


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _is_name(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    return len(text) <= _LONGEST_NAME and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()
