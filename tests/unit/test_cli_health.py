"""Is the node well: each kind of trouble is found, named, and comes with something to do."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from meshnode.cli.health import findings
from tests.unit.vectors import load

NOW = 1_700_000_000.0
PEER = {
    "display_name": "bee", "is_configured": True, "is_connected": True, "wish": "keep", "vain_attempts": 0,
    "next_attempt_ms": None, "addresses": [{"transport": "udp", "address": "192.0.2.1:2121"}],
}  # fmt: skip


def answer(name: str) -> Any:
    case = next(case for case in load(f"control/{name}")["cases"] if case["case"].startswith("busy root"))
    return copy.deepcopy(case["answer"]["data"])


@pytest.fixture
def answers() -> dict[str, Any]:
    status = answer("show_status") | {"tun_state": "active", "tun_name": "fips0"}
    peers = answer("show_peers")
    transports = {"transports": [{"type": "udp", "transport_id": 1, "state": "up"}]}
    return {
        "show_status": status, "show_peers": peers, "show_transports": transports,
        "show_known_peers": {"peers": [copy.deepcopy(PEER)]},
    }  # fmt: skip


def texts(answers: dict[str, Any]) -> list[str]:
    return [finding.text for finding in findings(answers, NOW)]


def test_a_healthy_node_has_no_findings(answers: dict[str, Any]) -> None:
    assert findings(answers, NOW) == []


def test_answers_a_node_does_not_have_are_no_trouble(answers: dict[str, Any]) -> None:
    assert findings({"show_status": answers["show_status"]}, NOW) == []


def test_a_degraded_node_says_what_it_lacks(answers: dict[str, Any]) -> None:
    answers["show_status"]["state"] = "degraded"
    answers["show_log"] = {"lines": [{"level": "info", "text": "x"}, {"level": "warn", "text": "no TUN interface"}]}
    assert texts(answers) == ["the node runs without a part of it: no TUN interface"]


def test_a_peer_of_the_configuration_that_cannot_be_one_is_grave(answers: dict[str, Any]) -> None:
    answers["show_known_peers"]["passed_over"] = ["peers[1].npub is not a public key, the peer is skipped: x"]
    (finding,) = findings(answers, NOW)
    assert finding.grave
    assert finding.text.startswith("peers[1].npub is not a public key")
    assert "meshctl reload" in finding.remedy


def test_a_first_dial_without_an_answer_says_so_before_it_fails(answers: dict[str, Any]) -> None:
    peer = answers["show_known_peers"]["peers"][0]
    peer.update(is_connected=False, dialling_since_ms=(NOW - 2) * 1000, no_answer_hint="nobody is there, ...")
    assert texts(answers)[0].endswith("is not connected: being dialled")
    peer["dialling_since_ms"] = (NOW - 12) * 1000
    assert texts(answers)[0].endswith("is not connected: dialled for 12s without an answer (nobody is there, ...)")


def test_a_peer_that_does_not_answer_is_named_with_the_next_attempt(answers: dict[str, Any]) -> None:
    peer = answers["show_known_peers"]["peers"][0]
    peer.update(is_connected=False, vain_attempts=3, next_attempt_ms=(NOW + 40) * 1000)
    (finding,) = findings(answers, NOW)
    assert finding.text == "peer bee (udp 192.0.2.1:2121) is not connected: 3 attempts in vain, the next in 40s"
    assert finding.remedy == "meshctl trace bee"
    peer["wish"] = "none"
    assert findings(answers, NOW) == []


def test_a_node_alone_is_in_grave_trouble(answers: dict[str, Any]) -> None:
    answers["show_status"]["peer_count"] = 0
    answers["show_known_peers"]["peers"] = []
    (finding,) = findings(answers, NOW)
    assert finding.grave
    assert "meshctl peer add" in finding.remedy


@pytest.mark.parametrize(
    ("key", "change", "text"),
    [
        ("connectivity", "stale", "peer bee is silent"),
        ("mmp", {"smoothed_loss": 0.2}, "the link to bee loses 20.0%"),
        ("mmp", {"srtt_ms": 1500.0}, "a round trip to bee takes 1500 ms"),
    ],
)
def test_links_that_could_be_better_are_no_grave_trouble(
    answers: dict[str, Any], key: str, change: Any, text: str
) -> None:
    answers["show_peers"]["peers"][0].update({key: change, "display_name": "bee"})
    (finding,) = findings(answers, NOW)
    assert finding.text.startswith(text)
    assert not finding.grave


def test_other_trouble_is_found_too_and_grave_things_come_first(answers: dict[str, Any]) -> None:
    answers["show_status"].update(persistent=False, tun_state="failed")
    answers["show_transports"]["transports"][0].update(state="failed", name="main")
    answers["show_acl"] = {"problems": ["peers.deny line 3: no npub"]}
    answers["show_stats_history"] = {"values": [None, 4.0, 5.0]}
    found = findings(answers, NOW)
    assert [finding.grave for finding in found] == [True, True, False, False, False]
    assert texts(answers)[1] == "transport udp main is failed"
    assert "the parent in the tree changed 9 times in 10 minutes" in texts(answers)
    assert all(finding.remedy for finding in found)


def test_a_missing_interface_is_told_with_the_last_reason(answers: dict[str, Any]) -> None:
    answers["show_status"]["tun_state"] = "failed"
    lines = [("warn", f"no TUN interface, everything else works: {why}") for why in ("it is down", "IPv6 is disabled")]
    answers["show_log"] = {"lines": [{"level": level, "text": text} for level, text in [*lines, ("warn", "other")]]}
    (text,) = texts(answers)
    assert text == "there is no network interface, so programs cannot use the mesh: IPv6 is disabled"


def test_a_node_that_stops_is_told_as_such(answers: dict[str, Any]) -> None:
    answers["show_status"]["state"] = "draining"
    assert texts(answers) == ["the node is draining"]
