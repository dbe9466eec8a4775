"""Listening programs and the firewall's word on them, from a made-up /proc and the recorded rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshnode.control import listening
from meshnode.control.listening import Rules, chain_rules, show_listening_sockets, verdict
from tests.unit.test_control_state import recorded
from tests.unit.vectors import load

OWN = "fd69:1d53:90:c4a:db07:eaae:24ab:4189"
OWN_DIGITS = "531D69FD4A0C9000AEEA07DB8941AB24"
ANY, LOOPBACK = "0" * 32, "00000000000000000000000001000000"


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def port_of(proto: str, port: Any) -> dict[str, Any]:
    return match({"payload": {"protocol": proto, "field": "dport"}}, port)


ACCEPT: dict[str, Any] = {"accept": None}
DROP: dict[str, Any] = {"drop": None}
NOT_MESH = match({"meta": {"key": "iifname"}}, "fips0", "!=")
RULES: Rules = [
    [NOT_MESH, {"return": None}],
    [match({"ct": {"key": "state"}}, ["established", "related"], "in"), ACCEPT],
    [port_of("tcp", 22), ACCEPT],
    [port_of("tcp", {"set": [80, 443]}), match({"payload": {"protocol": "ip6", "field": "saddr"}}, "fd00::/8"), ACCEPT],
    [port_of("tcp", {"range": [8000, 8090]}), ACCEPT],
    [port_of("udp", 5001), DROP],
    [match({"meta": {"key": "l4proto"}}, "udp"), port_of("udp", 5000), ACCEPT],
    [{"counter": {"packets": 0, "bytes": 0}}, DROP],
]


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """The machine of the recording."""

    def line(number: int, local: str, port: int, remote: str, state: str) -> str:
        return f" {number}: {local}:{port:04X} {remote}:0000 {state} 0:0 0:0 0 0 0 {1000 + number} 1 0"

    net = tmp_path / "net"
    net.mkdir()
    tcp = [(ANY, 22), (ANY, 80), (ANY, 7000), (OWN_DIGITS, 8080), (LOOPBACK, 9090)]
    udp = [(ANY, 5000, ANY), (OWN_DIGITS, 5001, ANY), (LOOPBACK, 5002, ANY), (ANY, 5003, LOOPBACK)]
    rows = [line(number, local, port, ANY, "0A") for number, (local, port) in enumerate(tcp)]
    rows.append(line(9, ANY, 22, LOOPBACK, "01"))
    (net / "tcp6").write_text("\n".join(["header", *rows]) + "\n")
    rows = [line(20 + number, local, port, remote, "07") for number, (local, port, remote) in enumerate(udp)]
    (net / "udp6").write_text("\n".join(["header", *rows]) + "\n")
    descriptors = tmp_path / "23925" / "fd"
    descriptors.mkdir(parents=True)
    (tmp_path / "23925" / "comm").write_text("python3\n")
    for number in [*range(5), *range(20, 24)]:
        (descriptors / str(number)).symlink_to(f"socket:[{1000 + number}]")
    (descriptors / "99").symlink_to("/dev/null")
    return tmp_path


def expected(case: str) -> Any:
    cases = load("control/show_listening_sockets")["cases"]
    return next(row["answer"]["data"] for row in cases if row["case"] == case and row["daemon"] == "0.4.1")


def test_without_a_firewall_every_socket_is_shown_as_such(proc: Path) -> None:
    assert show_listening_sockets(OWN, proc, lambda: None) == expected("no fips table, listeners of every kind")


def test_with_the_recorded_rules_the_recorded_verdicts_come_out(proc: Path) -> None:
    answer = show_listening_sockets(OWN, proc, lambda: RULES)
    assert answer == expected("fips table loaded")
    assert list(recorded("show_listening_sockets").differences(answer, "answer")) == []


def test_an_owner_that_cannot_be_seen_is_null(proc: Path) -> None:
    (proc / "23925" / "fd" / "0").unlink()
    rows = show_listening_sockets(OWN, proc, lambda: None)["sockets"]
    assert (rows[0]["port"], rows[0]["pid"], rows[0]["process"]) == (22, None, None)


def test_a_machine_without_these_tables_has_no_rows(tmp_path: Path) -> None:
    assert show_listening_sockets(OWN, tmp_path, lambda: None)["sockets"] == []


def test_a_verdict_is_in_doubt_when_a_rule_asks_for_more() -> None:
    limited = [[port_of("tcp", 22), {"limit": {"rate": 1}}], [port_of("tcp", 22), ACCEPT]]
    assert verdict(limited, "tcp", 22) == "accept"
    assert verdict(limited[:1], "tcp", 22) == "unknown"
    assert verdict([], "tcp", 22) == "drop"


def test_the_rules_are_those_of_the_inbound_chain() -> None:
    document = {
        "nftables": [
            {"metainfo": {"version": "1"}},
            {"chain": {"name": "inbound"}},
            {"rule": {"chain": "inbound", "expr": [ACCEPT]}},
            {"rule": {"chain": "other", "expr": [DROP]}},
        ]
    }
    assert chain_rules(json.loads(json.dumps(document))) == [[ACCEPT]]
    with pytest.raises(ValueError, match="nftables"):
        chain_rules([])


def test_no_nft_is_no_firewall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "NFT_COMMAND", ("/nonexistent/nft",))
    assert listening.firewall_rules() is None
