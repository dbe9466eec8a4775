"""What the tests of the transports share: a host that remembers, a reactor that never runs, log lines as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from zope.interface import implementer

from meshnode.transports.addresses import SocketAddress
from meshnode.transports.interfaces import ITransport, ITransportHost
from meshnode.transports.udp import UdpSettings, UdpTransport
from meshnode.transports.udp_socket import SocketSystem
from meshnode.transports.udp_testing import FakeSocket, FakeSockets


@implementer(ITransportHost)
class RecordingHost:
    """Keeps every call; `calls` holds `(address, frames)` and, for the end of a burst, None."""

    public_key = bytes(32)

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[bytes]] | None] = []
        self.events: list[tuple[object, ...]] = []
        self.links: set[str] = set()
        self.on_frames: Callable[[ITransport, str, list[bytes]], None] | None = None

    def frames_received(self, transport: ITransport, address: str, frames: list[bytes]) -> None:
        self.calls.append((address, list(frames)))
        if self.on_frames is not None:
            self.on_frames(transport, address, frames)

    def burst_ended(self) -> None:
        self.calls.append(None)

    def connected(self, transport: ITransport, address: str) -> None:
        self.events.append(("connected", address))

    def connect_failed(self, transport: ITransport, address: str, cause: str) -> None:
        self.events.append(("failed", address, cause))

    def connection_lost(self, transport: ITransport, address: str, cause: str, dialled: bool) -> None:
        self.events.append(("lost", address, cause, dialled))

    def carries_link(self, transport: ITransport, address: str) -> bool:
        return address in self.links

    def mtu_changed(self, transport: ITransport, address: str | None) -> None:
        self.events.append(("mtu", address))

    def state_changed(self, transport: ITransport, cause: str) -> None:
        self.events.append(("state", transport.state, cause))

    def neighbour_found(self, transport: ITransport, address: str, public_key: bytes) -> None:
        self.events.append(("neighbour", address, public_key))

    @property
    def runs(self) -> list[tuple[str, list[bytes]]]:
        return [call for call in self.calls if call is not None]

    @property
    def frames(self) -> list[bytes]:
        return [frame for _address, frames in self.runs for frame in frames]

    @property
    def bursts(self) -> int:
        return self.calls.count(None)


@implementer(IHostnameResolver)
class ManualResolver:
    """Answers only when told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._waiting: list[tuple[IResolutionReceiver, int]] = []

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,  # noqa: N803
        hostName: str,  # noqa: N803
        portNumber: int = 0,  # noqa: N803
        addressTypes: Any = None,  # noqa: N803
        transportSemantics: str = "TCP",  # noqa: N803
    ) -> IHostResolution:
        assert transportSemantics == "UDP"
        self.asked.append(hostName)
        self._waiting.append((resolutionReceiver, portNumber))
        return None  # type: ignore[return-value]

    def answer(self, *hosts: str) -> None:
        """End the oldest look-up with `hosts`."""
        receiver, port = self._waiting.pop(0)
        for host in hosts:
            kind = IPv6Address if ":" in host else IPv4Address
            receiver.addressResolved(kind("UDP", host, port))
        receiver.resolutionComplete()


class StillReactor(Clock):
    """A clock that also notes who wants to read."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.nameResolver = ManualResolver()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)


class Rig:
    """A started UDP transport over fake sockets, with everything around it in reach."""

    def __init__(
        self,
        bind: str = "192.0.2.1:2121",
        *,
        system: FakeSockets | None = None,
        start: bool = True,
        **settings: Any,
    ) -> None:
        self.system = system if system is not None else FakeSockets()
        self.reactor = StillReactor()
        self.host = RecordingHost()
        self.transport = make_udp(self.host, self.reactor, self.system, bind_addr=bind, **settings)
        if start:
            self.transport.start()

    @property
    def socket(self) -> FakeSocket:
        return self.system.opened[-1]

    def emit(self, address: str, frames: list[bytes]) -> None:
        self.transport.send(address, frames)
        self.transport.flush()

    @property
    def groups(self) -> list[tuple[int, int | None]]:
        """Of every system call that sent something: number of frames and segment size."""
        return [(len(batch.frames), batch.segment) for batch in self.socket.sent]

    @property
    def sent_frames(self) -> list[bytes]:
        return [frame for batch in self.socket.sent for frame in batch.frames]

    def counter(self, name: str) -> int:
        return self.transport.stats()[name]


def make_udp(host: RecordingHost, reactor: StillReactor, system: SocketSystem, **settings: Any) -> UdpTransport:
    return UdpTransport(1, None, UdpSettings(**settings), host, reactor, system)


PEER: SocketAddress = ("192.0.2.9", 2121)
PEER_TEXT = "192.0.2.9:2121"


@contextmanager
def log_lines() -> Iterator[list[str]]:
    """Collect the text of everything logged meanwhile."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: Any) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)
