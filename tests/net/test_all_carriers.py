"""One mesh over every carrier: a ring, each edge another one; all pairs talk, and each edge may go and return."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from itertools import combinations, permutations

import pytest

from tests.rigs import sweeps, tor, traffic
from tests.rigs.carriers import (
    BleCarrier,
    Carrier,
    EthernetCarrier,
    LanCarrier,
    PluginCarrier,
    Ring,
    TcpCarrier,
    TorCarrier,
    UdpCarrier,
    WireCarrier,
)
from tests.rigs.labs import Lab
from tests.rigs.nodes import Program
from tests.rigs.sweeps import Echoes, Pair
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net

_LINKED_SECS = 30.0
_AROUND_SECS = 30.0
_BACK_SECS = 40.0
_PATIENCE = 5.0
"""How many times as long everything may take with Tor, whose own network is on this machine as well."""

_ANYWHERE: list[type[Carrier]] = [UdpCarrier, TcpCarrier, EthernetCarrier, PluginCarrier, LanCarrier, BleCarrier]
# Those of the others that no test of their own cuts.
_CUT_SHORTLY = ("ethernet", "plugin", "lan")

Measured = Callable[[str], None]


def _link(ring: Ring, measured: Measured, patience: float = 1.0) -> None:
    begin = time.monotonic()
    ring.start()
    for carrier in ring.carriers:
        wait_until(carrier.is_up, _LINKED_SECS * patience, f"{carrier.name} links its nodes", interval=0.1)
    measured(f"all {len(ring.carriers)} carriers linked {time.monotonic() - begin:.1f} s after the start")
    sweeps.introduce(ring.nodes)


def _move(ring: Ring, size: int, measured: Measured) -> None:
    begin = time.monotonic()
    for near, far in combinations(ring.nodes, 2):
        moved = traffic.transfer(near.host, far.host, far.address, size, timeout=300)
        assert moved.intact, f"{near.name} to {far.name}"
    measured(f"{size / 1e6:g} MB between every two nodes in {time.monotonic() - begin:.1f} s")


def _cut_and_mend(
    carrier: Carrier, echoes: Echoes, pairs: list[Pair], measured: Measured, patience: float = 1.0
) -> None:
    """All pairs find another way, and the link is there again once the carrier is."""
    carrier.cut()
    around = echoes.all_answer(pairs, _AROUND_SECS * patience)
    carrier.mend()
    mended = time.time()
    back = _BACK_SECS * patience
    wait_until(lambda: carrier.is_up(since=mended), back, f"{carrier.name} is back", interval=0.1)
    measured(f"{carrier.name} cut: {around}; back {time.time() - mended:.1f} s after it was mended")


def test_every_pair_talks_over_every_carrier_and_each_may_be_cut(
    lab: Lab, with_plugin: Program, measured: Measured
) -> None:
    with closing(Ring(lab, [*_ANYWHERE, WireCarrier], [with_plugin])) as ring, sweeps.echoes(ring.nodes) as echoes:
        _link(ring, measured)
        pairs = list(permutations(ring.nodes, 2))
        measured(f"all pairs by name: {echoes.all_answer(pairs, 30)}")
        _move(ring, 300_000, measured)
        for carrier in ring.carriers:
            if carrier.name in _CUT_SHORTLY:
                _cut_and_mend(carrier, echoes, pairs, measured)
        echoes.all_answer(pairs, 10)


def test_the_same_with_tor_and_in_full(lab: Lab, with_plugin: Program, is_long: bool, measured: Measured) -> None:
    if not is_long:
        pytest.skip("takes minutes: set MESHNODE_LONG=1")
    if missing := tor.missing():
        pytest.skip(f"a mesh with Tor needs these programs: {', '.join(missing)} (Debian package tor)")
    with closing(Ring(lab, [*_ANYWHERE, TorCarrier], [with_plugin])) as ring, sweeps.echoes(ring.nodes) as echoes:
        _link(ring, measured, _PATIENCE)
        pairs = list(permutations(ring.nodes, 2))
        measured(f"all pairs by name: {echoes.all_answer(pairs, 60)}")
        _move(ring, 10_000_000, measured)
        for carrier in ring.carriers:
            _cut_and_mend(carrier, echoes, pairs, measured, _PATIENCE)
        echoes.all_answer(pairs, 30)
