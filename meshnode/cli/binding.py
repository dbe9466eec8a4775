"""Whether the transports of a configuration could listen on this machine, now: each address is bound for a moment."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .client import Client, ToolError

if TYPE_CHECKING:
    from meshnode.config.schema import Config


def taken_addresses(config: Config, node: Client) -> Iterator[str]:
    """A line for each address that a node started here with this configuration would not get.

    What the node that answers at `node` listens at is not taken, as it would be given up before the next start.
    """
    from meshnode.config.addresses import is_address, is_numeric
    from meshnode.config.transport_sections import instance_path

    held: frozenset[tuple[str, str]] | None = None
    for kind, sort in (("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)):
        for name, section in getattr(config.transports, kind).items():
            address = section.effective_bind_addr if kind == "udp" else section.bind_addr
            if address is None or not (is_address(address) and is_numeric(address)):
                continue
            trouble = _trouble(address, sort)
            if trouble is None:
                continue
            held = _held_by(node) if held is None else held
            if (kind, address) not in held:
                yield f"{instance_path(kind, name)}.bind_addr is {address}: {trouble}"


def _trouble(address: str, sort: socket.SocketKind) -> str | None:
    host, _, port = address.rpartition(":")
    try:
        family, _, _, _, where = socket.getaddrinfo(
            host.strip("[]"), int(port), type=sort, flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE
        )[0]
        with socket.socket(family, sort) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if sort == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a listener has it
            probe.bind(where)
    except OSError as error:
        return _words(error)
    return None


def _words(error: OSError) -> str | None:
    """What is wrong; None for what may be right for the user as whom a node runs."""
    if error.errno == errno.EADDRINUSE:
        return "another program has that port now; stop it before the node starts, or write another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address now; write one of its own, or 0.0.0.0 or [::] for all"
    if error.errno == errno.EACCES and os.geteuid() != 0:
        return None
    return f"{error.strerror or error}; write another address"


def _held_by(node: Client) -> frozenset[tuple[str, str]]:
    """Kinds and addresses of the running node's own transports; none when none runs."""
    try:
        rows = node.ask("show_transports")["transports"]
        return frozenset((str(row["type"]), str(row.get("local_addr"))) for row in rows)
    except (ToolError, KeyError, TypeError, AttributeError):
        return frozenset()
