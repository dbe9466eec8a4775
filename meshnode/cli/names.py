"""From what a person calls a node to its npub (spec 06 section 8)."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from meshnode.paths import HOSTS_NAME, machine_directory

from .client import Client, ToolError

PREFIX = "npub1"
_ZONE = ".fips"
_LISTS = (("show_peers", "peers"), ("show_identity_cache", "entries"), ("show_known_peers", "peers"))


def hosts_path() -> str:
    """Where the hosts file of this machine lies."""
    return str(machine_directory() / HOSTS_NAME)


def resolve(name: str, client: Client, path: str | None = None) -> str:
    """The npub `name` stands for: itself, an entry of the hosts file, or a name or mesh address the node shows.

    The short form of an npub, with dots in it, is such a name; `.fips` may follow any but that. Raises `ToolError` when
    nobody is called that, or several are.
    """
    name = name[: -len(_ZONE)] if name.lower().endswith(_ZONE) else name
    if name.startswith(PREFIX) and "..." not in name:
        return name
    hosts = hosts_path() if path is None else path
    npub = _from_file(name, hosts)
    return npub if npub is not None else _from_node(name, hosts, client)


def known_names(client: Client, path: str | None = None) -> list[str]:
    """Every name `resolve` would take, for completion. Raises `ToolError` when the node does not answer."""
    names = {fields[0] for fields in _entries(hosts_path() if path is None else path)}
    for command, key in _LISTS:
        names |= {row["display_name"] for row in _rows(client, command, key) if row["npub"]}
    return sorted(name for name in names if " " not in name)


def _from_file(name: str, path: str) -> str | None:
    """The last entry for `name`; a file that cannot be read has none."""
    found = [npub for known, npub in _entries(path) if known.lower() == name.lower()]
    return found[-1] if found else None


def _entries(path: str) -> list[tuple[str, str]]:
    """Names and npubs of a hosts file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        return []
    return [(fields[0], fields[1]) for fields in lines if len(fields) == 2 and not fields[0].startswith("#")]


def _from_node(name: str, hosts: str, client: Client) -> str:
    beginning = _beginning_of_node_addr(name)
    for command, key in _LISTS:
        rows = _rows(client, command, key)
        found = sorted(_called(name, rows) if beginning is None else _addressed(beginning, rows))
        if len(found) > 1:
            raise ToolError(f"{name!r} is not one node but {len(found)}: {', '.join(found)}; give the npub")
        if found:
            return found[0]
    if beginning is not None:
        raise ToolError(f"unknown node {name!r}: no node with that address is known here; give the npub")
    raise ToolError(f"unknown node {name!r}: it is not an npub, not in {hosts}, and not a name the node knows")


def _rows(client: Client, command: str, key: str) -> Iterable[dict[str, Any]]:
    """A list of the node's; empty when it is a node of another kind that does not have it."""
    try:
        return list(client.ask(command).get(key, ()))
    except ToolError as error:
        if str(error).startswith("unknown command"):
            return ()
        raise


def _called(name: str, rows: Iterable[dict[str, Any]]) -> set[str]:
    return {row["npub"] for row in rows if row["display_name"].lower() == name.lower() and row["npub"]}


def _beginning_of_node_addr(name: str) -> str | None:
    """The hex digits a mesh address gives away of the NodeAddr, None for what is no mesh address."""
    try:
        address = socket.inet_pton(socket.AF_INET6, name)
    except (OSError, ValueError):
        return None
    return address[1:].hex() if address[0] == 0xFD else None


def _addressed(beginning: str, rows: Iterable[dict[str, Any]]) -> set[str]:
    return {row["npub"] for row in rows if row["npub"] and row.get("node_addr", "").startswith(beginning)}
