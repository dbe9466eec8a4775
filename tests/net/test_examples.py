"""The examples that a node is started with, run as they are; the one for Tor is in `test_tor.py`."""

from __future__ import annotations

import pytest

from tests.rigs import traffic
from tests.rigs.examples import Example
from tests.rigs.gateways import start_dnsmasq
from tests.rigs.hosts import cable, wire
from tests.rigs.labs import Lab
from tests.rigs.nodes import TUN
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net
LAN = "fd02::"


@pytest.mark.parametrize(("transport", "port"), [("udp", 2121), ("tcp", 8443)])
def test_a_relay_joins_two_that_know_only_it(lab: Lab, transport: str, port: int) -> None:
    middle = lab.host("middle")
    relay = None
    ends = []
    for number, name in enumerate(("left", "right")):
        node = lab.node(name, lab.host(name))
        _, there = cable(node.host, middle, f"10.99.{number}", "eth0", f"eth{number}")
        relay = relay or Example("relay", middle)
        node.carries(**{transport: {}})
        endpoint = {"transport": transport, "addr": f"{there}:{port}"}
        node.settings["peers"].append({"npub": relay.npub, "addresses": [endpoint]})
        node.start()
        ends.append(node)
    left, right = ends
    left.wait_ready()
    right.wait_ready()
    traffic.first_echo(left.host, f"{right.npub}.fips", 20)
    assert not middle.has_interface(TUN)


def test_two_devices_and_a_cable_are_a_mesh(lab: Lab) -> None:
    hosts = [lab.host(name) for name in ("one", "two")]
    wire(*hosts)
    one, two = (Example("two-devices", host) for host in hosts)
    traffic.first_echo(one.host, two.address, 20)
    traffic.first_echo(two.host, one.address, 20)


@pytest.mark.program("dnsmasq")
def test_behind_the_gateway_of_a_pi_a_telephone_opens_a_page_of_the_mesh(lab: Lab) -> None:
    pi, telephone = lab.host("pi"), lab.host("telephone")
    far = lab.node("far", lab.host("far"))
    wire(telephone, pi)
    pi.ip(f"-6 addr add {LAN}1/64 dev eth0 nodad")
    telephone.ip(f"-6 addr add {LAN}20/64 dev eth0 nodad")
    telephone.ip(f"-6 route add default via {LAN}1 dev eth0")
    _, to_pi = cable(far.host, pi, "10.99.0", "eth0", "eth1")
    pi.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])
    gateway = Example("pi-gateway", pi)
    far.settings["peers"].append({"npub": gateway.npub, "addresses": [{"transport": "udp", "addr": f"{to_pi}:2121"}]})
    far.start()
    traffic.first_echo(pi, far.address, 20)
    start_dnsmasq(pi, "/fips/::1#5353")  # as the example's page has it
    question = ["dig", "+short", "+timeout=2", "+tries=1", f"@{LAN}1", f"{far.npub}.fips", "AAAA"]
    wait_until(lambda: telephone.run(question).returncode == 0, 20, "a name server answers")
    lent = telephone.run(question).stdout.strip()
    assert lent.startswith("fd01::"), lent + gateway.log
    with traffic.web_page(far.host, "hello"):
        assert traffic.fetch(telephone, f"http://[{lent}]/").stdout == "hello"
