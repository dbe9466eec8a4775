"""The Nym transport: outbound streams through a local nym-socks5-client to TCP listeners (spec 04 section 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from meshnode.transports.interfaces import ITransport, ITransportFactory, ITransportHost
from meshnode.transports.proxied import ProxiedTransport
from meshnode.transports.settings import Section

COUNTERS = (
    "packets_sent",
    "bytes_sent",
    "packets_recv",
    "bytes_recv",
    "send_errors",
    "recv_errors",
    "mtu_exceeded",
    "connections_established",
    "connect_timeouts",
    "socks5_errors",
)

_log = Logger()


@dataclass(frozen=True, slots=True)
class NymSettings(Section):
    """What the transport reads from one instance under `transports.nym` (spec 04 section 8)."""

    socks5_addr: str = "127.0.0.1:1080"
    connect_timeout_ms: int = 300_000
    mtu: int = 1400
    startup_timeout_secs: int = 120


class NymTransport(ProxiedTransport):
    """Outbound only; the peer sees the address of the mixnet's exit.

    The node does not wait for the client, which takes a while to be ready. When it is not there within
    `startup_timeout_secs` that is said once more, and the waiting goes on.
    """

    kind = "nym"
    counters = COUNTERS

    def __init__(
        self, transport_id: int, name: str | None, settings: NymSettings, host: ITransportHost, reactor: Any
    ) -> None:
        timeout = settings.connect_timeout_ms / 1000
        super().__init__(transport_id, name, settings.mtu, timeout, 0, settings.socks5_addr, host, reactor)
        self._startup_timeout = settings.startup_timeout_secs
        self._impatience: Any = None

    def start(self) -> None:
        """Wait for the client in the background. Raises `TransportError`."""
        super().start()
        self._impatience = self._reactor.callLater(self._startup_timeout, self._still_waiting)

    def stop(self) -> Any:
        if self._impatience is not None and self._impatience.active():
            self._impatience.cancel()
        return super().stop()

    def _still_waiting(self) -> None:
        if self.state != "up":
            _log.warn(
                "nym: still no nym-socks5-client at {proxy} after {secs} s; is it running?",
                proxy=self.proxy,
                secs=self._startup_timeout,
            )


@implementer(ITransportFactory)
class NymTransportFactory:
    """Makes Nym transports from their configuration sections."""

    kind = "nym"

    def create(
        self, transport_id: int, name: str | None, section: object, host: ITransportHost, reactor: Any
    ) -> ITransport:
        return NymTransport(transport_id, name, NymSettings.from_section(section), host, reactor)
