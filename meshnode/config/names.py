"""Whether names and literals in the file can be any: interface, aliases, resolver, pool.

Those who use them judge for themselves and go on without; a test holds both to the same verdict.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address, ip_address
from typing import Final

from meshnode.config.schema import Config
from meshnode.config.yaml12 import clip

_LONGEST_INTERFACE: Final = 15
_MOST_DIGITS: Final = 3
_HOST: Final = re.compile(r"(?!-)(?!npub1)[a-z0-9-]{1,63}(?<!-)", re.IGNORECASE | re.ASCII)


def unusable_names(config: Config) -> Iterator[str]:
    """A line for each of them that a node does without."""
    if config.tun.enabled and not is_interface_name(config.tun.name):
        yield (
            f"tun.name is `{clip(config.tun.name)}`, and there will be no interface: write 1 to {_LONGEST_INTERFACE} "
            "characters without a space, `/`, `:` or `%`"
        )
    if config.dns.enabled and not _is_address(config.dns.bind_addr):
        yield (
            f"dns.bind_addr is `{clip(config.dns.bind_addr)}`, and no name will be answered: write an IP address "
            "such as ::1, without brackets or port"
        )
    if config.gateway is not None and config.gateway.enabled and not is_pool(config.gateway.pool):
        yield (
            f"gateway.pool is `{clip(config.gateway.pool)}`, and there will be no gateway: write an IPv6 prefix such "
            "as fd01::/112"
        )
    for number, peer in enumerate(config.peers):
        if peer.alias is not None and not is_host_name(peer.alias):
            yield (
                f"peers[{number}].alias is `{clip(peer.alias)}`, which is shown but is no name under .fips: for "
                "one write 1 to 63 letters, digits and hyphens, no hyphen at either end and no npub1 in front"
            )


def is_interface_name(name: str) -> bool:
    """Whether the kernel takes this as the name of an interface."""
    is_odd = name in {".", ".."} or any(character in "/:%" or character.isspace() for character in name)
    return 1 <= len(name.encode()) <= _LONGEST_INTERFACE and not is_odd


def is_host_name(name: str) -> bool:
    """Whether a node can be called this below `.fips`."""
    return _HOST.fullmatch(name) is not None


def is_pool(text: str) -> bool:
    """Whether a gateway can lend addresses out of this."""
    address, _, length = text.partition("/")
    try:
        IPv6Address(address)
    except AddressValueError:
        return False
    return length.isdecimal() and len(length) <= _MOST_DIGITS and 1 <= int(length) <= 128


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
