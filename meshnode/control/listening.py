"""Which local programs can be reached over the mesh, and what the firewall says to that (spec 06 section 3.18)."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .encoding import Answer

NFT_COMMAND = ("nft", "-j", "list", "table", "inet", "fips")
NFT_SECS = 3.0
_CHAIN = "inbound"
_LISTEN, _ANY = "0A", "0" * 32
_TABLES = (("tcp", "tcp6"), ("udp", "udp6"))
_SOCKET_LINK = re.compile(r"socket:\[(\d+)\]")

Rules = list[list[dict[str, Any]]]
"""The expressions of each rule of the chain, in order."""


@dataclass(frozen=True, slots=True)
class _Listener:
    proto: str
    address: str
    port: int
    inode: int


def show_listening_sockets(
    mesh_address: str, proc: Path = Path("/proc"), rules: Callable[[], Rules | None] | None = None
) -> Answer:
    """Inspect this machine; takes a while and runs a program, so not to be called where packets wait."""
    firewall = (rules or firewall_rules)()
    listeners = list(_listeners(mesh_address, proc))
    owners = _owners({listener.inode for listener in listeners}, proc)
    rows = [_row(listener, owners.get(listener.inode), firewall) for listener in listeners]
    rows.sort(key=lambda row: (row["proto"], row["port"], -1 if row["pid"] is None else row["pid"]))
    return {"fips0_addr": mesh_address, "firewall_active": firewall is not None, "sockets": rows}


def _row(listener: _Listener, owner: tuple[int, str | None] | None, firewall: Rules | None) -> dict[str, Any]:
    pid, process = owner or (None, None)
    return {
        "proto": listener.proto,
        "local_addr": listener.address,
        "port": listener.port,
        "pid": pid,
        "process": process,
        "filter": "no_firewall" if firewall is None else verdict(firewall, listener.proto, listener.port),
        "wildcard_bind": listener.address == "::",
    }


# -- sockets


def _listeners(mesh_address: str, proc: Path) -> Iterator[_Listener]:
    for proto, table in _TABLES:
        for fields in _table(proc / "net" / table):
            local, _, port = fields[1].partition(":")
            remote = fields[2].partition(":")[0]
            waits = fields[3] == _LISTEN if proto == "tcp" else remote == _ANY
            address = _address(local)
            if waits and address in ("::", mesh_address):
                yield _Listener(proto, address, int(port, 16), int(fields[9]))


def _table(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text().splitlines()[1:]
    except OSError:
        return []
    return [fields for line in lines if len(fields := line.split()) > 9]


def _address(digits: str) -> str:
    """The kernel writes an address as four numbers in this machine's byte order."""
    words = [int(digits[at : at + 8], 16).to_bytes(4, "little") for at in range(0, 32, 8)]
    return str(ipaddress.IPv6Address(b"".join(words)))


def _owners(inodes: set[int], proc: Path) -> dict[int, tuple[int, str | None]]:
    """Process and its name by socket inode, as far as we may look; of several owners the one with the lowest pid."""
    owners: dict[int, tuple[int, str | None]] = {}
    if not inodes:
        return owners
    for pid in sorted(int(name) for name in os.listdir(proc) if name.isdecimal()):
        for inode in _sockets_of(proc / str(pid) / "fd") & inodes - owners.keys():
            owners[inode] = (pid, _comm(proc / str(pid) / "comm"))
    return owners


def _sockets_of(directory: Path) -> set[int]:
    try:
        names = os.listdir(directory)
    except OSError:
        return set()
    return {inode for name in names if (inode := _socket_inode(directory / name)) is not None}


def _socket_inode(link: Path) -> int | None:
    try:
        found = _SOCKET_LINK.fullmatch(os.readlink(link))
    except OSError:
        return None
    return int(found[1]) if found else None


def _comm(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").rstrip("\n")
    except OSError:
        return None


# -- firewall


def firewall_rules() -> Rules | None:
    """The rules of the chain `inbound` of table `inet fips`; None when that cannot be found out."""
    try:
        done = subprocess.run(NFT_COMMAND, capture_output=True, timeout=NFT_SECS, check=True)
        return chain_rules(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def chain_rules(document: Any) -> Rules:
    """The rules in what `nft -j` printed. Raises ValueError for something else."""
    objects = document.get("nftables") if isinstance(document, dict) else None
    if not isinstance(objects, list):
        raise ValueError("not a list of nftables objects")
    rules = [entry["rule"] for entry in objects if isinstance(entry, dict) and isinstance(entry.get("rule"), dict)]
    found = [rule["expr"] for rule in rules if rule.get("chain") == _CHAIN and isinstance(rule.get("expr"), list)]
    return [[expression for expression in rule if isinstance(expression, dict)] for rule in found]


def verdict(rules: Rules, proto: str, port: int) -> str:
    """`accept`, `drop` or `unknown` for a connection from the mesh to that port."""
    doubt = False
    for rule in rules:
        matches = [match for expression in rule if isinstance(match := expression.get("match"), dict)]
        if not any(_names_port(match, proto, port) for match in matches):
            continue
        if not all(_is_clean(match, proto, port) for match in matches):
            doubt = True
        elif any("accept" in expression for expression in rule):
            return "accept"
        elif any("drop" in expression for expression in rule):
            return "drop"
        else:
            doubt = True
    return "unknown" if doubt else "drop"


def _is_clean(match: dict[str, Any], proto: str, port: int) -> bool:
    """Whether a match restricts nothing but interface, protocol and port."""
    left, right = match.get("left"), match.get("right")
    named = left.get("meta") if isinstance(left, dict) else None
    meta = named.get("key") if isinstance(named, dict) else None
    if meta == "iifname":
        return isinstance(right, str)
    return (meta == "l4proto" and right == proto) or _names_port(match, proto, port)


def _names_port(match: dict[str, Any], proto: str, port: int) -> bool:
    left, right = match.get("left"), match.get("right")
    payload = left.get("payload") if isinstance(left, dict) else None
    if match.get("op") != "==" or payload != {"protocol": proto, "field": "dport"}:
        return False
    return _covers(right, port)


def _covers(right: Any, port: int) -> bool:
    """Whether a port is among what a match names: a number, a range or a set of numbers."""
    if not isinstance(right, dict):
        return bool(right == port)
    bounds, members = right.get("range"), right.get("set")
    if isinstance(bounds, list):
        return len(bounds) == 2 and all(isinstance(bound, int) for bound in bounds) and bounds[0] <= port <= bounds[1]
    return isinstance(members, list) and port in [member for member in members if isinstance(member, int)]
