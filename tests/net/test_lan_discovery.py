"""Nodes that find each other on the local network without any configuration of peers (spec 04b section 1)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any

import pytest
from zeroconf import DNSOutgoing, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

from meshnode.identity import Identity
from meshnode.node.hearsay import EXTRA_BURST, HOST_BURST, HOST_RATE
from tests.rigs import sweeps, traffic
from tests.rigs.hosts import Bridge, Host, lose_first, wire
from tests.rigs.labs import Lab
from tests.rigs.nodes import Node, Program, environment, merged, our_program
from tests.rigs.waiting import pause, wait_until

pytestmark = pytest.mark.net

TYPE = "_fips._udp.local."
_FINDING_SECS = 5.0
_FORGED_SECS = 15.0
_ANSWER = 0x8400
_QUICK = {"node": {"heartbeat_interval_secs": 1, "link_dead_timeout_secs": 4, "retry": {"base_interval_secs": 2}}}

Measured = Callable[[str], None]


def on_asyncio() -> Program:
    """Return our node on the asyncio reactor."""
    ours = our_program()
    return Program(ours.name, ours.template.replace("twistd", "twistd --reactor=asyncio", 1))


def lan_node(lab: Lab, name: str, program: Program | None = None, **lan: Any) -> Node:
    """Return a node that has a udp transport, LAN discovery, and no peers."""
    node = lab.node(name, lab.host(f"host-{name}"), program)
    node.settings = merged(node.settings, {"node": {"rendezvous": {"lan": {"enabled": True, **lan}}}})
    return node


def start(*nodes: Node) -> None:
    for node in nodes:
        node.start()
    for node in nodes:
        node.wait_ready()


@contextmanager
def observer(host: Host, address: str) -> Iterator[Zeroconf]:
    """An independent mDNS program on a host."""
    with host.inside():
        watching = Zeroconf(interfaces=[address])
    with closing(watching):
        yield watching


class Watcher:
    """What a browser of ours was told: states by instance, in order."""

    def __init__(self, zeroconf: Zeroconf) -> None:
        self.told: list[tuple[str, ServiceStateChange]] = []
        self.browser = ServiceBrowser(zeroconf, TYPE, handlers=[self._changed])

    def _changed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        self.told.append((name, state_change))

    def wait(self, name: str, state: ServiceStateChange, deadline: float = 5.0) -> None:
        wait_until(lambda: (name, state) in self.told, deadline, f"{name} is {state.name.lower()}")


def service_name(node: Node) -> str:
    return f"fips-{node.npub[:16]}.{TYPE}"


@pytest.mark.parametrize("programs", [(None, on_asyncio()), (on_asyncio(), None)], ids=["epoll first", "asyncio first"])
def test_two_nodes_find_each_other_on_any_reactor(
    lab: Lab, programs: tuple[Program | None, Program | None], measured: Measured
) -> None:
    switch = Bridge(lab.host("switch"), "10.99.9")
    nodes = [lan_node(lab, f"n{number}", program) for number, program in enumerate(programs)]
    for node in nodes:
        switch.join(node.host)
    start(*nodes)
    begin = time.monotonic()
    for near, far in (nodes, nodes[::-1]):
        near.wait_connected(far, deadline=_FINDING_SECS)
    measured(f"linked {time.monotonic() - begin:.2f} s after both were up")
    sweeps.introduce(nodes)
    assert len(traffic.ping(nodes[0].host, f"{nodes[1].npub}.fips")) == 3


def test_link_local_addresses_are_enough(lab: Lab) -> None:
    left, right = lan_node(lab, "left"), lan_node(lab, "right")
    for node in (left, right):
        node.settings["transports"]["udp"]["bind_addr"] = "[::]:2121"
    wire(left.host, right.host)
    start(left, right)
    left.wait_connected(right, deadline=10)
    assert "%eth0]" in left.peers()[right.npub]["transport_addr"]


def test_an_outage_behind_the_interface_separates_nobody_for_good(lab: Lab, measured: Measured) -> None:
    """Two reference nodes were still apart 150 s after such an outage."""
    switch = Bridge(lab.host("switch"), "10.99.9")
    left, right = lan_node(lab, "left"), lan_node(lab, "right")
    for node in (left, right):
        node.settings = merged(node.settings, _QUICK)
        switch.join(node.host)
    start(left, right)
    left.wait_connected(right, deadline=_FINDING_SECS)
    switch.hub.ip("link set port0 nomaster")
    for node in (left, right):
        wait_until(lambda node=node: node.status()["peer_count"] == 0, 20, f"{node.name} misses its peer")
    pause(5)
    switch.hub.ip("link set port0 master br0")
    begin = time.monotonic()
    left.wait_connected(right, deadline=15)
    measured(f"linked again {time.monotonic() - begin:.2f} s after the outage")


def test_what_is_advertised_and_that_it_is_taken_back(lab: Lab) -> None:
    """Each interface shows its own addresses and no others; an interface that comes later is used as well."""
    node = lan_node(lab, "node")
    switches = [Bridge(lab.host(f"switch{number}"), f"10.99.{number}") for number in range(2)]
    watchers = [lab.host(f"watcher{number}") for number in range(2)]
    addresses = [switch.join(watcher) for switch, watcher in zip(switches, watchers, strict=True)]
    ours = [switches[0].join(node.host)]
    start(node)
    ours.append(switches[1].join(node.host, "eth1"))
    node.host.ip("link add docker0 type bridge")
    node.host.ip("addr add 172.17.0.1/16 dev docker0")
    node.host.ip("link set docker0 up")
    name = service_name(node)
    with observer(watchers[0], addresses[0]) as first, observer(watchers[1], addresses[1]) as second:
        seen = [Watcher(first), Watcher(second)]
        for watching, watcher, address in zip((first, second), seen, ours, strict=True):
            watcher.wait(name, ServiceStateChange.Added)
            info = watching.get_service_info(TYPE, name)
            assert info is not None
            assert [text for text in info.parsed_addresses() if ":" not in text] == [address]
            assert info.decoded_properties == {"npub": node.npub, "scope": "fips-overlay-v1", "v": "1"}
            assert info.port == 2121
        assert node.stop() == 0
        for watcher in seen:
            watcher.wait(name, ServiceStateChange.Removed)


def test_adverts_of_others_are_dialled_by_scope(lab: Lab) -> None:
    """Published by an independent program; what is dialled shows as a first message at the port it names."""
    node = lan_node(lab, "node")
    switch = Bridge(lab.host("switch"), "10.99.9")
    publisher = lab.host("publisher")
    switch.join(node.host)
    address = switch.join(publisher)
    adverts = {
        3001: {"scope": "fips-overlay-v1"},
        3002: {"scope": "another"},
        3003: {},
        3004: {"scope": "fips-overlay-v1", "v": "9"},
    }
    with observer(publisher, address) as publishing:
        listeners = {}
        for port, properties in adverts.items():
            listeners[port] = publisher.socket(2, 2)
            listeners[port].bind((address, port))
            listeners[port].setblocking(False)
            npub = Identity(port.to_bytes(32, "big")).npub
            publishing.register_service(
                ServiceInfo(
                    TYPE,
                    f"fips-{port}.{TYPE}",
                    port=port,
                    properties={"npub": npub, **properties},
                    server=f"fips-{port}.local.",
                    parsed_addresses=[address],
                )
            )
        start(node)

        def dialled() -> set[int]:
            for port, listener in listeners.items():
                try:
                    if len(listener.recv(2048)) == 114:
                        reached.add(port)
                except BlockingIOError:
                    pass
            return reached

        reached: set[int] = set()
        wait_until(lambda: {3001, 3004} <= dialled(), 10, "the adverts of our scope are dialled")
        assert dialled() == {3001, 3004}
        for listener in listeners.values():
            listener.close()


@pytest.mark.parametrize("keys", [1, 60])
def test_forged_adverts_cost_whom_they_name_three_times_their_bytes_and_a_few_messages_at_most(
    lab: Lab, keys: int, measured: Measured
) -> None:
    """One advert alone, and then many of made-up keys that share one victim."""
    node = lan_node(lab, "node")
    switch = Bridge(lab.host("switch"), "10.99.9")
    forger, victim = lab.host("forger"), lab.host("victim")
    switch.join(node.host)
    address, target = switch.join(forger), switch.join(victim)
    start(node)
    received = heard = 0
    with observer(forger, address) as network, closing(victim.socket(2, 2)) as listener:
        listener.bind((target, 2121))
        listener.settimeout(0.5)
        for number in range(keys):
            advert = forged(number, target)
            for packet in advert.packets():
                heard += len(packet)
            network.send(advert)
        begin = time.monotonic()
        while time.monotonic() < begin + _FORGED_SECS:
            with suppress(TimeoutError):
                received += len(listener.recv(2048))
        seconds = time.monotonic() - begin
    measured(f"{heard} bytes heard, {received} sent to the victim in {seconds:.0f} s")
    extra = EXTRA_BURST * 114
    assert 0 < received <= min(3 * heard + extra, (HOST_BURST + HOST_RATE * seconds) * 114)
    assert "Traceback" not in node.log()


def forged(number: int, target: str) -> DNSOutgoing:
    """An advert of a made-up key at an address of somebody else."""
    info = ServiceInfo(
        TYPE,
        f"f{number}.{TYPE}",
        port=2121,
        properties={"npub": Identity((number + 1).to_bytes(32, "big")).npub, "scope": "fips-overlay-v1"},
        server=f"f{number}.local.",
        parsed_addresses=[target],
    )
    advert = DNSOutgoing(_ANSWER)
    for record in (info.dns_pointer(), info.dns_service(), info.dns_text(), *info.dns_addresses()):
        advert.add_answer_at_time(record, 0)
    return advert


def _is_settled(host: Host) -> bool:
    addresses = host.ip("-6 address show dev eth0")
    return "fe80:" in addresses and "tentative" not in addresses


@pytest.mark.parametrize("lost", [1, 2])
def test_a_node_is_met_although_the_first_messages_get_lost(lab: Lab, lost: int, measured: Measured) -> None:
    """The right one hears no adverts: all depends on what the left one sends to an address that it only heard of."""
    switch = Bridge(lab.host("switch"), "10.99.9")
    left, right = lan_node(lab, "left"), lan_node(lab, "right")
    for node in (left, right):
        switch.join(node.host)
    for node in (left, right):
        # An address that comes a second later makes discovery begin anew, in the midst of the only adverts there are.
        wait_until(partial(_is_settled, node.host), 10, "its link has a link-local address for good")
    lose_first(switch, lost, "udp dport 2121")
    done = switch.hub.run(["nft", "add rule netdev q c0 udp dport 5353 drop"])
    assert done.returncode == 0, done.stderr
    start(left)
    start(right)
    begin = time.monotonic()
    left.wait_connected(right, deadline=2 * _FINDING_SECS)
    measured(f"linked {time.monotonic() - begin:.2f} s after both were up")
    assert left.peers()[right.npub]["direction"] == "outbound"


def test_without_zeroconf_one_line_says_what_to_install(lab: Lab) -> None:
    node = lan_node(lab, "node")
    shadow = lab.directory / "shadow"
    shadow.mkdir()
    (shadow / "zeroconf.py").write_text('raise ModuleNotFoundError("No module named zeroconf", name="zeroconf")\n')
    paths = f"{shadow}:{environment()['PYTHONPATH']}"
    node.program = Program("meshnode", f"env PYTHONPATH={paths} {node.program.template}")
    start(node)
    assert node.log().count("pip install meshnode[lan]") == 1
    assert "Traceback" not in node.log()
    assert node.status()["state"] == "degraded"
