"""We and an unmodified reference daemon are peers, in either role and through either side's restart."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from tests.net import reference
from tests.rigs import traffic
from tests.rigs.labs import Lab, Pair
from tests.rigs.waiting import wait_until

pytestmark = [pytest.mark.net, pytest.mark.interop]

_RETRY = 11.0  # a peer that said goodbye is dialled again after 5 * 2 s (spec 05 section 5.4)


def _pair(lab: Lab, dialling: str, settings: dict[str, object] | None = None) -> Pair:
    """Build a pair whose left node is ours and whose right node is the reference."""
    pair = Pair(lab, right=reference.program(), settings=settings)
    if dialling in ("we dial", "both dial"):
        pair.left_dials()
    if dialling in ("they dial", "both dial"):
        pair.right_dials()
    return pair


@pytest.mark.parametrize("dialling", ["we dial", "they dial"])
def test_echoes_and_streams_pass_both_ways(lab: Lab, dialling: str, measured: Callable[[str], None]) -> None:
    pair = _pair(lab, dialling).start()
    left, right = pair.left, pair.right
    assert len(traffic.ping(left.host, right.address, count=5)) == 5
    assert len(traffic.ping(right.host, left.address, count=5)) == 5
    to_them = traffic.transfer(left.host, right.host, right.address, 20_000_000)
    to_us = traffic.transfer(right.host, left.host, left.address, 20_000_000)
    measured(f"20 MB to them in {to_them.seconds:.2f} s, to us in {to_us.seconds:.2f} s")
    assert to_them.intact
    assert to_us.intact


@pytest.mark.parametrize("attempt", range(3))
def test_both_may_dial_at_once(lab: Lab, attempt: int) -> None:
    pair = _pair(lab, "both dial")
    pair.left.start()
    pair.right.start()
    pair.left.wait_ready()
    pair.wait_connected(deadline=15)
    assert len(traffic.ping(pair.left.host, pair.right.address, count=10, interval=0.1)) == 10
    assert pair.left.status()["peer_count"] == 1
    assert pair.right.status()["peer_count"] == 1


def test_they_are_reached_by_name_and_reach_us_by_name(lab: Lab) -> None:
    pair = _pair(lab, "we dial").start()
    for near, far in ((pair.left, pair.right), (pair.right, pair.left)):
        with traffic.web_page(far.host, f"this is {far.name}\n"):
            done = traffic.fetch(near.host, f"http://{far.npub}.fips/")
        assert done.stdout == f"this is {far.name}\n"


@pytest.mark.parametrize("way", ["killed", "stopped"])
@pytest.mark.parametrize("dialling", ["we dial", "they dial"])
def test_traffic_resumes_after_they_restart(lab: Lab, dialling: str, way: str, measured: Callable[[str], None]) -> None:
    pair = _pair(lab, dialling).start()
    with traffic.pinging(pair.left.host, pair.right.address) as echoes:
        echoes.first(5)
        pair.right.kill() if way == "killed" else pair.right.stop()
        restarted = time.time()
        pair.right.start()
        seconds = echoes.reply_after(restarted, 20).at - restarted
    measured(f"{seconds:.2f} s after their start")
    assert seconds <= (5.0 if way == "killed" else _RETRY)


@pytest.mark.parametrize(
    ("dialling", "limit"),
    [pytest.param("we dial", 5.0, id="we dial"), pytest.param("they dial", 45.0, id="they dial")],
)
def test_traffic_resumes_after_we_restart(
    lab: Lab, dialling: str, limit: float, measured: Callable[[str], None]
) -> None:
    """When they dialled, they try again only after their link-dead timer of 30 s and the retry delay after it."""
    pair = _pair(lab, dialling).start()
    with traffic.pinging(pair.right.host, pair.left.address) as echoes:
        echoes.first(5)
        pair.left.kill()
        restarted = time.time()
        pair.left.start()
        seconds = echoes.reply_after(restarted, limit + 10).at - restarted
    measured(f"{seconds:.2f} s after our start")
    assert seconds <= limit


def test_their_control_program_reads_our_socket(lab: Lab) -> None:
    pair = _pair(lab, "we dial").start()
    assert len(traffic.ping(pair.left.host, pair.right.address)) == 3
    for view in ("status", "peers", "sessions", "transports", "links", "connections"):
        done = reference.control(pair.left, "show", view)
        assert done.returncode == 0, done.stderr
        ours, theirs = json.loads(done.stdout), json.loads(reference.control(pair.right, "show", view).stdout)
        assert _shape(ours) >= _shape(theirs) - _optional(view)
    assert json.loads(reference.control(pair.left, "show", "status").stdout)["npub"] == pair.left.npub


def test_their_control_program_makes_us_dial_and_let_go(lab: Lab) -> None:
    pair = _pair(lab, "nobody")
    for node in (pair.left, pair.right):
        node.start()
        node.wait_ready()
    done = reference.control(pair.left, "connect", pair.right.npub, f"{pair.right_address}:2121", "udp")
    assert done.returncode == 0, done.stdout + done.stderr
    pair.wait_connected()
    assert reference.control(pair.left, "disconnect", pair.right.npub).returncode == 0
    wait_until(lambda: pair.left.status()["peer_count"] == 0, 2, "the peer is let go")


def _shape(value: object, path: str = "") -> set[str]:
    """Return the key paths of a JSON value; rows of a list count together."""
    if isinstance(value, dict):
        return {f"{path}/{key}" for key in value}.union(*(_shape(v, f"{path}/{k}") for k, v in value.items()))
    if isinstance(value, list):
        return set().union(*(_shape(row, path) for row in value))
    return set()


def _optional(view: str) -> set[str]:
    """Return keys that a row has only at times: spec 06 marks them optional."""
    measurements = {f"{prefix}/mmp/{key}" for prefix in ("/peers", "/sessions") for key in _LATE_MEASUREMENTS}
    return measurements | {"/peers/tree_depth"} if view in ("peers", "sessions") else set()


_LATE_MEASUREMENTS = ("srtt_ms", "smoothed_loss", "smoothed_etx", "lqi", "sqi")
