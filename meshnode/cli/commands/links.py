"""`meshctl connect` and `disconnect`: links with peers, for now and not for the next start."""

from __future__ import annotations

import argparse
import ipaddress
import re

from ..client import Client, ToolError
from ..names import resolve
from ..options import Words, add_peer, client, emit, wants_json

_ENDPOINT_KINDS = frozenset(("udp", "tcp", "ethernet"))
_MESH = ipaddress.ip_network("fd00::/8")


def add_to(words: Words) -> None:
    connect = words.add(
        "connect", "dial a peer once", _connect,
        details="Nobody dials it again when the link ends: `meshctl peer add` is for that.",
    )  # fmt: skip
    add_peer(connect)
    add_endpoint(connect)
    disconnect = words.add(
        "disconnect", "end the link with a peer", _disconnect,
        details="The peer is left alone until `meshctl connect`, or until it dials; `meshctl acl deny` keeps it out.",
    )  # fmt: skip
    add_peer(disconnect)


def add_endpoint(parser: argparse.ArgumentParser) -> None:
    """Take where a peer may be reached."""
    parser.add_argument(
        "address", metavar="ADDRESS", help="such as 192.0.2.1:2121, peer.example.com:2121 or eth0/aa:bb:cc:dd:ee:ff"
    )
    parser.add_argument(
        "transport", metavar="TRANSPORT", help="udp, tcp, ethernet, tor, nym, ble or what a plug-in brings"
    )


def check_endpoint(address: str, transport: str) -> None:
    """Raise `ToolError` for a mesh address in the place of a machine's."""
    if transport in _ENDPOINT_KINDS and is_mesh_address(address):
        raise ToolError(
            f"{address!r} is a mesh address (fd00::/8), which is reached through peers; "
            f"give the {transport} address and port of the machine, such as 192.0.2.1:2121"
        )


def _connect(options: argparse.Namespace) -> None:
    check_endpoint(options.address, options.transport)
    node = client(options)
    npub = resolve(options.peer, node)
    before = None if wants_json(options) else _peer_address(node, npub)
    params = {"npub": npub, "address": options.address, "transport": options.transport}
    data = node.ask("connect", params)
    line = f"dialling {npub} at {options.address}; `meshctl show peers` lists it once it answers"
    if before is not None:
        line = f"already connected to {npub} at {before}; nothing was dialled"
    emit(data, options, lambda: [line])


def _peer_address(node: Client, npub: str) -> str | None:
    """Where a connected peer is reached; None when it is none, or the node does not tell."""
    try:
        rows = node.ask("show_peers")["peers"]
        return next((str(row["transport_addr"]) for row in rows if row["npub"] == npub), None)
    except (ToolError, KeyError, TypeError):
        return None


def _disconnect(options: argparse.Namespace) -> None:
    node = client(options)
    npub = resolve(options.peer, node)
    data = node.ask("disconnect", {"npub": npub})
    emit(data, options, lambda: [f"disconnected {npub}"])


def is_mesh_address(address: str) -> bool:
    """Whether this is an IPv6 address inside the mesh: bare, in brackets with a port, or with a port behind a colon."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::\d+)?", address)
    candidates = [bracketed[1]] if bracketed else [address, address.rpartition(":")[0]]
    for candidate in candidates:
        try:
            if ipaddress.IPv6Address(candidate.partition("%")[0]) in _MESH:
                return True
        except ValueError:
            continue
    return False
