"""Daemons over Bluetooth: virtual controllers with real host stacks, from the advertisement to echoes and streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from statistics import median

import pytest

from tests.rigs import traffic
from tests.rigs.ble import Air, address, device
from tests.rigs.labs import Lab
from tests.rigs.nodes import Node
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as laboratory:
        yield laboratory


@pytest.fixture
def air(lab: Lab) -> Iterator[Air]:
    with closing(Air(lab.directory)) as running:
        yield running


def ble_node(lab: Lab, air: Air, number: int, **more: object) -> Node:
    settings = {"transports": {"ble": air.settings(number, **more)}}
    return lab.node(f"node{number}", lab.host(f"host{number}"), None, settings)


def pings(one: Node, other: Node) -> bool:
    return bool(traffic.ping(one.host, other.address, count=1))


def test_nodes_that_advertise_find_each_other_and_carry_traffic(
    lab: Lab, air: Air, measured: Callable[[str], None]
) -> None:
    left, right = (ble_node(lab, air, number, auto_connect=True) for number in (1, 2))
    for node in (left, right):
        node.start()
    for node in (left, right):
        node.wait_ready()
    left.wait_connected(right)
    right.wait_connected(left)
    assert right.peers()[left.npub]["transport_addr"].endswith(device(1))
    echoes = traffic.ping(left.host, right.address, count=10, size=1200)
    assert len(echoes) == 10
    measured(f"echo of 1200 bytes {median(echo.milliseconds for echo in echoes):.1f} ms")
    assert len(traffic.ping(right.host, left.address, count=2)) == 2


def test_a_configured_peer_out_of_range_comes_back_into_range(lab: Lab, air: Air) -> None:
    left, right = ble_node(lab, air, 1), ble_node(lab, air, 2)
    left.settings["peers"].append(
        {"npub": right.npub, "alias": right.name, "addresses": [{"transport": "ble", "addr": address(2)}]}
    )
    for node in (right, left):
        node.start()
        node.wait_ready()
    left.wait_connected(right)
    assert pings(left, right)
    air.cut(1, 2)
    wait_until(lambda: "lost" in left.log(), 10, "the loss is noticed")
    air.mend(1, 2)
    wait_until(lambda: pings(left, right), 30, "echoes come back after the air is mended")


def test_an_adapter_pulled_out_and_plugged_in_again_is_used_again(lab: Lab, air: Air) -> None:
    left, right = (ble_node(lab, air, number, auto_connect=True) for number in (1, 2))
    for node in (left, right):
        node.start()
        node.wait_ready()
    left.wait_connected(right)
    air.unplug(2)
    wait_until(lambda: "ble is down: the adapter was removed" in right.log(), 10, "the loss is told")
    air.plug(2)
    wait_until(lambda: "ble is up: " in right.log().split("ble is down", 1)[1], 20, "the adapter is used again")
    wait_until(lambda: pings(left, right), 40, "echoes come back")


def test_without_bluez_the_node_runs_on_and_says_so_once(lab: Lab) -> None:
    node = lab.node("lonely", lab.host("host"), None, {"transports": {"ble": {}}})
    node.start()
    node.wait_ready()
    wait_until(lambda: "ble waits for its radio" in node.log(), 5, "the missing BlueZ is told")
    lines = [line for line in node.log().splitlines() if "ble" in line]
    (line,) = [line for line in lines if "waits for its radio" in line]
    assert "no D-Bus system bus at /run/dbus/system_bus_socket" in line
    assert "apt-get install dbus bluez" in line
    assert node.status()["state"] in ("running", "degraded")
    rows = {row["type"]: row for row in node.ask("show_transports")["transports"]}
    assert rows["ble"]["state"] == "starting"
