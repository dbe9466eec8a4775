"""One mesh over every carrier: a ring, each edge another one; all pairs talk, and each edge may go and return."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from itertools import combinations, permutations

import pytest

from tests.net.test_plugin import install_example
from tests.rigs import sweeps, traffic
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
)
from tests.rigs.labs import Lab
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net

_LINKED_SECS = 30.0
_AROUND_SECS = 30.0
_BACK_SECS = 40.0

Measured = Callable[[str], None]


def test_every_pair_talks_over_every_carrier_and_each_may_be_cut(
    lab: Lab, is_long: bool, measured: Measured, tmp_path_factory: pytest.TempPathFactory
) -> None:
    program = install_example(tmp_path_factory.mktemp("plugin") / "venv")
    kinds: list[type[Carrier]] = [UdpCarrier, TcpCarrier, EthernetCarrier, TorCarrier]
    kinds += [PluginCarrier, LanCarrier, BleCarrier]
    with closing(Ring(lab, kinds, [program])) as ring, sweeps.echoes(ring.nodes) as echoes:
        begin = time.monotonic()
        ring.start()
        for carrier in ring.carriers:
            wait_until(carrier.is_up, _LINKED_SECS, f"{carrier.name} links its nodes", interval=0.1)
        measured(f"all {len(ring.carriers)} carriers linked {time.monotonic() - begin:.1f} s after the start")
        sweeps.introduce(ring.nodes)
        pairs = list(permutations(ring.nodes, 2))
        measured(f"all pairs by name: {echoes.all_answer(pairs, 30)}")
        size = 10_000_000 if is_long else 1_000_000
        begin = time.monotonic()
        for near, far in combinations(ring.nodes, 2):
            moved = traffic.transfer(near.host, far.host, far.address, size)
            assert moved.intact, f"{near.name} to {far.name}"
        measured(f"{size / 1e6:g} MB between every two nodes in {time.monotonic() - begin:.1f} s")
        for carrier in ring.carriers:
            carrier.cut()
            around = echoes.all_answer(pairs, _AROUND_SECS)
            carrier.mend()
            mended = time.time()
            wait_until(lambda: carrier.is_up(since=mended), _BACK_SECS, f"{carrier.name} is back", interval=0.1)  # noqa: B023
            back = time.time() - mended
            measured(f"{carrier.name} cut: {around}; back {back:.1f} s after it was mended")
        echoes.all_answer(pairs, 10)
