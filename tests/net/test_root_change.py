"""Connections between two nodes go on while the tree above them gets another root."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.rigs import sweeps, traffic
from tests.rigs.hosts import cable
from tests.rigs.labs import Lab
from tests.rigs.nodes import Node
from tests.rigs.waiting import pause, wait_until

pytestmark = pytest.mark.net

_LONGEST_GAP = 3.0


def _by_address(lab: Lab, count: int) -> list[Node]:
    """Nodes on hosts of their own, the one with the smallest address first."""
    nodes = [lab.node(name, lab.host(f"host-{name}")) for name in "abcdefgh"[:count]]
    return sorted(nodes, key=lambda node: node.identity.node_addr)


def _root(node: Node) -> str:
    return str(node.ask("show_tree")["root"])


def test_a_smaller_root_comes_and_goes_without_interrupting_others(lab: Lab, measured: Callable[[str], None]) -> None:
    """left - middle - right, and a newcomer with the smallest address of all at the middle."""
    smallest, *row = _by_address(lab, 4)
    middle, left, right = row
    for number, node in enumerate((left, right, smallest)):
        _, address = cable(node.host, middle.host, f"10.99.{number}", "eth0", f"eth{number}")
        node.dials(middle, address)
    for node in (middle, left, right):
        node.start()
        node.wait_ready()
    middle.wait_connected(left, right)
    before = _root(left)
    sweeps.introduce([left, right])
    assert traffic.ping(left.host, right.address, count=5)
    stream = traffic.Streaming(left.host, right.host, right.address, 10)
    with (
        traffic.pinging(left.host, right.address, 0.05) as there,
        traffic.pinging(right.host, left.address, 0.05) as back,
    ):
        there.first(10)
        back.first(10)
        smallest.start()
        wait_until(lambda: _root(left) == _root(right) != before, 20, "everybody has the new root")
        pause(3)
        smallest.stop()
        wait_until(lambda: _root(left) == _root(right) == before, 20, "everybody has the old root again")
        pause(2)
        gap = max(traffic.longest_gap(ping) for ping in (there, back))
    done = stream.finish()
    measured(f"longest gap of echoes {gap:.2f} s, of TCP {done.longest_pause:.2f} s")
    assert done.intact
    assert gap <= _LONGEST_GAP
