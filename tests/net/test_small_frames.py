"""Frames of the 1280 bytes that transports have unless told otherwise: an IPv6 packet of as many does not fit into one.

No kernel believes that a path takes less than 1280, which is what IPv6 promises, so nobody can be told to send less.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.net import reference
from tests.rigs import traffic
from tests.rigs.hosts import Host
from tests.rigs.labs import Lab, Pair

pytestmark = pytest.mark.net

SMALL = {"transports": {"udp": {"mtu": 1280}}}
SIZES = [1155, 1156, 1232, 1233, 4000]
"""Of echoes: the first fills a frame, the third what IPv6 promises; the last two the kernel splits, and we again."""


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Lab() as lab:
        yield Pair(lab, settings=SMALL).left_dials().start()


@pytest.fixture(scope="module")
def mixed() -> Iterator[Pair]:
    with Lab() as lab:
        yield Pair(lab, right=reference.program(), settings=SMALL).left_dials().start()


def echoes_asked(host: Host) -> int:
    """How many echo requests the kernel of a host was given whole."""
    counters = dict(line.split() for line in host.run(["cat", "/proc/net/snmp6"]).stdout.splitlines())
    return int(counters["Icmp6InEchos"])


@pytest.mark.parametrize("size", SIZES)
def test_echoes_of_any_size_come_back(pair: Pair, size: int) -> None:
    assert len(traffic.ping(pair.left.host, pair.right.address, count=2, size=size)) == 2


@pytest.mark.interop
@pytest.mark.parametrize("size", SIZES)
def test_datagrams_of_any_size_arrive_behind_a_reference(mixed: Pair, size: int) -> None:
    """Which itself loses what it sends back."""
    before = echoes_asked(mixed.right.host)
    traffic.ping(mixed.left.host, mixed.right.address, count=3, size=size)
    assert echoes_asked(mixed.right.host) - before == 3
