"""Counters of links, peers and transports of both ends tell one story, however much passed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rigs import traffic
from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import Node
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net

_HANDSHAKE_FRAMES = 12  # first messages and their repeats, rekeys included


def _stats(node: Node) -> dict[str, dict[str, Any]]:
    (link,), (peer,), (transport,) = (node.ask(f"show_{what}s")[f"{what}s"] for what in ("link", "peer", "transport"))
    return {"link": link["stats"], "peer": peer["stats"], "transport": transport["stats"]}


def _add_up(left: Node, right: Node) -> bool:
    """Whether what one side sent is what the other received, and transports carry links and little else."""
    near, far = _stats(left), _stats(right)
    frames = near["transport"]["packets_sent"] - near["link"]["packets_sent"]
    return (
        near["link"]["packets_sent"] == near["peer"]["packets_sent"]
        and near["link"]["bytes_sent"] == near["peer"]["bytes_sent"]
        and near["transport"]["packets_sent"] == far["transport"]["packets_recv"]
        and near["transport"]["bytes_sent"] == far["transport"]["bytes_recv"]
        and near["link"]["packets_sent"] == far["link"]["packets_recv"]
        and near["link"]["bytes_sent"] == far["link"]["bytes_recv"]
        and 0 < frames <= _HANDSHAKE_FRAMES
    )


def test_counters_of_links_transports_and_both_ends_add_up(lab: Lab) -> None:
    pair = Pair(lab).left_dials().start()
    left, right = pair.left, pair.right
    assert traffic.transfer(left.host, right.host, right.address, 5_000_000).intact
    assert _stats(right)["link"]["bytes_recv"] > 5_000_000
    for near, far in ((left, right), (right, left)):
        wait_until(lambda near=near, far=far: _add_up(near, far), 20, f"counters of {near.name} and {far.name} add up")
    for node in (left, right):
        (link,) = node.ask("show_links")["links"]
        assert link["created_at_ms"] > 1_600_000_000_000
        assert link["stats"]["last_recv_ms"] >= link["created_at_ms"]
