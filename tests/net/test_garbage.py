"""Datagrams that mean nothing cost a counter, neither memory nor the traffic beside them."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

import pytest

from tests.rigs import traffic
from tests.rigs.labs import Lab, Pair
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net

_GROWTH_KIB = 6 * 1024


def test_random_datagrams_during_a_transfer_do_no_harm(
    lab: Lab, is_long: bool, measured: Callable[[str], None]
) -> None:
    count = 1_000_000 if is_long else 100_000
    pair = Pair(lab).left_dials().start()
    traffic.transfer(pair.left.host, pair.right.host, pair.right.address, 20_000_000)
    before = pair.right.rss_kib()
    refused, dropped = _refused(pair), _dropped(pair)
    thrower = Thread(target=traffic.throw_garbage, args=(pair.left.host, (pair.right_address, 2121), count))
    thrower.start()
    done = traffic.transfer(pair.left.host, pair.right.host, pair.right.address, 50_000_000)
    thrower.join()
    growth, refused, dropped = pair.right.rss_kib() - before, _refused(pair) - refused, _dropped(pair) - dropped
    measured(
        f"{count} datagrams, {refused} counted, {dropped} dropped unseen; "
        f"transfer took {done.seconds:.1f} s, memory grew by {growth} KiB"
    )
    assert done.intact
    assert growth < _GROWTH_KIB
    assert 0.9 * (count - dropped) <= refused <= count
    assert refused > count / 2
    assert pair.right.is_connected_to([pair.left])
    assert len(traffic.ping(pair.left.host, pair.right.address)) == 3
    assert "Traceback" not in pair.right.log()


def test_garbage_alone_makes_neither_peers_nor_links(lab: Lab) -> None:
    pair = Pair(lab).left_dials().start()
    traffic.throw_garbage(pair.left.host, (pair.right_address, 2121), 20_000, seed=7)
    wait_until(lambda: _refused(pair) + _dropped(pair) >= 18_000, 10, "nearly all of it is counted, here or there")
    assert _refused(pair) > 5_000
    status = pair.right.status()
    assert (status["peer_count"], status["link_count"]) == (1, 1)
    assert len(pair.right.log().splitlines()) < 500


def _refused(pair: Pair) -> int:
    """Return how many frames the link layer of the listening side has refused, whatever was wrong with them."""
    return sum(pair.right.ask("show_metrics")["link"].values())


def _dropped(pair: Pair) -> int:
    """Return how many datagrams the kernel dropped before the listening side could read them, a transfer's included."""
    return int(pair.right.ask("show_transports")["transports"][0]["stats"]["kernel_drops"])
