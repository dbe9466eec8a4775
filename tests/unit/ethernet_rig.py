"""A started Ethernet transport on a wire without a network, with everything around it in reach."""

from __future__ import annotations

from typing import Any

from meshnode.transports.ethernet import EthernetSettings, EthernetTransport
from meshnode.transports.ethernet_testing import FakeLinks, FakePort, FakeWire
from meshnode.wire import Beacon
from meshnode.wire.ethernet import enclose
from tests.unit.udp_rig import RecordingHost, StillReactor

US, PEER, OTHER = (bytes((2, 0, 0, 0, 0, number)) for number in (1, 9, 7))
US_TEXT, PEER_TEXT, OTHER_TEXT = (f"eth0/{mac.hex(':')}" for mac in (US, PEER, OTHER))
KEYS = {
    "us": bytes.fromhex("24653eac434488002cc06bbfb7f10fe18991e35f9fe4302dbea6d2353dc0ab1c"),
    "peer": bytes.fromhex("1b84c5567b126440995d3ed5aaba0565d71e1834604819ff9c17f5e9d5dd078f"),
    "other": bytes.fromhex("4d4b6cd1361032ca9bd2aeb9d900aa4d45d9ead80ac9423374c451a7254d0766"),
}


class EthernetRig:
    """`eth0` is on `wire` unless `plugged` is False."""

    def __init__(self, *, plugged: bool = True, start: bool = True, wire: FakeWire | None = None, **settings: Any):
        self.wire = FakeWire() if wire is None else wire
        self.reactor = StillReactor()
        self.host = RecordingHost()
        self.host.public_key = KEYS["us"]
        name = settings.setdefault("interface", "eth0")
        self.transport = EthernetTransport(1, None, EthernetSettings(**settings), self.host, self.reactor, self.wire)
        if plugged:
            self.wire.plug(name)
        if start:
            self.transport.start()

    @property
    def port(self) -> FakePort:
        port = self.wire.open_port(self.transport.logPrefix().removeprefix("ethernet "))
        assert port is not None
        return port

    @property
    def feed(self) -> FakeLinks:
        return self.wire.feeds[-1]

    def emit(self, address: str, frames: list[bytes]) -> None:
        self.transport.send(address, frames)
        self.transport.flush()

    def arrive(self, *frames: bytes, mac: bytes = PEER) -> None:
        """Let data frames arrive and be read."""
        for frame in frames:
            self.port.arrive(enclose([frame]), mac)
        self.transport.doRead()

    def hear(self, who: str, mac: bytes = PEER) -> None:
        """Let a beacon arrive and be read."""
        self.port.arrive(Beacon(KEYS[who]).encode(), mac, is_broadcast=True)
        self.transport.doRead()

    def news(self) -> None:
        """Let the transport read what happened to interfaces."""
        for reader in list(self.reactor.readers):
            if reader is not self.transport:
                reader.doRead()

    @property
    def beacons(self) -> int:
        return sum(payload[:1] == b"\x01" for port in self.wire.ports for _mac, payload in port.sent)

    @property
    def data(self) -> list[tuple[bytes, bytes]]:
        """Frames that left, with where to."""
        return [(mac, payload[3:]) for port in self.wire.ports for mac, payload in port.sent if payload[:1] == b"\0"]

    def counter(self, name: str) -> int:
        return self.transport.stats()[name]
