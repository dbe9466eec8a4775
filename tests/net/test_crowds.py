"""Crowds of TCP connections that say nothing, little, or nonsense: links stay, newcomers get in, memory is bounded."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.net.test_strangers import Square
from tests.rigs import traffic
from tests.rigs.crowds import KINDS, crowding
from tests.rigs.labs import Lab
from tests.rigs.nodes import Node
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net

_PORT = 8443
_RATE = 300
_ROOM = 64
_GROWTH_KIB = 12 * 1024
_ADMITTED_WITHIN = 10.0


def tcp_square(lab: Lab) -> Square:
    """A server with room for few strangers, full already when the newcomer comes."""
    return Square(lab, "tcp", _PORT, mtu=1400, max_inbound_connections=_ROOM)


def stats(node: Node) -> dict[str, int]:
    return dict(node.transport("tcp")["stats"])


def descriptors(node: Node) -> int:
    return len(os.listdir(f"/proc/{node.pid}/fd"))


def half_open(node: Node) -> int:
    return len(node.host.run(["ss", "-Htn", "state", "syn-recv"]).stdout.splitlines())


@pytest.mark.parametrize("kind", KINDS)
def test_a_newcomer_is_admitted_within_ten_seconds_of_any_crowd(
    lab: Lab, kind: str, is_long: bool, measured: Callable[[str], None]
) -> None:
    square = tcp_square(lab)
    server, newcomer = square.server, square.newcomer
    before, open_before = server.rss_kib(), descriptors(server)
    target = (square.server_address, _PORT)
    seconds = 120 if is_long else 30
    with crowding(square.attacker, target, kind, _RATE, seconds) as crowd:
        if kind != "half-open":
            wait_until(lambda: stats(server)["connections_displaced"] > 0, 15, "the pool is full")
        newcomer.start()
        newcomer.wait_ready()
        newcomer.wait_connected(server, deadline=_ADMITTED_WITHIN)
        server.wait_connected(newcomer, square.peer, deadline=_ADMITTED_WITHIN)
        assert len(traffic.ping(newcomer.host, server.address)) == 3
        assert crowd.going_on
        assert kind != "half-open" or half_open(server) > 20
        growth, held = server.rss_kib() - before, descriptors(server) - open_before
        result = crowd.finish(early=not is_long, deadline=seconds + 30)
    after = stats(server)
    measured(
        f"{result['tried'] / result['seconds']:.0f} connections/s, {result['opened']:.0f} opened, at most "
        f"{result['most']:.0f} at once; {after['connections_displaced']} displaced, {held} descriptors more, memory "
        f"grew by {growth} KiB"
    )
    assert growth < _GROWTH_KIB
    assert held <= _ROOM + 30
    assert after["connections_rejected"] == 0
    assert server.is_connected_to([square.peer, newcomer])
    assert "connection of peer" not in server.log() + newcomer.log()
    assert "Traceback" not in server.log()
    wait_until(lambda: stats(server)["pool_inbound"] == 2, 10, "the crowd is forgotten when it is gone")


def test_a_newcomer_behind_the_crowds_own_address_is_admitted(lab: Lab) -> None:
    square = tcp_square(lab)
    neighbour = lab.node("neighbour", square.attacker)
    neighbour.carries(tcp={"main": {}})
    neighbour.dials(square.server, square.server_address, _PORT, "tcp")
    with crowding(square.attacker, (square.server_address, _PORT), "idle", _RATE, 30):
        wait_until(lambda: stats(square.server)["connections_displaced"] > 0, 15, "the pool is full")
        neighbour.start()
        neighbour.wait_ready()
        neighbour.wait_connected(square.server, deadline=_ADMITTED_WITHIN)
        square.server.wait_connected(neighbour, square.peer, deadline=_ADMITTED_WITHIN)
