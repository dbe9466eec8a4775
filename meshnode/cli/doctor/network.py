"""The network around the node: ports, packet sizes, buffers, firewall."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .verdicts import Patient, Verdict

_IPV4_UDP, _IPV6_UDP = 28, 48
"""Bytes of the headers around a frame."""
_INWARD = frozenset(("prerouting", "input"))
_WANTED_BUFFER = 4_194_304
_DROPS_TOLERATED = 0.001


def ports(patient: Patient) -> Iterator[Verdict]:
    """Is each transport up, and alone on its port?"""
    for row in patient.transports:
        name = f"{row['type']} {row.get('name') or row['transport_id']}"
        if row["state"] != "up":
            yield Verdict("transports", "bad", f"{name} is {row['state']}", "meshctl log show says what is missing")
            continue
        others = _sharing(patient, row) if row["type"] == "udp" else 0
        if others:
            yield Verdict(
                "transports",
                "bad",
                f"{name}: {others + 1} programs listen at {row['local_addr']}, each gets a part of the frames",
                f"end the other one: ss -ulpn sport = :{_port(row)}",
            )
        else:
            yield Verdict("transports", "ok", f"{name} is up at {row.get('local_addr', 'no address of its own')}")
    if patient.answers and not patient.transports:
        yield Verdict("transports", "bad", "the node has no transport", "write transports: {udp: {}}")


def _port(row: Mapping[str, Any]) -> int:
    return int(str(row["local_addr"]).rpartition(":")[2])


def _sharing(patient: Patient, row: Mapping[str, Any]) -> int:
    """How many other sockets are bound to the same port of the same family."""
    family = "udp6" if str(row["local_addr"]).startswith("[") else "udp"
    wanted = f":{_port(row):04X}"
    lines = (patient.machine.read(f"/proc/net/{family}") or "").splitlines()[1:]
    bound = [line.split() for line in lines]
    return max(0, sum(1 for entry in bound if entry[1].endswith(wanted) and entry[2].endswith(":0000")) - 1)


def sizes(patient: Patient) -> Iterator[Verdict]:
    """Do the frames fit the interface towards the world?"""
    machine = patient.machine
    routes = [line.split() for line in (machine.read("/proc/net/route") or "").splitlines()[1:]]
    outward = next((route[0] for route in routes if route[1] == "00000000"), None)
    room = machine.mtu(outward) if outward else None
    for row in patient.transports:
        if row["type"] != "udp" or room is None:
            continue
        headers = _IPV6_UDP if str(row.get("local_addr", "")).startswith("[") else _IPV4_UDP
        fits = room - headers
        if row["mtu"] > fits:
            yield Verdict(
                "packet sizes",
                "hint",
                f"udp mtu {row['mtu']} does not fit {outward}, whose packets have {room} bytes",
                f"write transports: {{udp: {{mtu: {fits}}}}}",
            )
        else:
            yield Verdict("packet sizes", "ok", f"udp mtu {row['mtu']} fits {outward}")


def buffers(patient: Patient) -> Iterator[Verdict]:
    """May the node have the buffers it asks for, and do they overflow?"""
    for name in ("rmem_max", "wmem_max"):
        limit = (patient.machine.read(f"/proc/sys/net/core/{name}") or "").strip()
        if limit.isdigit() and int(limit) < _WANTED_BUFFER:
            fix = f"sysctl net.core.{name}={_WANTED_BUFFER}"
            yield Verdict("buffers", "hint", f"net.core.{name} is {limit}: fast traffic may be dropped", fix)
    for row in patient.transports:
        stats = row.get("stats", {})
        drops, received = stats.get("kernel_drops", 0), stats.get("packets_recv", 0)
        if drops > _DROPS_TOLERATED * max(received, 1):
            yield Verdict(
                "buffers", "hint", f"{row['type']} lost {drops} frames that this machine was too busy to read",
                "raise recv_buf_size and net.core.rmem_max, or give the node more processor",
            )  # fmt: skip


def firewall(patient: Patient) -> Iterator[Verdict]:
    """Does a packet filter drop what comes in without a word about our ports?"""
    listing = patient.machine.run("nft", "-j", "list", "ruleset")
    if listing is None:
        yield Verdict("firewall", "unknown", "the rules cannot be read", "run this as root, with nft installed")
        return
    rules = [entry for entry in json.loads(listing).get("nftables", ()) if isinstance(entry, dict)]
    chains = [entry["chain"] for entry in rules if "chain" in entry]
    yield from _closing_rules(patient, rules, chains)
    closed = [chain for chain in chains if chain.get("hook") == "input" and chain.get("policy") == "drop"]
    if not closed:
        yield Verdict("firewall", "ok", "no chain drops what comes in by default")
        return
    said = [entry["rule"].get("expr") for entry in rules if "rule" in entry]
    for row in patient.transports:
        if not _listens_at_a_port(row):
            continue
        port, chain = _port(row), closed[0]
        place = f"{chain['family']} {chain['table']} {chain['name']}"
        if _mentions(said, port):
            yield Verdict("firewall", "ok", f"a rule speaks of {row['type']} port {port}")
        else:
            answers_pass = _mentions(said, "established")
            yield Verdict(
                "firewall",
                "hint" if answers_pass else "bad",
                f"chain {place} drops by default and no rule speaks of {row['type']} port {port}"
                + (": nobody can dial this node, which itself can" if answers_pass else ""),
                f"nft add rule {place} {row['type']} dport {port} accept",
            )


def _closing_rules(patient: Patient, rules: list[dict[str, Any]], chains: list[dict[str, Any]]) -> Iterator[Verdict]:
    """Rules for what comes in that name one of our ports and let nothing through."""
    inward = {(one["family"], one["table"], one["name"]) for one in chains if one.get("hook") in _INWARD}
    ports = {_port(row): row["type"] for row in patient.transports if _listens_at_a_port(row)}
    for rule in (entry["rule"] for entry in rules if "rule" in entry):
        place = tuple(rule.get(key) for key in ("family", "table", "chain"))
        said = rule.get("expr")
        if place not in inward or not (_says(said, "drop") or _says(said, "reject")):
            continue
        for port, kind in ports.items():
            if _mentions(said, port):
                where = " ".join(map(str, place))
                yield Verdict(
                    "firewall",
                    "bad",
                    f"a rule of chain {where} keeps out what comes to {kind} port {port}",
                    f"look at it with nft -a list chain {where}, then: nft delete rule {where} "
                    f"handle {rule.get('handle', 'N')}",
                )


def _listens_at_a_port(row: Mapping[str, Any]) -> bool:
    return row["type"] in ("udp", "tcp") and ":" in str(row.get("local_addr", ""))


def _says(expression: Any, verdict: str) -> bool:
    """Whether a rule ends with this verdict, which nft writes as a key."""
    return any(isinstance(part, dict) and verdict in part for part in expression or ())


def _mentions(expression: Any, value: int | str) -> bool:
    """Whether a word or a number, or a range with it, stands anywhere in the expressions of rules."""
    if isinstance(expression, dict):
        limits = expression.get("range")
        if isinstance(limits, list) and isinstance(value, int) and all(isinstance(limit, int) for limit in limits):
            return bool(limits[0] <= value <= limits[-1])
        return any(_mentions(part, value) for part in expression.values())
    if isinstance(expression, list):
        return any(_mentions(part, value) for part in expression)
    return bool(expression == value)


CHECKS = (ports, sizes, buffers, firewall)
