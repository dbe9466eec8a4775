"""Bluetooth without radio: devices on one air that open packet sockets to each other, on a reactor turned by hand."""

from __future__ import annotations

import errno
import os
import select
import socket
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from meshnode.identity import Identity
from meshnode.transports.ble.channel import Channel
from meshnode.transports.ble.radio import IRadio, IRadioUser, RadioError, RadioStatus
from meshnode.transports.ble.settings import BleSettings
from meshnode.transports.ble.transport import BleTransport
from meshnode.transports.interfaces import ITransport, ITransportHost

SMALL = Identity(b"\x02" * 32)
LARGE = Identity(b"\x01" * 32)
"""Two nodes, by the order of their NodeAddrs (spec 04 section 16)."""

SMALL_DEVICE = "AA:00:00:00:00:02"
LARGE_DEVICE = "AA:00:00:00:00:01"


class HandReactor(Clock):
    """A clock whose descriptors are served by `turn`."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def addWriter(self, writer: Any) -> None:
        self.writers.add(writer)

    def removeWriter(self, writer: Any) -> None:
        self.writers.discard(writer)

    def turn(self) -> bool:
        """Serve what is ready now; whether anything was."""
        self.advance(0)
        ready, writable, _ = select.select(list(self.readers), list(self.writers), [], 0)
        for reader in ready:
            if reader in self.readers:
                reader.doRead()
        for writer in writable:
            if writer in self.writers:
                writer.doWrite()
        return bool(ready or writable)

    def settle(self) -> None:
        """Serve until nothing is ready."""
        for _ in range(1000):
            if not self.turn():
                return
        raise AssertionError("the descriptors never come to rest")

    def pass_time(self, seconds: float, step: float = 0.5) -> None:
        self.settle()
        for _ in range(round(seconds / step)):
            self.advance(step)
            self.settle()


@implementer(ITransportHost)
class RecordingNode:
    """Remembers what a transport tells."""

    def __init__(self, identity: Identity) -> None:
        self.public_key = identity.peer.xonly
        self.frames: list[tuple[str, bytes]] = []
        self.events: list[tuple[str, ...]] = []
        self.bursts = 0

    def frames_received(self, transport: ITransport, address: str, frames: list[bytes]) -> None:
        self.frames += [(address, frame) for frame in frames]

    def burst_ended(self) -> None:
        self.bursts += 1

    def connected(self, transport: ITransport, address: str) -> None:
        self.events.append(("connected", address))

    def connect_failed(self, transport: ITransport, address: str, cause: str) -> None:
        self.events.append(("failed", address, cause))

    def connection_lost(self, transport: ITransport, address: str, cause: str, dialled: bool) -> None:
        self.events.append(("lost", address, cause, "dialled" if dialled else "accepted"))

    def carries_link(self, transport: ITransport, address: str) -> bool:
        return False

    def mtu_changed(self, transport: ITransport, address: str | None) -> None:
        self.events.append(("mtu", str(address)))

    def state_changed(self, transport: ITransport, cause: str) -> None:
        self.events.append((transport.state, cause))

    def neighbour_found(self, transport: ITransport, address: str, public_key: bytes) -> None:
        self.events.append(("neighbour", address, public_key.hex()))

    def take_events(self) -> list[tuple[str, ...]]:
        events, self.events = self.events, []
        return events


class FakeAir:
    """Where radios hear and reach each other."""

    def __init__(self, reactor: HandReactor) -> None:
        self.reactor = reactor
        self.radios: dict[str, FakeRadio] = {}

    def radio(self, device: str, mtu: int = 2048) -> FakeRadio:
        self.radios[device] = FakeRadio(self, device, mtu)
        return self.radios[device]


@implementer(IRadio)
class FakeRadio:
    """One device.

    `trouble` is what `open` fails with, `opening` what it waits for; while `answers` is false, dials to it hang.
    """

    def __init__(self, air: FakeAir, device: str, mtu: int) -> None:
        self.air = air
        self.device = device
        self.mtu = mtu
        self.trouble: RadioError | None = None
        self.opening: Deferred[RadioStatus] | None = None
        self.answers = True
        self.opened = 0
        self.dials: list[str] = []
        self.user: IRadioUser | None = None

    def open(self, user: IRadioUser) -> Deferred[RadioStatus]:
        self.opened += 1
        if self.trouble is not None:
            return fail(self.trouble)
        if self.opening is not None:
            return self.opening
        self.user = user
        return succeed(RadioStatus(self.device, True))

    def close(self) -> Deferred[None]:
        self.user = None
        return succeed(None)

    def dial(self, device: str) -> Deferred[Channel]:
        self.dials.append(device)
        other = self.air.radios.get(device)
        if other is None or not other.answers:
            return Deferred()
        if other.user is None:
            return fail(OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)))
        ours, theirs = self.raw_pair(other)
        reactor, mtu = self.air.reactor, min(self.mtu, other.mtu)
        accepted = Channel(reactor, theirs, self.device, mtu, other.mtu)
        accepted.inbound = True
        other.user.channel_accepted(accepted)
        return succeed(Channel(reactor, ours, device, mtu, self.mtu))

    def raw_pair(self, other: FakeRadio) -> tuple[socket.socket, socket.socket]:
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for sock in pair:
            sock.setblocking(False)
        return pair

    def lose(self, reason: str) -> None:
        """The adapter is pulled out."""
        user, self.user = self.user, None
        assert user is not None
        user.radio_lost(reason)

    def arrive(self, device: str = "BB:00:00:00:00:01", mtu: int = 2048) -> socket.socket:
        """A stranger opens a channel to us; returns the stranger's end."""
        assert self.user is not None
        ours, theirs = self.raw_pair(self)
        channel = Channel(self.air.reactor, ours, device, mtu, self.mtu)
        channel.inbound = True
        self.user.channel_accepted(channel)
        return theirs


class Station:
    """A transport with its radio and a recording node."""

    def __init__(self, air: FakeAir, identity: Identity, device: str, *, mtu: int = 2048, **settings: Any) -> None:
        self.air = air
        self.device = device
        self.address = f"hci0/{device}"
        self.radio = air.radio(device, mtu)
        self.node = RecordingNode(identity)
        self.transport = BleTransport(1, None, BleSettings(mtu=mtu, **settings), self.node, air.reactor, self.radio)

    def up(self) -> Station:
        self.transport.start()
        self.air.reactor.settle()
        assert [event[0] for event in self.node.take_events()] == ["up"]
        return self

    def connect(self, other: Station) -> None:
        self.transport.connect(other.address)
        self.air.reactor.settle()

    def counter(self, name: str) -> int:
        return self.transport.stats()[name]


class Pair:
    """Two stations that are up: the one with the smaller NodeAddr and the one with the larger."""

    def __init__(self, *, small: dict[str, Any] | None = None, large: dict[str, Any] | None = None) -> None:
        self.reactor = HandReactor()
        self.air = FakeAir(self.reactor)
        self.small = Station(self.air, SMALL, SMALL_DEVICE, **(small or {})).up()
        self.large = Station(self.air, LARGE, LARGE_DEVICE, **(large or {})).up()
