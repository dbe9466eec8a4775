"""Datagrams that mean nothing cost a counter, neither memory nor the traffic beside them."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

import pytest

from tests.rigs import traffic
from tests.rigs.labs import Lab, Pair

pytestmark = pytest.mark.net

_GROWTH_KIB = 6 * 1024


def test_random_datagrams_during_a_transfer_do_no_harm(
    lab: Lab, is_long: bool, measured: Callable[[str], None]
) -> None:
    count = 1_000_000 if is_long else 100_000
    pair = Pair(lab).left_dials().start()
    traffic.transfer(pair.left.host, pair.right.host, pair.right.address, 20_000_000)
    before = pair.right.rss_kib()
    counted = _frames_received(pair)
    thrower = Thread(target=traffic.throw_garbage, args=(pair.left.host, (pair.right_address, 2121), count))
    thrower.start()
    done = traffic.transfer(pair.left.host, pair.right.host, pair.right.address, 50_000_000)
    thrower.join()
    growth = pair.right.rss_kib() - before
    measured(f"{count} datagrams; transfer took {done.seconds:.1f} s, memory grew by {growth} KiB")
    assert done.intact
    assert growth < _GROWTH_KIB
    assert _frames_received(pair) > counted
    assert pair.right.is_connected_to([pair.left])
    assert len(traffic.ping(pair.left.host, pair.right.address)) == 3
    assert "Traceback" not in pair.right.log()


def test_garbage_alone_makes_neither_peers_nor_links(lab: Lab) -> None:
    pair = Pair(lab).left_dials().start()
    traffic.throw_garbage(pair.left.host, (pair.right_address, 2121), 20_000, seed=7)
    status = pair.right.status()
    assert (status["peer_count"], status["link_count"]) == (1, 1)
    assert len(pair.right.log().splitlines()) < 500


def _frames_received(pair: Pair) -> int:
    """Return what the listening side's UDP transport has counted, datagrams its kernel dropped included."""
    rows = pair.right.ask("show_transports")["transports"]
    stats = rows[0]["stats"]
    return int(stats["packets_recv"] + stats["kernel_drops"] + stats["recv_errors"])
