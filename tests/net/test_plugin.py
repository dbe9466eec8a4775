"""The example of a transport from somebody else's package: installed as a user would, and used."""

from __future__ import annotations

import pytest

from tests.rigs import sweeps, traffic
from tests.rigs.labs import Lab
from tests.rigs.nodes import Node, Program
from tests.rigs.serial import serial_cable

pytestmark = pytest.mark.net


def on_line(lab: Lab, name: str, program: Program | None, device: str) -> Node:
    """Return a node that has nothing but a serial line."""
    node = lab.node(name, lab.host(f"host-{name}"), program)
    node.settings["transports"] = {"serial": {"device": device, "speed": 115200}}
    return node


def test_two_nodes_on_a_serial_line(lab: Lab, with_plugin: Program) -> None:
    with serial_cable() as cable:
        left, right = on_line(lab, "left", with_plugin, cable.left), on_line(lab, "right", with_plugin, cable.right)
        left.settings["peers"].append(
            {"npub": right.npub, "addresses": [{"transport": "serial", "addr": cable.left}]},
        )
        for node in (right, left):
            node.start()
            node.wait_ready()
        left.wait_connected(right)
        sweeps.introduce([left, right])
        assert len(traffic.ping(left.host, f"{right.npub}.fips")) == 3
        assert traffic.transfer(right.host, left.host, left.address, 500_000).intact
        (row,) = left.ask("show_transports")["transports"]
        assert (row["type"], row["local_addr"], row["mtu"]) == ("serial", cable.left, 1280)
        assert left.peers()[right.npub]["transport_type"] == "serial"


def test_a_plugin_that_refuses_its_section_is_one_line(lab: Lab, with_plugin: Program) -> None:
    node = on_line(lab, "node", with_plugin, "/dev/null")
    node.settings["transports"] = {"udp": {}, "serial": {"device": 5}}
    node.start()
    node.wait_ready()
    assert node.log().count("serial: write device: /dev/ttyUSB0") == 1
    assert "(transports.serial in" in node.log()
    assert "Traceback" not in node.log()


def test_a_kind_that_nobody_brings_is_one_line(lab: Lab) -> None:
    node = on_line(lab, "node", None, "/dev/null")
    node.settings["transports"] = {"udp": {}, "serial": {"device": "/dev/ttyS0"}, "ethernte": {}}
    node.start()
    node.wait_ready()
    assert "transports.serial is ignored: there is no such transport; is the plug-in" in node.log()
    assert "transports.ethernte is ignored: there is no such transport; did you mean `ethernet`?" in node.log()
    node.stop()
    del node.settings["transports"]["udp"]
    node.start()
    assert node.process is not None
    assert node.process.wait(10) == 1
    assert "no operational transports" in node.log()
