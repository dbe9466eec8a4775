"""The stats commands: what was remembered, over a window (spec 06 section 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from meshnode.identity import IdentityError, PeerIdentity
from meshnode.node.core import Node

from .commands import CommandError
from .encoding import Answer
from .history import NODE_METRICS, PEER_METRICS, PEER_RETENTION, History, PeerRecord, Record
from .rings import FAST_CAPACITY, FAST_PER_SLOW, SLOW_CAPACITY, Series
from .view import View

DEFAULT_WINDOW, DEFAULT_GRANULARITY = "10m", "1s"
_UNITS = {"s": 1, "m": 60, "h": 3600}
_GRANULARITIES = {"1s": 1, "1m": FAST_PER_SLOW}
_LARGEST = 2**64 - 1
_MOST_DIGITS = 4096


def seconds(text: str) -> int:
    """A duration such as `90s`, `10m` or `2h`. Raises `CommandError`."""
    if not text:
        raise CommandError("empty duration")
    number, unit = text[:-1], text[-1]
    digits = number.removeprefix("+")
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > _MOST_DIGITS or int(digits) > _LARGEST:
        raise CommandError(f"invalid duration: {text}")
    if unit not in _UNITS:
        raise CommandError(f"unknown duration unit: {unit} (expected s, m, h)")
    return min(int(digits) * _UNITS[unit], _LARGEST)


@dataclass(frozen=True, slots=True)
class Window:
    """How far back, and in which steps; both in seconds."""

    length: int
    step: int

    @classmethod
    def of(cls, given: dict[str, Any]) -> Window:
        window, granularity = _text(given, "window"), _text(given, "granularity")
        length = seconds(DEFAULT_WINDOW if window is None else window)
        granularity = DEFAULT_GRANULARITY if granularity is None else granularity
        if granularity not in _GRANULARITIES:
            raise CommandError(f"unknown granularity: {granularity} (expected 1s or 1m)")
        return cls(length, _GRANULARITIES[granularity])

    def values(self, series: Series) -> list[float | None]:
        ring = series.fast if self.step == 1 else series.slow
        return ring.latest(self.length // self.step)

    def row(self, series: Series) -> dict[str, Any]:
        metric = series.metric
        return {
            "metric": metric.name,
            "unit": metric.unit,
            "granularity_seconds": self.step,
            "values": self.values(series),
        }


class Stats:
    """Answers about the history of one node."""

    def __init__(self, node: Node, history: History) -> None:
        self._node = node
        self._history = history

    def metrics(self, params: Any) -> Answer:
        """Which metrics there are."""
        scopes = (("node", NODE_METRICS), ("peer", PEER_METRICS))
        return {
            "metrics": [
                {"name": metric.name, "unit": metric.unit, "scope": scope}
                for scope, metrics in scopes
                for metric in metrics
            ],
            "fast_ring_seconds": FAST_CAPACITY,
            "slow_ring_minutes": SLOW_CAPACITY,
            "peer_retention_seconds": int(PEER_RETENTION),
        }

    def one(self, params: Any) -> Answer:
        """One metric of the node, or of a peer."""
        name, given = _metric("show_stats_history", params)
        window = Window.of(given)
        record, scope = self._record(given, name)
        series = record.named(name)
        if series is None:
            raise CommandError(_unknown(name, scope))
        return window.row(series)

    def all(self, params: Any) -> Answer:
        """Every metric of the node, or of a peer."""
        given = params if isinstance(params, dict) else {}
        window = Window.of(given)
        record, _scope = self._record(given, None)
        return {
            "granularity_seconds": window.step,
            "window_seconds": window.length,
            "peer": _text(given, "peer"),
            "series": (window.row(series) for series in record.series),
        }

    def all_peers(self, params: Any) -> Answer:
        """One metric of every peer."""
        name, given = _metric("show_stats_history_all_peers", params)
        metric = next((metric for metric in PEER_METRICS if metric.name == name), None)
        if metric is None:
            raise CommandError(_unknown(name, "peer"))
        window = Window.of(given)
        return {
            "metric": name,
            "unit": metric.unit,
            "granularity_seconds": window.step,
            "window_seconds": window.length,
            "peers": self._rows_of(name, window),
        }

    def peers(self, params: Any) -> Answer:
        """Which peers are remembered."""
        records = self._ordered()
        return {"count": len(records), "peers": (self._peer_row(record) for record in records)}

    def _rows_of(self, name: str, window: Window) -> Iterator[dict[str, Any]]:
        for record in self._ordered():
            series = record.named(name)
            if series is not None:
                yield {**self._head(record), "values": window.values(series)}

    def _ordered(self) -> list[PeerRecord]:
        """Those present first, then by name."""
        names = self._node.names
        records = self._history.peers.values()
        return sorted(records, key=lambda record: (not record.is_active, names.display(record.node_addr).encode()))

    def _head(self, record: PeerRecord) -> dict[str, Any]:
        return {
            "node_addr": record.node_addr.hex(),
            "display_name": self._node.names.display(record.node_addr),
            "is_active": record.is_active,
        }

    def _peer_row(self, record: PeerRecord) -> dict[str, Any]:
        view = View.of(self._node)
        peer = self._node.links.peers.get(record.node_addr)
        return {
            **self._head(record),
            "npub": record.node_addr.hex() if peer is None else peer.identity.npub,
            "first_seen_secs_ago": view.age_ms(record.first_seen) // 1000,
            "last_contact_secs_ago": view.age_ms(record.last_contact) // 1000,
        }

    def _record(self, given: dict[str, Any], metric: str | None) -> tuple[Record, str]:
        """Whose record is asked for, and of which scope its metrics are."""
        npub = _text(given, "peer")
        if npub is None:
            return self._history.node, "node"
        try:
            identity = PeerIdentity.from_npub(npub)
        except IdentityError as error:
            raise CommandError(f"invalid peer npub: {error}") from None
        if metric is not None and all(known.name != metric for known in PEER_METRICS):
            raise CommandError(_unknown(metric, "peer"))
        record = self._history.peers.get(identity.node_addr)
        if record is None:
            name = self._node.names.display(identity.node_addr)
            raise CommandError(f"peer not tracked in stats history: {name}")
        return record, "peer"


def _metric(command: str, params: Any) -> tuple[str, dict[str, Any]]:
    if params is None:
        raise CommandError(f"missing params for {command}")
    given = params if isinstance(params, dict) else {}
    name = _text(given, "metric")
    if name is None:
        raise CommandError("missing 'metric' parameter")
    return name, given


def _text(given: dict[str, Any], name: str) -> str | None:
    value = given.get(name)
    return value if isinstance(value, str) else None


def _unknown(name: str, scope: str) -> str:
    return f"unknown {'peer ' if scope == 'peer' else ''}metric: {name}"
