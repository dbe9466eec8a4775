"""Whole nodes with TUN and UDP over a kernel in memory, and what a burst of packets costs them in things to count."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from random import Random
from types import FrameType
from typing import Any

from twisted.internet.task import Clock

from meshnode.identity import Identity
from meshnode.ipv6.adapter import Ipv6Adapter
from meshnode.ipv6.checksum import TCP, UDP, with_transport_checksum
from meshnode.ipv6.testing import FakeTunSystem
from meshnode.ipv6.tun import TunDevice
from meshnode.mesh.settings import MeshSettings
from meshnode.node.admission import EverybodyAdmitted
from meshnode.node.core import Node
from meshnode.node.peering import PeerAddress, PeerConfig
from meshnode.node.surroundings import Surroundings
from meshnode.transports.udp import UdpSettings, UdpTransport
from meshnode.transports.udp_testing import FakeSockets
from tests.unit.node_rig import MTU, WALL_START, NoHosts

_TESTING = ("meshnode.ipv6.testing", "meshnode.transports.udp_testing")


class StillReactor(Clock):
    """A clock that nobody reads for, and that counts how often it woke somebody."""

    wake_ups = 0

    def callLater(self, when: float, what: Any, *a: Any, **kw: Any) -> Any:
        def wake() -> None:
            self.wake_ups += 1
            what(*a, **kw)

        return super().callLater(when, wake)

    def addReader(self, reader: Any) -> None:
        """Reading is up to the test."""

    def removeReader(self, reader: Any) -> None:
        """Nothing to forget."""


class Machine:
    """One node with its TUN and its UDP socket, both of memory; it is also the `TunHost`."""

    def __init__(self, reactor: StillReactor, sockets: FakeSockets, number: int) -> None:
        rng = Random(number)
        self.identity = Identity.generate(rng.randbytes)
        world = Surroundings(
            reactor,
            lambda: WALL_START + reactor.seconds(),
            rng.randbytes,
            rng,
            NoHosts(),
            lambda level, text: None,
            EverybodyAdmitted(),
        )
        self.node = Node(self.identity, MeshSettings(), world, MTU)
        self.address = f"127.0.0.1:{2120 + number}"
        self.udp = UdpTransport(1, None, UdpSettings(bind_addr=self.address, mtu=MTU), self.node, reactor, sockets)
        self.udp.start()
        self.socket = sockets.opened[-1]
        self.node.transports.add(self.udp)
        self.tun = FakeTunSystem()
        self.device = TunDevice(reactor, "fips0", 1280, self, self.tun)
        self.device.open()
        self.node.ipv6.adapter = Ipv6Adapter(self.identity.ipv6, self.node.ipv6, self.device, MTU, reactor.seconds)
        self.packets_read, self.burst_ended = self.node.packets_read, self.node.burst_ended

    def tun_lost(self, reason: str) -> None:
        raise AssertionError(reason)

    def knows(self, other: Machine) -> PeerConfig:
        return PeerConfig(other.identity.peer, [PeerAddress("udp", other.address)])

    def stream(self, other: Machine, count: int, payload: int) -> list[bytes]:
        """Packets of one TCP stream, without a gap."""
        return [
            self._packet(other, TCP, (1000 + payload * n).to_bytes(4, "big") + b"\0\0\0\7\x50\x10\1\0", payload + 4)
            for n in range(count)
        ]

    def datagrams(self, other: Machine, count: int, payload: int) -> list[bytes]:
        """Datagrams of one UDP flow."""
        return [self._packet(other, UDP, (8 + payload).to_bytes(2, "big") + b"\0\0", payload) for _ in range(count)]

    def _packet(self, other: Machine, kind: int, head: bytes, rest: int) -> bytes:
        transport = b"\x13\x89\x1f\x90" + head + bytes(rest)
        start = b"\x60\0\0\0" + len(transport).to_bytes(2, "big") + bytes((kind, 64))
        return with_transport_checksum(start + self.identity.ipv6 + other.identity.ipv6 + transport)


class Row:
    """Machines in a row, each linked with the next; the first and the last have a warm session."""

    def __init__(self, count: int) -> None:
        self.reactor = StillReactor()
        sockets = FakeSockets(buffer_limit=1 << 30)
        self.machines = [Machine(self.reactor, sockets, number + 1) for number in range(count)]
        dials = {left: [left.knows(right)] for left, right in pairwise(self.machines)}
        for machine in self.machines:
            machine.node.start(dials.get(machine, []))
        self.first, self.last = self.machines[0], self.machines[-1]
        self.first.node.register(self.last.identity.peer)
        self.run(8.0)
        for _ in range(8):
            self.first.tun.incoming += self.first.datagrams(self.last, 4, 64)
            self.run(0.5)
        assert len(self.last.tun.packets()) == 32

    def run(self, seconds: float) -> None:
        """Let time pass and everybody read."""
        for _ in range(round(seconds / 0.05)):
            self.reactor.advance(0.05)
            for machine in self.machines:
                machine.device.doRead()
                machine.udp.doRead()


def calls_in(read: Callable[[], None]) -> int:
    """How often the product calls a function, its own or a C function by name, during `read`."""
    calls = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        name = frame.f_globals.get("__name__", "")
        if event in ("call", "c_call") and name.startswith("meshnode.") and name not in _TESTING:
            calls += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        read()
    finally:
        sys.setprofile(before)
    return calls


def memory_of(read: Callable[[], None]) -> int:
    """Bytes that `read` holds at once, beyond those there were before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        read()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
