"""Floods of first messages: links stay, traffic goes on, memory is bounded, newcomers get in, nothing is amplified."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.rigs import traffic
from tests.rigs.attackers import Flood, flooding
from tests.rigs.hosts import Bridge
from tests.rigs.labs import Lab
from tests.rigs.nodes import Node

pytestmark = pytest.mark.net

_GROWTH_KIB = 12 * 1024
_LEAST_SHARE = 0.7
_LEAST_RATE = 0.8
_ADMITTED_WITHIN = 10.0

FLOODS = {"random": 10_000, "one-key": 1_000, "many-keys": 1_000}


class Square:
    """A server, a peer that has a link to it, an attacker and a newcomer, on one switch."""

    def __init__(self, lab: Lab, transport: str = "udp", port: int = 2121, **section: object) -> None:
        self._carrier = {transport: {"bind_addr": f"0.0.0.0:{port}", "mtu": 1472, **section}}
        self.bridge = Bridge(lab.host("switch"), "10.98.0")
        self.server = self._node(lab, "server")
        self.server_address = self.bridge.subnet + ".10"
        self.peer = self._node(lab, "peer")
        self.newcomer = self._node(lab, "newcomer")
        self.attacker = lab.host("attacker")
        self.bridge.join(self.attacker)
        for node in (self.peer, self.newcomer):
            node.dials(self.server, self.server_address, port, transport)
        for node in (self.server, self.peer):
            node.start()
            node.wait_ready()
        self.peer.wait_connected(self.server)
        self.server.wait_connected(self.peer)

    def _node(self, lab: Lab, name: str) -> Node:
        host = lab.host(f"host-{name}")
        self.bridge.join(host)
        node = lab.node(name, host)
        node.carries(**self._carrier)
        return node

    @contextmanager
    def under(self, kind: str, seconds: float, sources: int = 1) -> Iterator[Flood]:
        rate = FLOODS[kind]
        with flooding(self.attacker, self.server, self.server_address, kind, rate, seconds, sources) as flood:
            yield flood

    def link(self) -> dict[str, int]:
        return dict(self.server.ask("show_metrics")["link"])

    def rates(self, count: int, size: int) -> list[float]:
        """Megabits a second of so many transfers from the peer to the server."""
        done = [traffic.transfer(self.peer.host, self.server.host, self.server.address, size) for _ in range(count)]
        assert all(transfer.intact for transfer in done)
        return [transfer.size * 8e-6 / transfer.seconds for transfer in done]


@pytest.mark.parametrize("kind", FLOODS)
def test_a_newcomer_is_admitted_within_ten_seconds_of_any_flood(
    lab: Lab, kind: str, is_long: bool, measured: Callable[[str], None]
) -> None:
    square = Square(lab)
    before, links = square.server.rss_kib(), square.link()
    with square.under(kind, 60 if is_long else 20) as flood, traffic.pinging(square.peer.host, square.server.address):
        square.newcomer.start()
        square.newcomer.wait_ready()
        square.newcomer.wait_connected(square.server, deadline=_ADMITTED_WITHIN)
        square.server.wait_connected(square.newcomer, square.peer, deadline=_ADMITTED_WITHIN)
        assert len(traffic.ping(square.newcomer.host, square.server.address)) == 3
        assert flood.going_on
        status = square.server.status()
        result = flood.finish(early=not is_long)
    growth, after = square.server.rss_kib() - before, square.link()
    counted = sum(after.values()) - sum(links.values())
    measured(
        f"{result['sent'] / result['seconds']:.0f} messages/s, {counted} of {result['sent']} counted, "
        f"{result['answered']} answered, memory grew by {growth} KiB"
    )
    assert status["peer_count"] == 2
    assert result["sent"] - result["refused"] >= _LEAST_RATE * FLOODS[kind] * result["seconds"]
    assert growth < _GROWTH_KIB
    assert result["bytes_answered"] < result["bytes_sent"]
    assert counted + result["answered"] > 0.8 * result["sent"]
    assert "removed" not in square.server.log()
    assert "Traceback" not in square.server.log()


def test_a_newcomer_behind_the_attackers_own_address_is_admitted(lab: Lab) -> None:
    """As behind a provider's address translation: the address is the same, the port is not."""
    square = Square(lab)
    neighbour = lab.node("neighbour", square.attacker)
    neighbour.dials(square.server, square.server_address)
    with square.under("random", 20, sources=50):
        neighbour.start()
        neighbour.wait_ready()
        neighbour.wait_connected(square.server, deadline=_ADMITTED_WITHIN)
        square.server.wait_connected(neighbour, square.peer, deadline=_ADMITTED_WITHIN)


def test_a_transfer_keeps_most_of_its_speed_under_a_random_flood(
    lab: Lab, is_long: bool, measured: Callable[[str], None]
) -> None:
    rounds, size = (5, 200_000_000) if is_long else (3, 40_000_000)
    square = Square(lab)
    quiet, loud = square.rates(1, size), []
    for _ in range(rounds):
        quiet += square.rates(1, size)
        with square.under("random", 60) as flood:
            loud += square.rates(1, size)
            assert flood.going_on
            result = flood.finish(early=True)
            assert result["sent"] - result["refused"] >= _LEAST_RATE * FLOODS["random"] * result["seconds"]
    calm, storm = statistics.median(quiet[1:]), statistics.median(loud)
    measured(f"median {calm:.0f} Mbit/s alone, {storm:.0f} Mbit/s under the flood ({storm / calm:.0%})")
    assert square.server.is_connected_to([square.peer])
    assert storm >= _LEAST_SHARE * calm
