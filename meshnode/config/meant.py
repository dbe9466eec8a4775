"""Numbers that load, as every implementation takes any of their type (spec 05 section 5), and make no sense.

The node runs with them as far as it can; whoever wrote them hears the range.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from meshnode.config.keys import leaves
from meshnode.config.schema import Config
from meshnode.config.transport_sections import instance_path

MOST_DELAY_SAMPLES: Final = 4096
_ETHERNET_LENGTHS: Final = 1535
"""EtherTypes up to here are lengths of frames of another kind."""


class Meant(NamedTuple):
    """A range with its ends, or without them where `open`; `most` is None where there is no upper end."""

    least: float
    most: float | None = None
    open: bool = False

    def holds(self, value: float) -> bool:
        if self.open:
            return self.least < value and (self.most is None or value < self.most)
        return self.least <= value and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        if self.most is None:
            return f"above {self.least:g}" if self.open else f"{self.least:g} or more"
        if self.open:
            return f"above {self.least:g} and below {self.most:g}"
        return f"from {self.least:g} to {self.most:g}"


_SOME: Final = Meant(1)
_KEYS: Final[Mapping[str, Meant]] = {
    "node.heartbeat_interval_secs": _SOME,
    "node.link_dead_timeout_secs": _SOME,
    "node.rate_limit.handshake_burst": _SOME,
    "node.rate_limit.handshake_rate": Meant(0, 1e9, open=True),
    "node.rate_limit.handshake_timeout_secs": _SOME,
    "node.rate_limit.handshake_resend_interval_ms": _SOME,
    "node.rate_limit.handshake_resend_backoff": Meant(1, 1000),
    "node.retry.base_interval_secs": _SOME,
    "node.retry.max_backoff_secs": _SOME,
    "node.cache.coord_size": _SOME,
    "node.cache.coord_ttl_secs": _SOME,
    "node.cache.identity_size": _SOME,
    "node.lookup.ttl": _SOME,
    "node.tree.parent_hysteresis": Meant(0, 1),
    "node.bloom.max_inbound_fpr": Meant(0, 1, open=True),
    "node.session.default_ttl": _SOME,
    "node.session.idle_timeout_secs": _SOME,
    "node.mmp.owd_window_size": Meant(1, MOST_DELAY_SAMPLES),
    "node.session_mmp.owd_window_size": Meant(1, MOST_DELAY_SAMPLES),
    "node.ecn.loss_threshold": Meant(0, 1),
    "node.ecn.etx_threshold": Meant(1, 1e6),
}
_TRANSPORT_KEYS: Final[Mapping[str, Meant]] = {
    "advertised_port": _SOME,
    "connect_timeout_ms": _SOME,
    "ethertype": Meant(_ETHERNET_LENGTHS + 1, 0xFFFF),
    "max_connections": _SOME,
    "psm": Meant(0x80, 0xFF),
}


def senseless_numbers(config: Config) -> Iterator[str]:
    """A line for each number out of the range it is meant to be in."""
    for owner, name, path, _ in leaves(config):
        if path in _KEYS:
            yield from _outside(path, getattr(owner, name), _KEYS[path])
    for kind, instance, section in config.transports.each():
        for name in section.KEYS.keys() & _TRANSPORT_KEYS.keys():
            yield from _outside(
                f"{instance_path(kind, instance)}.{name}", getattr(section, name), _TRANSPORT_KEYS[name]
            )
    for index, seconds in enumerate(config.node.lookup.attempt_timeouts_secs):
        yield from _outside(f"node.lookup.attempt_timeouts_secs[{index}]", seconds, _SOME)
    for name in ("allow_tcp", "allow_udp"):
        for index, port in enumerate(getattr(config.meshnode.firewall, name)):
            yield from _outside(f"meshnode.firewall.{name}[{index}]", port, _SOME)
    for index, forward in enumerate(() if config.gateway is None else config.gateway.port_forwards):
        yield from _outside(f"gateway.port_forwards[{index}].listen_port", forward.listen_port, _SOME)


def _outside(path: str, value: float, meant: Meant) -> Iterator[str]:
    if not meant.holds(value):
        yield f"{path} is {value}, and is meant to be {meant}"
