"""We and an unmodified reference daemon find each other by mDNS on a switch, each way by itself."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.net import reference
from tests.net.test_lan_discovery import lan_node, start
from tests.rigs import traffic
from tests.rigs.hosts import Bridge
from tests.rigs.labs import Lab
from tests.rigs.nodes import Node, merged
from tests.rigs.waiting import wait_until

pytestmark = [pytest.mark.net, pytest.mark.interop]

_FINDING_SECS = 10.0
_LAN_ON = {"lan": {"enabled": True}}

Measured = Callable[[str], None]


def _pair(lab: Lab, silent: str) -> tuple[Node, Node, Bridge]:
    """Ours and theirs on a switch that lets no mDNS of the `silent` one through."""
    ours = lan_node(lab, "ours")
    theirs = lab.node("theirs", lab.host("host-theirs"), reference.program())
    theirs.settings = merged(theirs.settings, {"node": {"discovery": _LAN_ON, "link_dead_timeout_secs": 5}})
    switch = Bridge(lab.host("switch"), "10.99.9")
    for number, node in enumerate((ours, theirs)):
        switch.join(node.host)
        if node.name == silent:
            chain = f"{{ type filter hook ingress device port{number} priority 0; }}"
            rules = f"add table netdev q; add chain netdev q c {chain}; add rule netdev q c udp dport 5353 drop"
            done = switch.hub.run(["nft", rules])
            assert done.returncode == 0, done.stderr
    return ours, theirs, switch


@pytest.mark.parametrize("silent", ["theirs", "ours", "nobody"])
def test_each_finds_the_other(lab: Lab, silent: str, measured: Measured) -> None:
    """Who is not heard starts first, so that it hears the announcement of the other and has to dial."""
    ours, theirs, _ = _pair(lab, silent)
    first, second = (ours, theirs) if silent == "ours" else (theirs, ours)
    start(first)
    start(second)
    begin = time.monotonic()
    ours.wait_connected(theirs, deadline=_FINDING_SECS)
    theirs.wait_connected(ours, deadline=_FINDING_SECS)
    measured(f"linked {time.monotonic() - begin:.2f} s after both were up")
    if silent != "nobody":
        assert ours.peers()[theirs.npub]["direction"] == ("inbound" if silent == "theirs" else "outbound")
    assert len(traffic.ping(ours.host, theirs.address)) == 3


def test_we_come_back_after_an_outage_that_they_would_not_notice(lab: Lab, measured: Measured) -> None:
    ours, theirs, switch = _pair(lab, "nobody")
    ours.settings = merged(ours.settings, {"node": {"link_dead_timeout_secs": 5, "heartbeat_interval_secs": 1}})
    start(theirs, ours)
    ours.wait_connected(theirs, deadline=_FINDING_SECS)
    switch.hub.ip("link set port1 nomaster")
    for node in (ours, theirs):
        wait_until(lambda node=node: node.status()["peer_count"] == 0, 30, f"{node.name} misses its peer")
    switch.hub.ip("link set port1 master br0")
    begin = time.monotonic()
    ours.wait_connected(theirs, deadline=30)
    measured(f"linked again {time.monotonic() - begin:.2f} s after the outage")
