"""We and an unmodified reference daemon on bare Ethernet: their beacon finds us, ours finds them."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

from tests.net import reference
from tests.rigs import sweeps, traffic
from tests.rigs.hosts import Bridge, wire
from tests.rigs.labs import Lab
from tests.rigs.nodes import Node
from tests.rigs.waiting import wait_until

pytestmark = [pytest.mark.net, pytest.mark.interop]

_MEETING_SECS = 5.0

Measured = Callable[[str], None]


def _node(lab: Lab, name: str, *, theirs: bool, announce: bool, auto_connect: bool) -> Node:
    node = lab.node(name, lab.host(f"host-{name}"), reference.program() if theirs else None)
    settings = {"announce": announce, "auto_connect": auto_connect, "accept_connections": not auto_connect or announce}
    node.settings["transports"] = {"ethernet": {"interface": "eth0", **settings}}
    return node


def _pair(lab: Lab, dialling: str) -> tuple[Node, Node]:
    """The side that dials only listens to beacons; the other only sends them and accepts."""
    ours = _node(lab, "ours", theirs=False, announce=dialling == "they", auto_connect=dialling == "we")
    theirs = _node(lab, "theirs", theirs=True, announce=dialling == "we", auto_connect=dialling == "they")
    wire(ours.host, theirs.host)
    first, second = (ours, theirs) if dialling == "we" else (theirs, ours)
    first.start()
    first.wait_ready()
    second.start()
    second.wait_ready()
    return ours, theirs


@pytest.mark.parametrize("dialling", ["we", "they"])
def test_a_beacon_leads_to_a_link_that_carries_everything(lab: Lab, dialling: str, measured: Measured) -> None:
    ours, theirs = _pair(lab, dialling)
    begin = time.monotonic()
    ours.wait_connected(theirs, deadline=_MEETING_SECS)
    theirs.wait_connected(ours, deadline=_MEETING_SECS)
    measured(f"linked {time.monotonic() - begin:.2f} s after both were up")
    assert ours.peers()[theirs.npub]["direction"] == ("outbound" if dialling == "we" else "inbound")
    sweeps.introduce([ours, theirs])
    for near, far in ((ours, theirs), (theirs, ours)):
        assert len(traffic.ping(near.host, f"{far.npub}.fips")) == 3
        moved = traffic.transfer(near.host, far.host, far.address, 10_000_000)
        measured(f"10 MB from {near.name} in {moved.seconds:.2f} s")
        assert moved.intact
    row = _transport(ours)
    assert (row["mtu"], row["type"]) == (_transport(theirs)["mtu"], "ethernet")
    assert row["stats"]["frames_too_short"] == 0


def _transport(node: Node) -> dict[str, Any]:
    return dict(node.ask("show_transports")["transports"][0])


def test_a_switch_full_of_both_kinds_becomes_one_mesh(lab: Lab, measured: Measured) -> None:
    """Everybody announces, dials and accepts, so most pairs dial each other at once."""
    nodes = [_node(lab, f"n{n}", theirs=n % 2 == 1, announce=True, auto_connect=True) for n in range(4)]
    switch = Bridge(lab.host("switch"), "10.99.9")
    for node in nodes:
        switch.plug(node.host)
    begin = time.monotonic()
    for node in nodes:
        node.start()
    for node in nodes:
        node.wait_ready()
    for node in nodes:
        # Two of theirs that start together meet at their second beacon, after 31 s.
        others = [
            other for other in nodes if other is not node and not node.program == other.program != nodes[0].program
        ]
        node.wait_connected(*others, deadline=2 * _MEETING_SECS)
    measured(f"linked {time.monotonic() - begin:.2f} s after the start")
    sweeps.introduce(nodes)
    with sweeps.echoes(nodes) as echoes:
        measured(f"echoes: {echoes.all_answer(list(permutations(nodes, 2)), 20)}")


def test_an_interface_of_ours_that_was_made_anew_hears_them_again(lab: Lab, measured: Measured) -> None:
    """In the same place theirs stays deaf until it is restarted."""
    ours = _node(lab, "ours", theirs=False, announce=True, auto_connect=True)
    theirs = _node(lab, "theirs", theirs=True, announce=True, auto_connect=True)
    switch = Bridge(lab.host("switch"), "10.99.9")
    for node in (theirs, ours):
        switch.plug(node.host)
        node.start()
        node.wait_ready()
    mac = str(_transport(ours)["local_addr"]).partition("/")[2]
    ours.wait_connected(theirs, deadline=_MEETING_SECS)
    with traffic.pinging(theirs.host, ours.address) as echoes:
        echoes.first(5)
        ours.host.ip("link del eth0")
        wait_until(lambda: _transport(ours)["state"] == "down", 5, "the interface is missed")
        switch.plug(ours.host)
        ours.host.ip(f"link set eth0 address {mac}")
        back = time.time()
        measured(f"echoes {echoes.reply_after(back, 10).at - back:.2f} s after the interface was back")
