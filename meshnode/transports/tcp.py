"""The TCP transport: frames back to back in one connection per peer, for both directions (spec 04 section 4)."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from zope.interface import implementer

from meshnode.transports.addresses import (
    HostName,
    SocketAddress,
    bind_advice,
    format_address,
    parse_address,
)
from meshnode.transports.endpoints import scoped_host, tcp_endpoint
from meshnode.transports.interfaces import ITransport, ITransportFactory, ITransportHost, TransportError
from meshnode.transports.settings import Section
from meshnode.transports.stream_connection import StreamConnection
from meshnode.transports.stream_transport import StreamTransport, stopped

SMALLEST_MTU = 146  # a first message and the overhead of an established frame
FALLBACK_INBOUND = 256
USER_TIMEOUT_SECS = 30
UNSENT_BYTES = 128 * 1024
"""What the system may hold back unsent: more would only be old when it arrives."""

# Linux option numbers; the standard library of other systems has no names for some.
TCP_MAXSEG = 2
TCP_KEEPIDLE = 4
TCP_USER_TIMEOUT = 18
TCP_NOTSENT_LOWAT = 25

TIMESTAMP_OPTION = 12
"""By so much the two ends of one connection may differ about its segment size."""

COUNTERS = (
    "packets_sent",
    "bytes_sent",
    "packets_recv",
    "bytes_recv",
    "send_errors",
    "recv_errors",
    "mtu_exceeded",
    "connections_established",
    "connections_accepted",
    "connections_rejected",
    "connections_displaced",
    "connect_timeouts",
    "connect_refused",
    "pool_inbound",
    "pool_outbound",
)

_log = Logger()


@dataclass(frozen=True, slots=True)
class TcpSettings(Section):
    """What the transport reads from one instance under `transports.tcp` (spec 04 section 4.1)."""

    bind_addr: str | None = None
    mtu: int = 1400
    connect_timeout_ms: int = 5000
    nodelay: bool = True
    keepalive_secs: int = 30
    recv_buf_size: int = 2_097_152
    send_buf_size: int = 2_097_152
    max_inbound_connections: int = FALLBACK_INBOUND


class TcpTransport(StreamTransport):
    """Dials over TCP, and listens if it has a `bind_addr`. `reactor` provides IReactorTCP and IReactorTime."""

    kind = "tcp"
    counters = COUNTERS

    def __init__(
        self, transport_id: int, name: str | None, settings: TcpSettings, host: ITransportHost, reactor: Any
    ) -> None:
        super().__init__(
            transport_id,
            name,
            settings.mtu,
            settings.connect_timeout_ms / 1000,
            settings.max_inbound_connections,
            host,
            reactor,
        )
        self._settings = settings
        self._port: Any = None

    # -- life

    def start(self) -> None:
        """Listen, where there is something to listen on. Raises `TransportError`: one line, with what to do."""
        if self.mtu < SMALLEST_MTU:
            raise TransportError(f"tcp mtu {self.mtu} is too small; write {SMALLEST_MTU} or more (1400 is usual)")
        super().start()
        if self._settings.bind_addr is None:
            _log.info("tcp up, outbound only, mtu {mtu}", mtu=self.mtu)
            return
        try:
            self._listen(self._settings.bind_addr)
        except TransportError:
            self.state = "failed"
            raise
        self.accepts_connections = True
        _log.info("tcp {local} up, mtu {mtu}", local=self.local_address, mtu=self.mtu)

    def _listen(self, bind: str) -> None:
        address = parse_address(bind)
        if isinstance(address, HostName):
            raise TransportError(f"tcp bind_addr {bind!r} is a name; write a numeric address such as 0.0.0.0:8443")
        factory = self._accept(lambda peer: format_address(_numeric(peer)))
        try:
            self._port = self._reactor.listenTCP(address[1], factory, 128, scoped_host(address))
        except CannotListenError as error:
            raise TransportError(f"tcp {bind}: {bind_advice(error.socketError)}") from error
        self.local_address = format_address((*address[:1], self._port.getHost().port, *address[2:]))

    def stop(self) -> Deferred[Any]:
        port, self._port = self._port, None
        self.accepts_connections = False
        done = super().stop()
        if port is None:
            return done
        return stopped(port).addCallback(lambda _: done)

    # -- connections

    def _check(self, address: str) -> None:
        parse_address(address)

    def _dial(self, address: str, factory: Factory) -> Deferred[Any]:
        endpoint = tcp_endpoint(self._reactor, parse_address(address), self.connect_timeout + 1)
        result: Deferred[Any] = endpoint.connect(factory)
        return result

    def _tune(self, connection: StreamConnection) -> None:
        settings, transport = self._settings, connection.transport
        transport.setTcpNoDelay(settings.nodelay)
        opened = transport.getHandle()
        if settings.keepalive_secs:
            transport.setTcpKeepAlive(True)
            _set(opened, socket.IPPROTO_TCP, TCP_KEEPIDLE, settings.keepalive_secs)
        _set(opened, socket.SOL_SOCKET, socket.SO_RCVBUF, settings.recv_buf_size)
        _set(opened, socket.SOL_SOCKET, socket.SO_SNDBUF, settings.send_buf_size)
        _set(opened, socket.IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_SECS * 1000)
        _set(opened, socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        connection.mtu = min(self.mtu, _longest_frame(opened, self.mtu))


def _longest_frame(opened: Any, configured: int) -> int:
    """How long a frame the other side surely takes: releases up to v0.4 refuse what exceeds their segment size."""
    try:
        segment = int(opened.getsockopt(socket.IPPROTO_TCP, TCP_MAXSEG))
    except OSError:
        return configured
    return max(segment - TIMESTAMP_OPTION, SMALLEST_MTU) if 0 < segment < configured else configured


def _set(opened: Any, level: int, option: int, value: int) -> None:
    """Set a socket option that is good to have."""
    try:
        opened.setsockopt(level, option, value)
    except OSError as error:
        _log.debug("tcp socket option {option}: {error}", option=option, error=error)


def _numeric(peer: Any) -> SocketAddress:
    """A Twisted address as a socket tuple."""
    if not hasattr(peer, "scopeID"):
        return (peer.host, peer.port)
    host, _, scope = peer.host.partition("%")
    return (host, peer.port, 0, int(scope) if scope.isdigit() else int(peer.scopeID or 0))


@implementer(ITransportFactory)
class TcpTransportFactory:
    """Makes TCP transports from their configuration sections."""

    kind = "tcp"

    def create(
        self, transport_id: int, name: str | None, section: object, host: ITransportHost, reactor: Any
    ) -> ITransport:
        return TcpTransport(transport_id, name, TcpSettings.from_section(section), host, reactor)
