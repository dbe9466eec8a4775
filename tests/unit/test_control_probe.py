"""Probes over a small mesh: what is told of a node that answers, of one that does not, and of what is left behind."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.control.commands import CommandError
from meshnode.identity import Identity
from meshnode.mesh.session import CloseReason
from tests.unit.test_control_state import GHOST, Chain, Operator, recorded
from tests.unit.vectors import load

STRANGER = Identity(b"\7" * 32).peer
STAGES = ("bloom", "discovery", "path", "session", "rtt")
OURS = ["probe_poll.report.path.hops was never recorded"]


class Prober:
    """Drives probes of one node of a chain."""

    def __init__(self, chain: Chain, operator: Operator) -> None:
        self.chain = chain
        self.ask = operator.ask

    def start(self, npub: str) -> int:
        return int(self.ask("probe_start", {"npub": npub})["probe_id"])

    def poll(self, number: int) -> Any:
        return self.ask("probe_poll", {"probe_id": number})

    def run(self, npub: str, seconds: float = 40.0) -> Any:
        """The report of a whole probe."""
        number = self.start(npub)
        for _ in range(int(seconds * 4)):
            answer = self.poll(number)
            assert list(recorded("probe_poll").differences(answer, "probe_poll")) == OURS
            if answer["state"] == "done":
                return answer["report"]
            self.chain.net.run(0.25)
        raise AssertionError("the probe does not end")


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def prober(chain: Chain) -> Prober:
    return Prober(chain, chain.operators[0])


def verdicts(report: Any) -> dict[str, str]:
    return {name: report[name]["verdict"] for name in STAGES}


def test_a_node_with_a_session_is_measured_on_it(chain: Chain, prober: Prober) -> None:
    report = prober.run(chain.hosts[2].identity.npub)
    assert report["overall"] == "ok"
    assert (report["bloom"]["reason"], report["discovery"]["source"]) == ("cached", "cache")
    assert report["session"]["reason"] == "preexisting"
    assert report["cleanup"]["left_intact_reason"] == "preexisting"
    assert report["path"]["next_hop"]["display_name"] == "bee"
    assert [hop["display_name"] for hop in report["path"]["hops"]] == ["this node", "bee", "c"]
    assert report["path"]["tree_distance"] == 2
    assert chain.hosts[2].identity.node_addr in chain.hosts[0].node.sessions.sessions


def test_a_direct_peer_needs_neither_lookup_nor_coordinates(chain: Chain, prober: Prober) -> None:
    report = prober.run(chain.hosts[1].identity.npub)
    assert report["overall"] == "ok"
    assert [report[name]["reason"] for name in ("bloom", "discovery", "path")] == ["direct_peer"] * 3
    assert report["cleanup"]["session_created_and_torn_down"]
    assert report["cleanup"]["warmups_sent"] >= 1
    assert chain.hosts[1].identity.node_addr not in chain.hosts[0].node.sessions.sessions


def test_a_node_two_hops_away_is_looked_up_first(chain: Chain, prober: Prober) -> None:
    target = chain.hosts[2].identity
    node = chain.hosts[0].node
    node.sessions.remove(target.node_addr, CloseReason.IDLE)
    node.router.forget_coordinates(target.node_addr)
    report = prober.run(target.npub)
    assert report["overall"] == "ok"
    assert (report["bloom"]["verdict"], report["bloom"]["fanout"]) == ("ok", 1)
    assert (report["discovery"]["source"], report["discovery"]["attempts"]) == ("lookup", 1)
    assert report["cleanup"]["lookup_issued"]


def test_a_node_in_no_filter_fails_at_the_filter(prober: Prober) -> None:
    report = prober.run(STRANGER.npub)
    assert report["overall"] == "failed"
    assert verdicts(report) == {
        "bloom": "failed", "discovery": "skipped", "path": "skipped", "session": "skipped", "rtt": "skipped",
    }  # fmt: skip
    assert report["bloom"]["reason"] == "bloom_miss"
    assert report["session"]["reason"] == "not_reached"


def test_a_second_probe_of_it_says_the_same_and_not_that_it_has_to_wait(prober: Prober) -> None:
    assert prober.run(STRANGER.npub)["bloom"]["reason"] == "bloom_miss"
    assert prober.run(STRANGER.npub)["bloom"]["reason"] == "bloom_miss"


def test_a_node_that_vanished_fails_at_the_lookup(chain: Chain, prober: Prober) -> None:
    target = chain.hosts[2]
    chain.hosts[0].node.sessions.remove(target.identity.node_addr, CloseReason.IDLE)
    chain.hosts[0].node.router.forget_coordinates(target.identity.node_addr)
    target.transport.stop()
    report = prober.run(target.identity.npub)
    assert report["overall"] == "failed"
    assert (report["discovery"]["verdict"], report["discovery"]["reason"]) == ("failed", "bloom_unconfirmed")


def test_a_silent_node_whose_place_is_known_fails_at_the_session(chain: Chain, prober: Prober) -> None:
    target = chain.hosts[2]
    chain.hosts[0].node.sessions.remove(target.identity.node_addr, CloseReason.IDLE)
    target.transport.stop()
    report = prober.run(target.identity.npub)
    assert report["overall"] == "failed"
    assert (report["session"]["verdict"], report["session"]["reason"]) == ("failed", "handshake_timeout")


def test_traffic_that_adopts_the_session_keeps_it(chain: Chain, prober: Prober) -> None:
    a, b, _c = chain.hosts
    number = prober.start(b.identity.npub)
    a.send(b, b"meanwhile")
    for _ in range(100):
        chain.net.run(0.1)
        answer = prober.poll(number)
        if answer["state"] == "done":
            break
    assert answer["report"]["cleanup"]["left_intact_reason"] == "adopted_by_traffic"
    assert b.identity.node_addr in a.node.sessions.sessions


def test_a_cancelled_probe_can_be_polled_once(chain: Chain, prober: Prober) -> None:
    target = chain.hosts[2].identity
    chain.hosts[0].node.sessions.remove(target.node_addr, CloseReason.IDLE)
    chain.hosts[0].node.router.forget_coordinates(target.node_addr)
    number = prober.start(target.npub)
    assert prober.ask("probe_cancel", {"probe_id": number}) == {"probe_id": number, "cancelled": True}
    answer = prober.poll(number)
    assert (answer["state"], answer["report"]["overall"]) == ("done", "cancelled")
    assert list(recorded("probe_poll").differences(answer, "probe_poll")) == OURS
    with pytest.raises(CommandError, match=f"^unknown probe id: {number}$"):
        prober.poll(number)


def test_at_most_four_run_at_once_and_old_ones_are_forgotten(chain: Chain, prober: Prober) -> None:
    target = chain.hosts[2]
    chain.hosts[0].node.sessions.remove(target.identity.node_addr, CloseReason.IDLE)
    target.transport.stop()
    numbers = [prober.start(target.identity.npub) for _ in range(4)]
    with pytest.raises(CommandError, match=r"^too many probes in flight$"):
        prober.start(GHOST.npub)
    chain.net.run(70, step=0.1)
    with pytest.raises(CommandError, match="unknown probe id"):
        prober.poll(numbers[0])


@pytest.mark.parametrize("command", ["probe_start", "probe_poll", "probe_cancel"])
def test_mistakes_are_answered_in_the_recorded_words(prober: Prober, command: str) -> None:
    for case in load(f"control/{command}")["cases"]:
        answer = case["answer"]
        own = "own npub" in case["case"]
        if answer["status"] == "ok" or "flight" in answer["message"] or "polled again" in case["case"] or own:
            continue
        with pytest.raises(CommandError) as refusal:
            prober.ask(command, case["request"].get("params"))
        assert str(refusal.value).partition("npub: ")[0] == answer["message"].partition("npub: ")[0]


def test_a_node_does_not_probe_itself(chain: Chain, prober: Prober) -> None:
    with pytest.raises(CommandError, match=r"^cannot probe this node$"):
        prober.start(chain.hosts[0].identity.npub)
