"""A ring of ours and theirs in turn, each edge over another carrier that both have."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from itertools import combinations, permutations

import pytest

from tests.net import reference
from tests.rigs import sweeps, traffic
from tests.rigs.carriers import EthernetCarrier, LanCarrier, Ring, TcpCarrier, UdpCarrier
from tests.rigs.labs import Lab
from tests.rigs.nodes import our_program
from tests.rigs.waiting import wait_until

pytestmark = [pytest.mark.net, pytest.mark.interop]

Measured = Callable[[str], None]


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_mixed_ring_over_every_shared_carrier(lab: Lab, first: str, measured: Measured) -> None:
    """Each edge joins one of ours and one of theirs; with `first` the roles of the two change."""
    programs = [our_program(), reference.program()]
    if first == "theirs":
        programs.reverse()
    kinds = [UdpCarrier, TcpCarrier, EthernetCarrier, LanCarrier]
    with closing(Ring(lab, kinds, programs)) as ring, sweeps.echoes(ring.nodes) as echoes:
        begin = time.monotonic()
        ring.start()
        for carrier in ring.carriers:
            wait_until(carrier.is_up, 60, f"{carrier.name} links its nodes", interval=0.1)
        measured(f"all carriers linked {time.monotonic() - begin:.1f} s after the start")
        sweeps.introduce(ring.nodes)
        measured(f"all pairs by name: {echoes.all_answer(list(permutations(ring.nodes, 2)), 60)}")
        begin = time.monotonic()
        for near, far in combinations(ring.nodes, 2):
            assert traffic.transfer(near.host, far.host, far.address, 2_000_000).intact
        measured(f"2 MB between every two nodes in {time.monotonic() - begin:.1f} s")
