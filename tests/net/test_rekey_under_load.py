"""Keys are renewed while much traffic flows over a lossy path, and nothing but the losses is noticed of it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable

import pytest

from tests.net import reference
from tests.rigs import control, traffic
from tests.rigs.hosts import Host
from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import Node, Program
from tests.rigs.waiting import pause

pytestmark = pytest.mark.net

_LOSS = 5  # per cent of the datagrams in each direction
_MBIT = 100.0
_LONGEST_GAP = 1.0


def _brisk(seconds: int) -> Program:
    command = f"{shlex.quote(sys.executable)} -m tests.rigs.brisk {seconds} --nodaemon --pidfile= meshnode"
    return Program("brisk meshnode", command + " --config {config}")


def _lose(host: Host) -> None:
    """Drop some of the datagrams that come in from the cable."""
    drop = f"udp dport 2121 numgen random mod 100 < {_LOSS} drop;"
    rule = f"table ip loss {{ chain in {{ type filter hook input priority 0; {drop} }}; }}"
    done = host.run(["nft", rule])
    assert done.returncode == 0, done.stderr


def _resets(*nodes: Node) -> list[str]:
    words = (" removed:", " closed:", " is silent ")
    return [line for node in nodes for line in node.log().splitlines() if any(word in line for word in words)]


def _renewals(events: list[dict[str, object]]) -> dict[str, int]:
    layers = [event["layer"] for event in events]
    return {layer: layers.count(layer) for layer in ("link", "session")}


def _run(pair: Pair, seconds: float, mbit: float, measured: Callable[[str], None]) -> tuple[dict[str, int], list[str]]:
    """Echoes both ways beside a datagram stream of `mbit` over a path with losses.

    Returns how many renewals the left side saw, and what was reset at either.
    """
    left, right = pair.left, pair.right
    traffic.ping(left.host, right.address, count=2)
    for node in (left, right):
        _lose(node.host)
    watcher = control.Watcher(left.control_socket, "rekey")
    with (
        traffic.datagrams(left.host, right.host, right.address, mbit) as stream,
        traffic.pinging(left.host, right.address, 0.02) as there,
        traffic.pinging(right.host, left.address, 0.02) as back,
    ):
        there.first(5)
        back.first(5)
        pause(seconds)
        gap = max(traffic.longest_gap(ping) for ping in (there, back))
        replies = [ping.replies() for ping in (there, back)]
    share = sum(map(len, replies)) / sum(came[-1].sequence for came in replies)
    measured(
        f"{stream.mbit:.0f} Mbit/s sent, {100 * stream.share:.1f} % arrived; "
        f"{100 * share:.1f} % of the echoes, longest gap {gap:.2f} s"
    )
    renewals, resets = _renewals(watcher.stop()), _resets(left, right)
    measured(f"renewals: {renewals}; resets: {len(resets)}")
    assert gap < _LONGEST_GAP
    return renewals, resets


def test_renewals_every_five_seconds_under_load_and_losses_reset_nothing(
    lab: Lab, is_long: bool, measured: Callable[[str], None]
) -> None:
    pair = Pair(lab, _brisk(5), _brisk(5)).left_dials().start()
    seconds, mbit = (60, _MBIT) if is_long else (15, _MBIT / 3)
    renewals, resets = _run(pair, seconds, mbit, measured)
    assert resets == []
    assert renewals["link"] >= seconds // 7
    # Age, the next tick and the cutover's delay take 8 s, and a lost Setup or Ack one more: two may be lost of each.
    assert renewals["session"] >= seconds // 10


@pytest.mark.interop
def test_five_minutes_of_renewals_with_the_reference_reset_nothing(
    lab: Lab, is_long: bool, measured: Callable[[str], None]
) -> None:
    if not is_long:
        pytest.skip("takes five minutes: set MESHNODE_LONG=1")
    settings = {"node": {"rekey": {"after_secs": 45}}}
    pair = Pair(lab, right=reference.program(), settings=settings).left_dials().start()
    renewals, resets = _run(pair, 300, _MBIT, measured)
    assert resets == []
    assert renewals["link"] >= 3
    assert renewals["session"] >= 3
