"""Two nodes on one cable carry what programs send: echoes, web pages, long streams, keystrokes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median

import pytest

from tests.rigs import traffic
from tests.rigs.labs import Lab, Pair

pytestmark = pytest.mark.net

_MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as laboratory:
        yield laboratory


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Pair:
    """One running pair for the whole module; its tests leave it as they found it."""
    return Pair(lab).left_dials().start()


def test_echoes_come_back_both_ways(pair: Pair) -> None:
    assert len(traffic.ping(pair.left.host, pair.right.address, count=5)) == 5
    assert len(traffic.ping(pair.right.host, pair.left.address, count=5)) == 5


@pytest.mark.parametrize("size", [16, 1232, 1233, 4000])
def test_echoes_of_any_size_come_back(pair: Pair, size: int) -> None:
    """1232 bytes of echo fill the interface's 1280; what is larger travels in fragments."""
    assert len(traffic.ping(pair.left.host, pair.right.address, count=2, size=size)) == 2


def test_a_web_page_is_fetched_by_address(pair: Pair) -> None:
    with traffic.web_page(pair.right.host, "over the mesh\n"):
        done = traffic.fetch(pair.left.host, f"http://[{pair.right.address}]/")
    assert (done.returncode, done.stdout) == (0, "over the mesh\n")


@pytest.mark.parametrize("name", ["npub", "alias"])
def test_a_web_page_is_fetched_by_name(pair: Pair, name: str) -> None:
    host_name = pair.right.npub if name == "npub" else pair.right.name
    with traffic.web_page(pair.right.host, "over the mesh\n"):
        done = traffic.fetch(pair.left.host, f"http://{host_name}.fips/")
    assert (done.returncode, done.stdout) == (0, "over the mesh\n")


def test_a_name_that_is_no_node_is_not_resolved(pair: Pair) -> None:
    assert traffic.fetch(pair.left.host, "http://nobody-of-that-name.fips/").returncode == 6


@pytest.mark.parametrize("direction", ["left to right", "right to left"])
def test_a_long_stream_arrives_intact(
    pair: Pair, direction: str, is_long: bool, measured: Callable[[str], None]
) -> None:
    source, sink = (pair.left, pair.right) if direction == "left to right" else (pair.right, pair.left)
    done = traffic.transfer(source.host, sink.host, sink.address, (1000 if is_long else 100) * _MEGABYTE)
    measured(f"{done.size // _MEGABYTE} MB in {done.seconds:.2f} s, {done.size * 8e-6 / done.seconds:.0f} Mbit/s")
    assert done.intact


def test_keystrokes_are_echoed_one_by_one(pair: Pair, measured: Callable[[str], None]) -> None:
    times = traffic.small_writes(pair.left.host, pair.right.host, pair.right.address, 500)
    measured(f"median {median(times) * 1000:.2f} ms, slowest {max(times) * 1000:.1f} ms")
    assert max(times) < 1.0


def test_an_address_of_no_known_node_is_reported_unreachable(pair: Pair) -> None:
    done = pair.left.host.run(["ping", "-6", "-n", "-c", "1", "-W", "3", "fd12:3456:789a::1"])
    assert "unreachable" in done.stdout


def test_both_sides_show_the_other_as_connected_with_traffic_counted(pair: Pair) -> None:
    for node, other in ((pair.left, pair.right), (pair.right, pair.left)):
        row = node.peers()[other.npub]
        assert row["connectivity"] == "connected"
        assert row["stats"]["bytes_sent"] > 0
        assert row["stats"]["bytes_recv"] > 0
    assert pair.left.peers()[pair.right.npub]["direction"] == "outbound"
    assert pair.right.peers()[pair.left.npub]["direction"] == "inbound"
