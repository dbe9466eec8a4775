"""Nodes on bare Ethernet: cables and switches without any IP address on them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import permutations
from typing import Any

import pytest

from meshnode.identity import Identity
from meshnode.node.hearsay import EXTRA_BURST, HOST_BURST, HOST_RATE
from meshnode.transports import packet_socket
from meshnode.transports.mac_addresses import BROADCAST
from meshnode.transports.netlink import Interface
from meshnode.transports.packet_batch import BatchPort
from meshnode.transports.packet_socket import KernelPackets, PacketPort, PlainPort
from meshnode.wire import Beacon
from meshnode.wire.ethernet import enclose
from tests.rigs import sweeps, traffic
from tests.rigs.hosts import Bridge, Host, lose_first, wire
from tests.rigs.labs import Lab
from tests.rigs.nodes import Node, environment, merged
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net

OPEN = {"announce": True, "auto_connect": True, "accept_connections": True}
_MEETING_SECS = 3.0
_FORGED_SECS = 15.0

Measured = Callable[[str], None]


def _on_wire(lab: Lab, name: str, interface: str = "eth0", **settings: Any) -> Node:
    """Return a node that has nothing but an Ethernet interface."""
    node = lab.node(name, lab.host(f"host-{name}"))
    node.settings["transports"] = {"ethernet": {"interface": interface, **OPEN, **settings}}
    return node


def _pair(lab: Lab) -> tuple[Node, Node]:
    left, right = _on_wire(lab, "left"), _on_wire(lab, "right")
    wire(left.host, right.host)
    return left, right


def _start(*nodes: Node) -> None:
    for node in nodes:
        node.start()
    for node in nodes:
        node.wait_ready()


def _row(node: Node) -> dict[str, Any]:
    return dict(node.ask("show_transports")["transports"][0])


# -- whole nodes ------------------------------------------------------------------------------------------------------


def test_two_fresh_nodes_on_a_bare_cable_meet_at_once(lab: Lab, measured: Measured) -> None:
    """The reference needs 31 s when both start together."""
    left, right = _pair(lab)
    _start(left, right)
    begin = time.monotonic()
    left.wait_connected(right, deadline=_MEETING_SECS)
    right.wait_connected(left, deadline=_MEETING_SECS)
    measured(f"linked {time.monotonic() - begin:.2f} s after both were up")
    assert left.host.ip("-4 addr show dev eth0") == ""
    sweeps.introduce([left, right])
    for near, far in ((left, right), (right, left)):
        assert len(traffic.ping(near.host, f"{far.npub}.fips")) == 3
        moved = traffic.transfer(near.host, far.host, far.address, 20_000_000)
        assert moved.intact
        measured(f"20 MB in {moved.seconds:.2f} s")
    assert _row(left)["mtu"] == 1497
    assert " promiscuity 0 " in left.host.ip("-d link show dev eth0")


def test_nodes_on_a_switch_link_everybody_with_everybody(lab: Lab) -> None:
    nodes = [_on_wire(lab, f"n{number}") for number in range(4)]
    switch = Bridge(lab.host("switch"), "10.99.9")
    for node in nodes:
        switch.plug(node.host)
    _start(*nodes)
    for node in nodes:
        node.wait_connected(*(other for other in nodes if other is not node), deadline=_MEETING_SECS)
    sweeps.introduce(nodes)
    with sweeps.echoes(nodes) as echoes:
        echoes.all_answer(list(permutations(nodes, 2)), 5)


@pytest.mark.parametrize("macs", ["the same addresses", "other addresses"])
def test_an_interface_made_anew_is_heard_again(lab: Lab, macs: str, measured: Measured) -> None:
    """The reference sends on and stays deaf until it is restarted. Beacons tell where a peer with a new address is."""
    left, right = _pair(lab)
    fixed = {left: "02:00:00:00:00:0a", right: "02:00:00:00:00:0b"} if macs == "the same addresses" else {}
    for node, mac in fixed.items():
        node.host.ip(f"link set eth0 address {mac}")
    _start(left, right)
    left.wait_connected(right)
    with traffic.pinging(left.host, right.address) as echoes:
        echoes.first(5)
        left.host.ip("link del eth0")
        wait_until(lambda: _row(left)["state"] == "down" == _row(right)["state"], 5, "both notice")
        wire(left.host, right.host)
        for node, mac in fixed.items():
            node.host.ip(f"link set eth0 address {mac}")
        back = time.time()
        seconds = echoes.reply_after(back, 20).at - back
    measured(f"echoes {seconds:.2f} s after the interface was back")
    assert _row(left)["state"] == _row(right)["state"] == "up"


def test_another_mtu_of_the_cable_is_followed(lab: Lab) -> None:
    left, right = _pair(lab)
    _start(left, right)
    left.wait_connected(right)
    for mtu in (1400, 9000):
        for node in (left, right):
            node.host.ip(f"link set eth0 mtu {mtu}")
        wait_until(lambda: _row(left)["mtu"] == _row(right)["mtu"] == mtu - 3, 2, "both know the MTU")  # noqa: B023
        assert traffic.transfer(left.host, right.host, right.address, 5_000_000).intact


def test_an_interface_that_comes_later_is_waited_for(lab: Lab) -> None:
    left, right = (_on_wire(lab, name, "lan0") for name in ("left", "right"))
    _start(left, right)
    assert "ethernet lan0: there is no such interface; waiting for it" in left.log()
    wire(left.host, right.host, "lan0", "lan0")
    left.wait_connected(right, deadline=_MEETING_SECS)
    assert len(traffic.ping(left.host, right.address)) == 3


def test_a_node_that_accepts_nobody_is_silent(lab: Lab) -> None:
    left = _on_wire(lab, "left", announce=False)
    right = _on_wire(lab, "right", accept_connections=False, auto_connect=False)
    wire(left.host, right.host)
    _start(left, right)
    wait_until(lambda: _row(right)["stats"]["frames_recv"] >= 2, 5, "the first messages arrive")
    assert left.status()["peer_count"] == right.status()["peer_count"] == 0
    assert _row(right)["stats"]["frames_sent"] == 0


def _forged(forger: Host, mac: bytes, numbers: range) -> None:
    """Beacons of made-up keys that come, by their source address, from somebody else."""
    with forger.socket(socket.AF_PACKET, socket.SOCK_RAW) as thrower:
        thrower.bind(("eth0", 0))
        for number in numbers:
            beacon = Beacon(Identity((number + 1).to_bytes(32, "big")).peer.xonly).encode()
            thrower.send(BROADCAST + mac + b"\x21\x21" + beacon.ljust(46, b"\0"))


@pytest.mark.parametrize("keys", [1, 60])
def test_forged_beacons_cost_whom_they_name_a_bounded_number_of_messages(
    lab: Lab, keys: int, measured: Measured
) -> None:
    node = _on_wire(lab, "node", announce=False)
    forger, victim = lab.host("forger"), lab.host("victim")
    switch = Bridge(lab.host("switch"), "10.99.9")
    for host in (node.host, forger, victim):
        switch.plug(host)
    _start(node)
    received = 0
    mac = bytes.fromhex("02000000000f")
    victim.ip("link set eth0 address 02:00:00:00:00:0f")
    with victim.socket(socket.AF_PACKET, socket.SOCK_RAW) as listener:
        listener.bind(("eth0", 0x2121))
        listener.settimeout(0.5)
        _forged(forger, mac, range(keys))
        begin = time.monotonic()
        while time.monotonic() < begin + _FORGED_SECS:
            with suppress(TimeoutError):
                frame = listener.recv(2048)
                received += len(frame) if frame[:6] == mac else 0
        seconds = time.monotonic() - begin
    measured(f"{keys * 60} bytes heard, {received} sent to the victim in {seconds:.0f} s")
    message = 14 + 117
    assert 0 < received <= min(3 * 60 * keys + EXTRA_BURST * message, (HOST_BURST + HOST_RATE * seconds) * message)


@pytest.mark.parametrize("lost", [1, 2])
def test_a_node_is_met_although_the_first_messages_get_lost(lab: Lab, lost: int, measured: Measured) -> None:
    """Only one side dials, and of the beacons of the other as many are lost."""
    left, right = _on_wire(lab, "left", announce=False), _on_wire(lab, "right", auto_connect=False)
    switch = Bridge(lab.host("switch"), "10.99.9")
    for node in (left, right):
        switch.plug(node.host)
    lose_first(switch, lost, "ether type 0x2121")
    _start(left, right)
    begin = time.monotonic()
    left.wait_connected(right, deadline=12)
    measured(f"linked {time.monotonic() - begin:.2f} s after both were up")


def test_a_static_peer_by_its_mac_address(lab: Lab) -> None:
    left = _on_wire(lab, "left", announce=False, auto_connect=False)
    right = _on_wire(lab, "right", announce=False, auto_connect=False)
    wire(left.host, right.host)
    right.host.ip("link set eth0 address 02:aa:bb:cc:dd:0e")
    address = {"transport": "ethernet", "addr": "eth0/02:AA:BB:CC:DD:E"}
    left.settings["peers"].append({"npub": right.npub, "addresses": [address]})
    _start(right, left)
    left.wait_connected(right)
    assert len(traffic.ping(right.host, left.address)) == 3
    assert left.peers()[right.npub]["transport_addr"] == "eth0/02:aa:bb:cc:dd:0e"


def test_without_the_right_to_raw_sockets_one_line_says_so(lab: Lab) -> None:
    node = _on_wire(lab, "node")
    node.settings = merged(node.settings, {"tun": {"enabled": False}, "dns": {"enabled": False}})
    node.start()
    node.wait_ready()
    node.stop()
    command = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", *node.program.command(node.config_file)]
    done = node.host.run(command, environment=environment())
    assert done.returncode == 1
    assert "ethernet eth0: not permitted; raw Ethernet needs root or CAP_NET_RAW" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


# -- the socket itself ------------------------------------------------------------------------------------------------


@pytest.fixture
def wired(lab: Lab) -> tuple[Host, Host]:
    left, right = lab.host("left"), lab.host("right")
    wire(left, right)
    return left, right


def _open(
    host: Host, kind: type[BatchPort | PlainPort], stack: ExitStack, ethertype: int = 0x2121
) -> tuple[PacketPort, Interface]:
    system = KernelPackets()
    with host.inside():
        links = system.links()
        stack.callback(links.close)
        interface = links.look_up("eth0")
        assert interface is not None
        opened = packet_socket.open_socket("eth0", ethertype, 1 << 20, 1 << 20, lambda text: None)
    port = kind(opened, interface, ethertype)
    stack.callback(port.close)
    return port, interface


def _collect(port: PacketPort, count: int) -> list[bytes]:
    """Return at least `count` payloads that arrive."""
    found: list[bytes] = []

    def enough() -> bool:
        heads, bodies, _senders = port.receive()
        found.extend(heads[3 * number :][:3] + body for number, body in enumerate(bodies))
        return len(found) >= count

    wait_until(enough, 2, f"{count} payloads arrive", interval=0.001)
    return found


@pytest.mark.parametrize("kind", [BatchPort, PlainPort])
def test_batches_arrive_whole_and_in_order(wired: tuple[Host, Host], kind: type[BatchPort | PlainPort]) -> None:
    with ExitStack() as stack:
        (left, _), (right, interface) = (_open(host, kind, stack) for host in wired)
        frames = [bytes([number]) * (1 + number * 11) for number in range(130)]
        payloads, sizes = memoryview(enclose(frames)), [len(frame) + 3 for frame in frames]
        while sizes:
            sent = left.send(interface.mac, payloads, sizes)
            payloads, sizes = payloads[sum(sizes[:sent]) :], sizes[sent:]
        assert [payload[3:] for payload in _collect(right, len(frames))] == frames
        assert right.receive() == (b"", [], [])
        with pytest.raises(OSError, match="Message too long"):
            left.send(interface.mac, bytes(1501), [1501])


@pytest.mark.parametrize("kind", [BatchPort, PlainPort])
def test_the_filter_lets_in_only_what_is_for_us(wired: tuple[Host, Host], kind: type[BatchPort | PlainPort]) -> None:
    beacon = Beacon(Identity(b"\1" * 32).peer.xonly).encode()
    with ExitStack() as stack:
        port, interface = _open(wired[1], kind, stack)
        with wired[1].inside():
            promiscuous = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            promiscuous.bind(("eth0", 0))
            promiscuous.setsockopt(263, 1, interface.index.to_bytes(4, "little") + b"\1\0" + bytes(10))
        thrower = stack.enter_context(wired[0].socket(socket.AF_PACKET, socket.SOCK_DGRAM))

        def throw(payload: bytes, mac: bytes, ethertype: int = 0x2121) -> None:
            thrower.sendto(payload, ("eth0", ethertype, 0, 0, mac))

        throw(enclose([b"to somebody else"]), b"\x02\xff\xff\xff\xff\xff")
        throw(enclose([b"to everybody"]), BROADCAST)
        throw(enclose([b"to a group"]), b"\x01\x00\x5e\x00\x00\x01")
        throw(b"\x02unknown kind", interface.mac)
        for size in range(4):
            throw(bytes(size), interface.mac)
        throw(enclose([b"another ethertype"]), interface.mac, 0x2122)
        throw(beacon, BROADCAST)
        throw(beacon, interface.mac)
        throw(enclose([b"to us"]) + bytes(38), interface.mac)
        assert _collect(port, 3) == [beacon, beacon, enclose([b"to us"]) + bytes(38)]


@pytest.mark.parametrize("kind", [BatchPort, PlainPort])
def test_an_ethertype_of_two_unlike_bytes_is_on_the_wire_as_configured(
    wired: tuple[Host, Host], kind: type[BatchPort | PlainPort]
) -> None:
    """Spec 04, sections 11 and 15: the usual one reads the same in either order of bytes, and hides the mistake."""
    with ExitStack() as stack:
        watcher = stack.enter_context(wired[1].socket(socket.AF_PACKET, socket.SOCK_RAW))
        watcher.bind(("eth0", 3))  # ETH_P_ALL
        watcher.settimeout(2)
        (left, _), (right, interface) = (_open(host, kind, stack, 0x2122) for host in wired)
        left.send(interface.mac, memoryview(enclose([b"to us"])), [8])
        frames = iter(lambda: watcher.recv(2048), b"")
        header = next(frame[:14] for frame in frames if b"to us" in frame)
        assert header[:6] + header[12:] == interface.mac + b"\x21\x22"
        assert _collect(right, 1) == [enclose([b"to us"])]
