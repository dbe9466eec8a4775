"""Stream transports over real loopback sockets, on a reactor of the test's own whose time can jump."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from struct import pack
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from meshnode.transports.tcp import TcpSettings, TcpTransport
from tests.unit.udp_rig import RecordingHost, log_lines

PATIENCE = 5.0


class JumpingReactor(EPollReactor):
    """A reactor that runs only inside `until`, with a clock that `jump` moves."""

    offset = 0.0

    def seconds(self) -> float:
        return time.monotonic() + self.offset

    def jump(self, seconds: float) -> None:
        """Let time pass at once."""
        self.offset += seconds
        self.turn()

    def turn(self, times: int = 5) -> None:
        """Do what can be done now."""
        for _ in range(times):
            self.iterate(0)

    def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Run until `condition` holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {PATIENCE:g} s: {what or condition}")
            self.iterate(0.02)


def close_down(reactor: JumpingReactor) -> None:
    """Close what is still open on a reactor."""
    reactor.turn()
    for left in [*reactor.removeAll()]:
        left.connectionLost(Failure(ConnectionDone()))


def frame(size: int, fill: int = 0) -> bytes:
    """An established frame of `size` bytes."""
    return pack("<BBH", 0, 0, size - 32) + bytes([fill % 256]) * (size - 4)


MESSAGE1 = pack("<BBH", 1, 0, 110) + bytes(110)
MESSAGE2 = pack("<BBH", 2, 0, 65) + bytes(65)


class Station:
    """One TCP transport with the host it reports to."""

    def __init__(self, reactor: JumpingReactor, bind: str | None = "127.0.0.1:0", **settings: Any) -> None:
        self.reactor = reactor
        self.host = RecordingHost()
        self.transport = TcpTransport(1, None, TcpSettings(bind_addr=bind, **settings), self.host, reactor)
        with log_lines():
            self.transport.start()

    @property
    def address(self) -> str:
        assert self.transport.local_address is not None
        return self.transport.local_address

    @property
    def port(self) -> int:
        return int(self.address.rsplit(":", 1)[1])

    def connect(self, other: Station) -> None:
        self.transport.connect(other.address)
        self.reactor.until(lambda: ("connected", other.address) in self.host.events, "connected")

    def emit(self, address: str, frames: list[bytes]) -> None:
        self.transport.send(address, frames)
        self.transport.flush()

    def visitor(self) -> socket.socket:
        """A plain socket that has connected to this station."""
        visiting = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        visiting.setblocking(False)
        self.reactor.until(lambda: self.transport.connections() or self.transport.stats()["connections_rejected"])
        return visiting
