"""Three nodes in a row: the outer two find each other through the middle one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.rigs import traffic
from tests.rigs.labs import Lab, chain
from tests.rigs.nodes import Node

pytestmark = pytest.mark.net


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as laboratory:
        yield laboratory


@pytest.fixture(scope="module")
def row(lab: Lab) -> list[Node]:
    """The nodes a, b and c with cables a-b and b-c, all running; a and c dial b."""
    nodes = chain(lab, "abc")
    a, b, c = nodes
    for node in (b, a, c):
        node.start()
        node.wait_ready()
    b.wait_connected(a, c)
    return nodes


def test_the_far_end_is_found_by_name_and_answers(row: list[Node], measured: Callable[[str], None]) -> None:
    a, _, c = row
    with traffic.web_page(c.host, "from the far end\n"):
        done = traffic.fetch(a.host, f"http://{c.npub}.fips/", timeout=15)
    assert (done.returncode, done.stdout) == (0, "from the far end\n")
    measured(f"median echo over two links {traffic.ping(a.host, c.address)[1].milliseconds:.2f} ms")


def test_echoes_cross_the_middle_both_ways(row: list[Node]) -> None:
    a, _, c = row
    for near, far in ((a, c), (c, a)):
        near.host.run(["getent", "ahostsv6", f"{far.npub}.fips"])
        with traffic.pinging(near.host, far.address) as echoes:
            echoes.first(15)
        assert len(traffic.ping(near.host, far.address, count=5)) == 5


def test_a_stream_crosses_the_middle_intact(row: list[Node]) -> None:
    a, b, c = row
    with traffic.pinging(a.host, c.address) as echoes:
        echoes.first(15)
    assert traffic.transfer(a.host, c.host, c.address, 20_000_000).intact
    forwarding = b.status()["forwarding"]
    assert forwarding["forwarded_packets"] > 0
    assert forwarding["forwarded_bytes"] > 20_000_000


def test_the_outer_nodes_have_a_session_but_no_link(row: list[Node]) -> None:
    a, b, c = row
    with traffic.pinging(a.host, c.address) as echoes:
        echoes.first(15)
    assert list(a.peers()) == [b.npub]
    sessions = {session["npub"]: session["state"] for session in a.ask("show_sessions")["sessions"]}
    assert sessions[c.npub] == "established"
