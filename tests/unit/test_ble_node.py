"""Whole node cores over Bluetooth on a fake air: an advertisement heard, a channel, a link, a packet there and back."""

from __future__ import annotations

from random import Random
from typing import Any

from meshnode.identity import Identity
from meshnode.ipv6.adapter import Ipv6Adapter
from meshnode.mesh.settings import MeshSettings
from meshnode.node.core import Node
from meshnode.node.peering import PeerAddress, PeerConfig
from meshnode.node.surroundings import Surroundings
from meshnode.transports.ble.settings import BleSettings
from meshnode.transports.ble.transport import BleTransport
from tests.unit.ble_rig import LARGE, LARGE_DEVICE, SMALL, SMALL_DEVICE, FakeAir, HandReactor
from tests.unit.node_rig import WALL_START, HostStack, NoHosts


class BleNode:
    """One node core whose only carrier is a device on the air."""

    def __init__(self, air: FakeAir, identity: Identity, device: str, seed: int, **settings: Any) -> None:
        rng, clock = Random(seed), air.reactor
        self.identity = identity
        self.address = f"hci0/{device}"
        self.log: list[str] = []
        world = Surroundings(
            clock,
            lambda: WALL_START + clock.seconds(),
            rng.randbytes,
            rng,
            NoHosts(),
            lambda level, text: self.log.append(text),
        )
        self.node = Node(identity, MeshSettings(), world, 1280)
        self.radio = air.radio(device)
        self.transport = BleTransport(1, None, BleSettings(**settings), self.node, air.reactor, self.radio)
        self.transport.start()
        self.node.transports.add(self.transport)
        self.stack = HostStack()
        self.node.ipv6.adapter = Ipv6Adapter(identity.ipv6, self.node.ipv6, self.stack, 1280, clock.seconds)

    def start(self, *peers: BleNode) -> None:
        self.node.start([PeerConfig(p.identity.peer, [PeerAddress("ble", p.address)]) for p in peers])

    def send(self, other: BleNode, payload: bytes) -> bytes:
        self.node.register(other.identity.peer)
        packet = b"\x60\x00\x00\x00" + len(payload).to_bytes(2, "big") + bytes((59, 64))
        packet += self.identity.ipv6 + other.identity.ipv6 + payload
        self.node.packets_read([packet])
        self.node.burst_ended()
        return packet

    @property
    def peers(self) -> list[bytes]:
        return list(self.node.links.peers)


class Mesh:
    def __init__(self, *, small: dict[str, Any] | None = None, large: dict[str, Any] | None = None) -> None:
        self.reactor = HandReactor()
        self.air = FakeAir(self.reactor)
        self.small = BleNode(self.air, SMALL, SMALL_DEVICE, 1, **(small or {}))
        self.large = BleNode(self.air, LARGE, LARGE_DEVICE, 2, **(large or {}))

    def linked(self) -> bool:
        return bool(self.small.peers) and bool(self.large.peers)

    def until_linked(self, seconds: float) -> float:
        """Let time pass until both have a peer; returns how long that took."""
        for tenths in range(round(seconds * 10)):
            if self.linked():
                return tenths / 10
            self.reactor.pass_time(0.1, 0.1)
        raise AssertionError("\n".join(["no link in time", *self.small.log, *self.large.log]))

    def packets_pass(self) -> None:
        for one, other in ((self.small, self.large), (self.large, self.small)):
            packet = one.send(other, bytes(600))
            self.reactor.pass_time(2)
            assert other.stack.packets[-1][8:] == packet[8:]


def test_a_device_that_advertises_becomes_a_peer_and_packets_pass() -> None:
    mesh = Mesh(small={"auto_connect": True}, large={"auto_connect": True})
    mesh.small.start()
    mesh.large.start()
    mesh.small.transport.device_found(LARGE_DEVICE)
    mesh.large.transport.device_found(SMALL_DEVICE)
    assert mesh.until_linked(5) < 1
    assert mesh.small.peers == [LARGE.node_addr]
    mesh.packets_pass()
    assert len(mesh.small.transport.connections()) == len(mesh.large.transport.connections()) == 1


def test_a_configured_peer_is_dialled_and_the_path_is_as_wide_as_the_channel() -> None:
    mesh = Mesh()
    mesh.large.start()
    mesh.small.start(mesh.large)
    mesh.until_linked(5)
    mesh.packets_pass()
    (peer,) = mesh.small.node.links.peers.values()
    assert mesh.small.node.transports.link_mtu(peer.path) == 2048


def test_peers_that_dial_each_other_end_with_one_channel() -> None:
    mesh = Mesh()
    mesh.small.start(mesh.large)
    mesh.large.start(mesh.small)
    mesh.until_linked(5)
    mesh.reactor.pass_time(10)
    mesh.packets_pass()
    assert len(mesh.small.transport.connections()) == len(mesh.large.transport.connections()) == 1
    assert mesh.large.transport.is_inbound(mesh.small.address)


def test_a_radio_that_comes_back_brings_the_peer_back_with_its_session() -> None:
    mesh = Mesh()
    mesh.large.start()
    mesh.small.start(mesh.large)
    mesh.until_linked(5)
    mesh.packets_pass()
    authenticated = next(iter(mesh.small.node.links.peers.values()))
    mesh.small.radio.lose("Bluetooth adapter hci0 was removed")
    assert "ble is down: Bluetooth adapter hci0 was removed" in mesh.small.log
    mesh.reactor.pass_time(4)
    assert mesh.small.node.links.peers[LARGE.node_addr] is authenticated
    mesh.packets_pass()


def test_an_unused_probe_channel_is_closed_again() -> None:
    mesh = Mesh(small={"auto_connect": True})
    mesh.small.start()
    mesh.large.start()
    mesh.large.node.stop()
    mesh.small.transport.device_found(LARGE_DEVICE)
    mesh.reactor.pass_time(1)
    assert mesh.small.transport.connections() == [mesh.large.address]
    mesh.reactor.pass_time(60, 1.0)
    assert mesh.small.radio.dials.count(LARGE_DEVICE) <= 3
