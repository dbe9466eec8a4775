"""Two nodes that share several carriers use the best one, and go on over another when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.net import reference
from tests.rigs import traffic
from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import Node, Program
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net

_CHAIN = "add table inet cut; add chain inet cut in { type filter hook input priority 0; }; add rule inet cut in"


def both_carriers(lab: Lab, right: Program | None = None) -> Pair:
    """A pair in which the left node knows the right one's UDP and TCP addresses."""
    pair = Pair(lab, right=right)
    for node in (pair.left, pair.right):
        node.settings["transports"]["tcp"] = {"bind_addr": "0.0.0.0:8443"}
    pair.left_dials()
    pair.left.dials(pair.right, pair.right_address, 8443, "tcp")
    for peer in pair.left.settings["peers"]:
        for endpoint in peer["addresses"]:
            endpoint.pop("priority", None)
    return pair


def carrier(node: Node, other: Node) -> str:
    return str(node.peers().get(other.npub, {}).get("transport_type"))


def cut(pair: Pair, what: str) -> None:
    done = pair.right.host.run(["nft", f"{_CHAIN} {what} drop"])
    assert done.returncode == 0, done.stderr


def mend(pair: Pair) -> None:
    pair.right.host.run(["nft", "delete", "table", "inet", "cut"])


def test_udp_is_preferred_left_when_it_is_blocked_and_taken_again(lab: Lab, measured: Callable[[str], None]) -> None:
    """Only what we send is blocked, so that nothing but the other side's reports tells us."""
    pair = both_carriers(lab).start()
    left, right = pair.left, pair.right
    wait_until(lambda: (carrier(left, right), carrier(right, left)) == ("udp", "udp"), 10, "both use UDP")
    before = left.peers()[right.npub]["authenticated_at_ms"]
    with traffic.pinging(left.host, right.address) as echoes:
        echoes.first(5)
        cut(pair, "udp dport 2121")
        wait_until(lambda: carrier(left, right) == "tcp", 30, "the link goes on over TCP")
        moved = time.time()
        seconds = echoes.reply_after(moved, 5).at - moved
        mend(pair)
        wait_until(lambda: (carrier(left, right), carrier(right, left)) == ("udp", "udp"), 60, "UDP is taken again")
        echoes.reply_after(time.time(), 5)
    measured(f"{seconds:.2f} s from the move to the next echo")
    assert left.peers()[right.npub]["authenticated_at_ms"] == before, "it is the same link"
    assert left.status()["transport_peer_counts"] == {"tcp": 0, "udp": 1}


def test_a_node_whose_udp_is_blocked_from_the_start_uses_tcp(lab: Lab) -> None:
    pair = both_carriers(lab)
    cut(pair, "udp dport 2121")
    pair.start()
    assert carrier(pair.left, pair.right) == "tcp"
    assert len(traffic.ping(pair.left.host, pair.right.address)) == 3


@pytest.mark.interop
def test_the_reference_stays_on_its_carrier_and_takes_the_better_one_when_met_anew(lab: Lab) -> None:
    """It knows the keys of a link on one transport only, so it cannot follow; greeting it elsewhere does no harm."""
    pair = both_carriers(lab, reference.program())
    cut(pair, "udp dport 2121")
    pair.start()
    assert carrier(pair.left, pair.right) == "tcp"
    mend(pair)
    assert len(traffic.ping(pair.left.host, pair.right.address, count=100, interval=0.1)) == 100
    assert (carrier(pair.left, pair.right), carrier(pair.right, pair.left)) == ("tcp", "tcp")
    pair.left.stop()
    pair.left.start()
    pair.left.wait_ready()
    wait_until(lambda: carrier(pair.left, pair.right) == "udp", 45, "the new link is over UDP")
    assert len(traffic.ping(pair.left.host, pair.right.address)) == 3
