"""The node at a glance, and its last half minute (spec 06 sections 3.1, 3.2 and 4)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from meshnode import __version__
from meshnode.ipv6.mss import effective_ipv6_mtu
from meshnode.node.core import Node
from meshnode.paths import ALLOW_FILE, DENY_FILE

from .encoding import Answer
from .history import History
from .links import handshake_count, link_count
from .routing import forwarding
from .view import View

SAMPLES = 30
LOG_LEVELS = ("trace", "debug", "info", "warn", "error")
_NO_LIST = {
    "allow_file": str(ALLOW_FILE),
    "deny_file": str(DENY_FILE),
    "enforcement_active": False,
    "effective_mode": "default_open",
    "default_decision": "allow",
    "allow_all": False,
    "deny_all": False,
    "allow_file_entries": [],
    "deny_file_entries": [],
    "allow_entries": [],
    "deny_entries": [],
}
_METRICS = frozenset(("mesh_size", "tree_depth", "peer_count", "bytes_in", "bytes_out", "loss_rate"))


class Log(Protocol):
    """The log of the daemon, as far as it can be adjusted; `level` is one of `LOG_LEVELS`."""

    level: str


class UnheardLog:
    """A log for nodes that have none."""

    level = "info"


@dataclass(slots=True, frozen=True)
class Daemon:
    """What surrounds the node: `carriers` are the configured kinds of transport, `tun` tells name ("-") and state."""

    socket_path: str
    persistent: bool
    carriers: tuple[str, ...]
    tun: Callable[[], tuple[str, str]]
    config_files: tuple[str, ...] = ()
    log: Log = field(default_factory=UnheardLog)
    reload: Callable[[], dict[str, Any]] | None = None
    settings: Callable[[], dict[str, Any]] = dict
    config_file: str | None = None
    program: str = sys.executable
    passed_over: Callable[[], list[str]] = list
    """A line for each peer of the configuration that is passed over."""


def sparklines(history: History) -> dict[str, list[float | None]]:
    """The last half minute, oldest sample first; less than `SAMPLES` of them in the first half minute."""
    series = (series for series in history.node.series if series.metric.name in _METRICS)
    return {one.metric.name: one.fast.latest(min(SAMPLES, len(one.fast))) for one in series}


def show_status(view: View, daemon: Daemon, history: History) -> Answer:
    node = view.node
    tun_name, tun_state = daemon.tun()
    return {
        "version": __version__,
        "state": node.state,
        "is_leaf_only": node.settings.leaf_only,
        "effective_ipv6_mtu": effective_ipv6_mtu(node.transports.mtu),
        "tun_name": tun_name,
        "tun_state": tun_state,
        "control_socket": daemon.socket_path,
        "config_files": list(daemon.config_files),
        "pid": os.getpid(),
        "exe_path": daemon.program,
        "uptime_secs": int(view.now - node.started_at),
        "persistent": daemon.persistent,
        "forwarding": forwarding(view),
        "sparklines": sparklines(history),
        **_identity(node),
        **_populations(view, daemon),
    }


def _identity(node: Node) -> dict[str, Any]:
    tree = node.router.tree
    return {
        "npub": node.identity.npub,
        "node_addr": node.identity.node_addr.hex(),
        "ipv6_addr": node.identity.peer.ipv6_text,
        "root": tree.root.hex(),
        "is_root": tree.is_root,
    }


def _populations(view: View, daemon: Daemon) -> dict[str, Any]:
    node = view.node
    by_carrier = dict.fromkeys([*daemon.carriers, *(transport.kind for transport in node.transports)], 0)
    for peer in node.links.peers.values():
        transport = view.transport_of(peer)
        if transport is not None:
            by_carrier[transport.kind] = by_carrier.get(transport.kind, 0) + 1
    return {
        "peer_count": len(node.links.peers),
        "session_count": len(node.sessions.sessions),
        "link_count": link_count(view),
        "connection_count": handshake_count(view),
        "transport_count": len(node.transports),
        "transport_peer_counts": by_carrier,
        "estimated_mesh_size": node.router.mesh_size_estimate,
    }


def show_acl(view: View) -> Answer:
    """The access control list; without one everybody is welcome."""
    return {**_NO_LIST, **view.node.world.admission.status()}
