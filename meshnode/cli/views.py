"""The answers of a node as people read them, in 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .tables import count, duration, milliseconds, pairs, percent, size, table

Data = Mapping[str, Any]
View = Callable[[Data, float], list[str]]
"""`view(data, now)` gives the lines for the `data` of an answer; `now` is Unix time in seconds."""


def status(data: Data, now: float) -> list[str]:
    traffic = data["forwarding"]
    carriers = ", ".join(f"{kind} ({count(number, 'peer')})" for kind, number in data["transport_peer_counts"].items())
    interface = "" if data["tun_name"] == "-" else f"{data['tun_name']} "
    estimate = data["estimated_mesh_size"]
    mesh = "of unknown size" if estimate is None else f"of about {estimate} nodes"
    return pairs(
        [
            ("state", f"{data['state']}, up {duration(data['uptime_secs'])}, version {data['version']}"),
            ("npub", data["npub"]),
            ("address", data["ipv6_addr"]),
            ("node", f"{data['node_addr']}{'' if data['persistent'] else ' (for this run only)'}"),
            ("interface", f"{interface}{data['tun_state']}, IPv6 MTU {data['effective_ipv6_mtu']}"),
            ("peers", f"{data['peer_count']} ({count(data['connection_count'], 'handshake')} under way)"),
            ("sessions", data["session_count"]),
            ("transports", carriers or "none"),
            ("mesh", f"{mesh}, root {'this node' if data['is_root'] else data['root']}"),
            ("from here", f"{size(traffic['originated_bytes'])} sent, {size(traffic['delivered_bytes'])} received"),
            ("passed on", f"{size(traffic['forwarded_bytes'])} in {traffic['forwarded_packets']} packets"),
            ("process", f"{data['pid']}, {data['exe_path']}"),
            ("socket", data["control_socket"]),
        ]
    )


def peers(data: Data, now: float) -> list[str]:
    return table(
        ("NAME", "TREE", "SRTT", "LOSS", "SENT", "RECEIVED", "AT"),
        [
            (
                row["display_name"],
                _relation(row),
                milliseconds(row.get("mmp", {}).get("srtt_ms")),
                percent(row.get("mmp", {}).get("loss_rate")),
                size(row["stats"]["bytes_sent"]),
                size(row["stats"]["bytes_recv"]),
                f"{row.get('transport_type', '?')} {row.get('transport_addr', '?')}{_doubts(row)}",
            )
            for row in data["peers"]
        ],
        "no peers",
    )


def _doubts(row: Data) -> str:
    return f" ({row['trust']})" if "trust" in row else ""


def links(data: Data, now: float) -> list[str]:
    return table(
        ("LINK", "DIRECTION", "STATE", "SENT", "RECEIVED", "AGE", "TRANSPORT", "AT"),
        [
            (
                row["link_id"],
                row["direction"],
                row["state"],
                size(row["stats"]["bytes_sent"]),
                size(row["stats"]["bytes_recv"]),
                _ago(row["created_at_ms"], now),
                row["transport_id"],
                row["remote_addr"],
            )
            for row in data["links"]
        ],
        "no links",
    )


def connections(data: Data, now: float) -> list[str]:
    return table(
        ("LINK", "DIRECTION", "STATE", "AGE", "RESENDS", "PEER"),
        [
            (
                row["link_id"],
                row["direction"],
                row["handshake_state"],
                _ago(row["started_at_ms"], now),
                row["resend_count"],
                _short(row.get("expected_peer")),
            )
            for row in data["connections"]
        ],
        "no handshakes under way",
    )


def sessions(data: Data, now: float) -> list[str]:
    return table(
        ("NAME", "STATE", "SRTT", "LOSS", "MTU", "SENT", "RECEIVED", "ACTIVE"),
        [
            (
                row["display_name"],
                row["state"],
                milliseconds(row.get("mmp", {}).get("srtt_ms")),
                percent(row.get("mmp", {}).get("loss_rate")),
                row.get("mmp", {}).get("path_mtu"),
                size(row["stats"]["bytes_sent"]),
                size(row["stats"]["bytes_recv"]),
                _ago(row["last_activity_ms"], now),
            )
            for row in data["sessions"]
        ],
        "no sessions",
    )


def transports(data: Data, now: float) -> list[str]:
    lines = table(
        ("ID", "TYPE", "NAME", "STATE", "MTU", "SENT", "RECV", "ERR", "IN/OUT", "AT"),
        [
            (
                row["transport_id"],
                row["type"],
                row.get("name"),
                row["state"],
                row["mtu"],
                size(row["stats"].get("bytes_sent")),
                size(row["stats"].get("bytes_recv")),
                row["stats"].get("send_errors", 0) + row["stats"].get("recv_errors", 0),
                _streams(row["stats"]),
                row.get("local_addr"),
            )
            for row in data["transports"]
        ],
        "no transports",
    )
    return [*lines, *(line for row in data["transports"] for line in _tor(row))]


def _streams(stats: Data) -> str | None:
    """Connections at present, accepted and dialled, of carriers that have some."""
    return f"{stats['pool_inbound']}/{stats['pool_outbound']}" if "pool_inbound" in stats else None


def _tor(row: Data) -> Iterator[str]:
    if "onion_address" in row:
        yield f"onion service: {row['onion_address']}"
    tor = row.get("tor_monitoring")
    if tor is None:
        return
    circuits = "circuits" if tor["circuit_established"] else "no circuits"
    yield f"Tor {tor['version']}: started to {tor['bootstrap']} %, {circuits}, network {tor['network_liveness']}"


def tree(data: Data, now: float) -> list[str]:
    parent = "none, this node is the root" if data["is_root"] else data["parent_display_name"]
    return [
        *pairs(
            [
                ("root", data["root_npub"] or data["root"]),
                ("parent", parent),
                ("depth", data["depth"]),
                ("changes", f"{data['stats']['parent_switches']} of parent"),
            ]
        ),
        "",
        *table(
            ("PEER", "DEPTH", "DISTANCE", "ROOT"),
            [
                (row["display_name"], row.get("depth"), row.get("distance_to_us"), _head(row.get("root")))
                for row in data["peers"]
            ],
            "no peers",
        ),
    ]


def bloom(data: Data, now: float) -> list[str]:
    uptree = _rounded(data["uptree_estimated_count"])
    return [
        *pairs(
            [
                ("sent", f"{count(data['stats']['sent'], 'filter')}, the last one number {data['sequence']}"),
                ("to parent", "none" if uptree is None else f"one with about {uptree} nodes"),
            ]
        ),
        "",
        *table(
            ("PEER", "NUMBER", "NODES", "FILL"),
            [
                (
                    row["display_name"],
                    row["filter_sequence"],
                    _rounded(row.get("estimated_count")),
                    percent(row.get("fill_ratio")),
                )
                for row in data["peer_filters"]
            ],
            "no peers",
        ),
    ]


def mmp(data: Data, now: float) -> list[str]:
    titles = ("SRTT", "LOSS", "ETX", "INDEX", "TREND")
    return [
        *table(
            ("PEER", *titles, "GOODPUT"),
            [
                (row["display_name"], *_quality(row["link_layer"], "lqi"), _rate(row["link_layer"]))
                for row in data["peers"]
            ],
            "no peers",
        ),
        "",
        *table(
            ("SESSION", *titles, "MTU"),
            [
                (row["display_name"], *_quality(row["session_layer"], "sqi"), row["session_layer"]["path_mtu"])
                for row in data["sessions"]
            ],
            "no sessions",
        ),
    ]


def cache(data: Data, now: float) -> list[str]:
    return [
        f"{data['count']} of at most {data['max_entries']} coordinates, {data['expired']} expired",
        *table(
            ("NAME", "DEPTH", "AGE", "USED", "MTU", "NODE"),
            [
                (
                    row["display_name"],
                    row["depth"],
                    duration(row["age_ms"] / 1000),
                    _ago(row["last_used_ms"], now),
                    row.get("path_mtu"),
                    row["node_addr"],
                )
                for row in data["entries"]
            ],
        ),
    ]


def identity_cache(data: Data, now: float) -> list[str]:
    return [
        f"{data['count']} of at most {data['max_entries']} identities",
        *table(
            ("NAME", "USED", "ADDRESS"),
            [(row["display_name"], _ago(row["last_seen_ms"], now), row["ipv6_addr"]) for row in data["entries"]],
        ),
    ]


def routing(data: Data, now: float) -> list[str]:
    forwarding = data["forwarding"]
    lookup = data.get("lookup") or data["discovery"]
    dropped = {name: forwarding[f"{name}_packets"] for name in ("drop_no_route", "drop_mtu_exceeded", "ttl_exhausted")}
    return [
        *pairs(
            [
                ("passed on", f"{forwarding['forwarded_packets']} packets, {size(forwarding['forwarded_bytes'])}"),
                ("no route", f"{dropped['drop_no_route']} packets dropped"),
                ("too large", f"{dropped['drop_mtu_exceeded']} packets dropped"),
                ("too far", f"{dropped['ttl_exhausted']} packets dropped"),
                ("waiting", f"{data['pending_tun_packets']} packets for {data['pending_tun_destinations']} nodes"),
                ("coordinates", data["coord_cache_entries"]),
                ("identities", data["identity_cache_entries"]),
                ("lookups", f"{lookup['req_initiated']} begun, {lookup['resp_accepted']} answered"),
                ("congestion", f"{data['congestion']['congestion_detected']} packets marked"),
            ]
        ),
        "",
        *table(
            ("LOOKUP OF", "ATTEMPT", "AGE"),
            [(row["display_name"], row["attempt"], duration(row["age_ms"] / 1000)) for row in data["pending_lookups"]],
            "no lookups under way",
        ),
        "",
        *table(
            ("REDIAL OF", "TRIES", "IN"),
            [
                (row["display_name"], row["retry_count"], duration(row["retry_after_ms"] / 1000 - now))
                for row in data["retries"]
            ],
            "no redials planned",
        ),
    ]


def metrics(data: Data, now: float) -> list[str]:
    """Every counter that is not zero, by family."""
    rows = [
        (family, name, value)
        for family, counters in data.items()
        if family != "discovery" or "lookup" not in data
        for name, value in counters.items()
        if value
    ]
    return table(("FAMILY", "COUNTER", "VALUE"), rows, "every counter is zero")


_ACL_MODES = {
    "allow_all": "everybody is welcome (ALL is in the allow list)",
    "allow_then_deny_all": "only the nodes in the allow list are welcome",
    "allow_then_deny": "everybody but the denied is welcome",
    "allowlist": "everybody is welcome: an allow list alone denies nobody (`meshctl acl deny ALL` does)",
    "deny_all": "nobody is welcome",
    "denylist": "everybody but the denied is welcome",
    "default_open": "everybody is welcome",
}


def acl(data: Data, now: float) -> list[str]:
    mode = data["effective_mode"]
    lines = pairs([("mode", mode), ("so", _ACL_MODES.get(mode, f"others: {data['default_decision']}"))])
    for verb in ("allow", "deny"):
        entries = [*(["ALL"] if data[f"{verb}_all"] else []), *data[f"{verb}_entries"]]
        lines += ["", f"{verb} ({data[f'{verb}_file']})", *(f"  {entry}" for entry in entries or ["nobody"])]
    if problems := data.get("problems"):
        lines += ["", "problems", *(f"  {problem}" for problem in problems)]
    if refusals := data.get("refusals"):
        lines += ["", f"refused lately ({data['refusals_total']} times in all)", *_refusals(refusals, now)]
    return lines


def _refusals(refusals: list[Data], now: float) -> list[str]:
    rows = [
        (_ago(row["last_ms"], now), row["count"], row["context"], row["remote_addr"], _short(row["npub"]))
        for row in refusals
    ]
    return table(("AGO", "TIMES", "WHEN", "AT", "NODE"), rows)


def listening_sockets(data: Data, now: float) -> list[str]:
    words = {"accept": "reachable", "drop": "closed", "no_firewall": "reachable", "unknown": "perhaps"}
    head = [] if data["firewall_active"] else ["no firewall (table inet fips): whatever listens can be reached"]
    rows = [
        (
            row["proto"],
            row["port"],
            "every address" if row["wildcard_bind"] else "mesh address",
            words.get(row["filter"], row["filter"]),
            row["process"],
            row["pid"],
        )
        for row in data["sockets"]
    ]
    titles = ("PROTO", "PORT", "LISTENS ON", "FROM THE MESH", "PROGRAM", "PID")
    return [*head, *table(titles, rows, "no program listens on the mesh")]


def native_flows(data: Data, now: float) -> list[str]:
    rows = [
        (row["flow_id"], _short(row["peer"]), row["local_port"], row["remote_port"], row["state"], row["queued"])
        for row in data["flows"]
    ]
    return table(("FLOW", "PEER", "PORT", "THEIR PORT", "STATE", "QUEUED"), rows, "no flows of local programs")


VIEWS: Mapping[str, View] = {
    "status": status,
    "peers": peers,
    "links": links,
    "tree": tree,
    "sessions": sessions,
    "bloom": bloom,
    "mmp": mmp,
    "cache": cache,
    "connections": connections,
    "transports": transports,
    "routing": routing,
    "identity-cache": identity_cache,
    "listening-sockets": listening_sockets,
    "native-flows": native_flows,
    "metrics": metrics,
    "acl": acl,
}
"""What `meshctl show` can show; the command is `show_` and the name."""


def _rounded(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f}"


def _relation(row: Data) -> str:
    return "parent" if row["is_parent"] else "child" if row["is_child"] else "-"


def _ago(unix_ms: int, now: float) -> str | None:
    return duration(now - unix_ms / 1000) if unix_ms else None


def _short(npub: str | None) -> str | None:
    return None if npub is None else f"{npub[:9]}...{npub[-4:]}"


def _head(node_addr: str | None) -> str | None:
    return None if node_addr is None else f"{node_addr[:8]}..."


def _rate(quality: Data) -> str:
    return f"{size(quality['goodput_bps'])}/s"


def _quality(block: Data, index: str) -> tuple[str | None, ...]:
    value = block.get(index)
    return (
        milliseconds(block.get("srtt_ms")),
        percent(block["loss_rate"]),
        f"{block['etx']:.2f}",
        None if value is None else f"{value:.2f}",
        block.get("rtt_trend"),
    )
