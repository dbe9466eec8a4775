"""Keys are renewed under traffic between us and the reference daemon, and no echo is lost over it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.net import reference
from tests.rigs import traffic
from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import Node
from tests.rigs.waiting import pause

pytestmark = [pytest.mark.net, pytest.mark.interop]

_OFTEN, _NEVER = 45, 100_000  # seconds between renewals; shorter ones go unanswered (spec 01 section 8.1)
_JITTER = 15


def _renews_every(node: Node, seconds: int) -> None:
    node.settings["node"]["rekey"] = {"after_secs": seconds}


def _link_index(node: Node, other: Node) -> str:
    return str(node.peers()[other.npub]["our_session_index"])


def _run(lab: Lab, ours: int, theirs: int, seconds: float, dialling: str = "we dial") -> tuple[Pair, list[int], bool]:
    """Send an echo both ways every 100 ms for `seconds`; return the pair, the lost ones and whether keys changed."""
    pair = Pair(lab, right=reference.program())
    pair.left_dials() if dialling == "we dial" else pair.right_dials()
    _renews_every(pair.left, ours)
    _renews_every(pair.right, theirs)
    pair.start()
    with (
        traffic.pinging(pair.left.host, pair.right.address, 0.1) as there,
        traffic.pinging(pair.right.host, pair.left.address, 0.1) as back,
    ):
        there.first(5)
        back.first(5)
        before = _link_index(pair.left, pair.right)
        pause(seconds)
        lost = there.finish()[1] + back.finish()[1]
        return pair, lost, _link_index(pair.left, pair.right) != before


def test_one_renewal_under_traffic_loses_no_echo(lab: Lab, measured: Callable[[str], None]) -> None:
    _, lost, changed = _run(lab, _OFTEN, _OFTEN, _OFTEN + _JITTER + 15)
    measured(f"lost echoes: {lost}")
    assert changed
    assert lost == []


@pytest.mark.parametrize("dialling", ["we dial", "they dial"])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(_OFTEN, _NEVER), (_NEVER, _OFTEN), (_OFTEN, _OFTEN)], ids=["ours", "theirs", "both"]
)
def test_renewals_of_either_side_lose_no_echo(
    lab: Lab, ours: int, theirs: int, dialling: str, is_long: bool, measured: Callable[[str], None]
) -> None:
    if not is_long:
        pytest.skip("takes minutes: set MESHNODE_LONG=1")
    _, lost, changed = _run(lab, ours, theirs, 200, dialling)
    measured(f"lost echoes: {lost}")
    assert changed
    assert lost == []


def test_a_link_of_ten_minutes_stays_the_same_link(lab: Lab, is_long: bool) -> None:
    if not is_long:
        pytest.skip("takes ten minutes: set MESHNODE_LONG=1")
    pair = Pair(lab, right=reference.program()).left_dials().start()
    before = pair.right.peers()[pair.left.npub]
    pause(600)
    after = pair.right.peers()[pair.left.npub]
    assert (after["link_id"], after["authenticated_at_ms"]) == (before["link_id"], before["authenticated_at_ms"])
    assert after["connectivity"] == "connected"
    assert after["mmp"]["srtt_ms"] < 100
