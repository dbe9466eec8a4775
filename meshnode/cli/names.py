"""From what a person calls a node to its npub (spec 06 section 8)."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from .client import Client, ToolError

PREFIX = "npub1"
_LISTS = (("show_peers", "peers"), ("show_identity_cache", "entries"))


def hosts_path(platform: str = sys.platform) -> str:
    """Where the hosts file of this machine lies."""
    prefix = "/usr/local/etc" if platform == "darwin" or platform.startswith("freebsd") else "/etc"
    return f"{prefix}/fips/hosts"


def resolve(name: str, client: Client, path: str | None = None) -> str:
    """The npub `name` stands for: itself, an entry of the hosts file, or a name the node shows.

    The short form of an npub, with dots in it, is such a name. Raises `ToolError` when nobody is called that, or
    several are.
    """
    if name.startswith(PREFIX) and "..." not in name:
        return name
    hosts = hosts_path() if path is None else path
    npub = _from_file(name, hosts)
    return npub if npub is not None else _from_node(name, hosts, client)


def _from_file(name: str, path: str) -> str | None:
    """The last entry for `name`; a file that cannot be read has none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        return None
    found = [fields[1] for fields in lines if len(fields) == 2 and fields[0].lower() == name.lower()]
    return found[-1] if found else None


def _from_node(name: str, hosts: str, client: Client) -> str:
    for command, key in _LISTS:
        found = sorted(_called(name, client.ask(command).get(key, ())))
        if len(found) > 1:
            raise ToolError(f"{name!r} is not one node but {len(found)}: {', '.join(found)}; give the npub")
        if found:
            return found[0]
    raise ToolError(f"unknown node {name!r}: it is not an npub, not in {hosts}, and not a name the node knows")


def _called(name: str, rows: Iterable[dict[str, Any]]) -> set[str]:
    return {row["npub"] for row in rows if row["display_name"].lower() == name.lower() and row["npub"]}
