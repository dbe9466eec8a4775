"""A ring of ours and theirs in turn, each edge over another carrier that both have."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import combinations, permutations

import pytest

from tests.net import reference
from tests.rigs import sweeps, tor, traffic
from tests.rigs.carriers import (
    Carrier,
    EthernetCarrier,
    LanCarrier,
    Ring,
    TcpCarrier,
    TorCarrier,
    UdpCarrier,
    WireCarrier,
)
from tests.rigs.labs import Lab
from tests.rigs.nodes import our_program
from tests.rigs.waiting import wait_until

pytestmark = [pytest.mark.net, pytest.mark.interop]

_QUICK = [UdpCarrier, TcpCarrier, EthernetCarrier, LanCarrier]
_WITH_ONIONS = [UdpCarrier, TcpCarrier, EthernetCarrier, TorCarrier, LanCarrier, WireCarrier]

Measured = Callable[[str], None]


def _join(
    lab: Lab, kinds: Sequence[type[Carrier]], first: str, measured: Measured, *, linked: float, answered: float
) -> None:
    """Let the links come up within `linked` seconds, and every pair answer within `answered` more and move 2 MB."""
    programs = [our_program(), reference.program()]
    if first == "theirs":
        programs.reverse()
    with closing(Ring(lab, kinds, programs)) as ring, sweeps.echoes(ring.nodes) as echoes:
        ring.start()
        begin = time.monotonic()
        for carrier in ring.carriers:
            wait_until(carrier.is_up, linked, f"{carrier.name} links its nodes", interval=0.1)
        measured(f"all {len(kinds)} carriers linked {time.monotonic() - begin:.1f} s after the start")
        sweeps.introduce(ring.nodes)
        measured(f"all pairs by name: {echoes.all_answer(list(permutations(ring.nodes, 2)), answered)}")
        begin = time.monotonic()
        for near, far in combinations(ring.nodes, 2):
            assert traffic.transfer(near.host, far.host, far.address, 2_000_000).intact
        measured(f"2 MB between every two nodes in {time.monotonic() - begin:.1f} s")


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_mixed_ring_over_every_shared_carrier_of_a_lan(lab: Lab, first: str, measured: Measured) -> None:
    """Each edge joins one of ours and one of theirs; with `first` the roles of the two change."""
    _join(lab, _QUICK, first, measured, linked=60, answered=60)


@pytest.mark.program(*tor.PROGRAMS)
@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_mixed_ring_over_every_shared_carrier_and_tor(
    lab: Lab, first: str, is_long: bool, measured: Measured
) -> None:
    """Once they dial an onion service of ours, once we one of theirs; when a dial fails they wait long."""
    if first == "theirs" and not is_long:
        pytest.skip("a second Tor network takes a minute: set MESHNODE_LONG=1")
    _join(lab, _WITH_ONIONS, first, measured, linked=150, answered=120)
