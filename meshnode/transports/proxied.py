"""What Tor and Nym have in common: streams through a SOCKS5 proxy on this machine, which may come later and go away."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from meshnode.transports.addresses import HostName, SocketAddress, parse_address
from meshnode.transports.endpoints import local_endpoint
from meshnode.transports.interfaces import ITransportHost
from meshnode.transports.socks import Credentials
from meshnode.transports.socks_dial import ProxyUnreachable, ProxyWatch, dial
from meshnode.transports.stream_connection import StreamConnection
from meshnode.transports.stream_transport import StreamTransport

_KEEPALIVE_IDLE_SECS = 30
_TCP_KEEPIDLE = 4

_log = Logger()


class ProxiedTransport(StreamTransport):
    """Dials through the proxy at `proxy`. While nothing listens there the transport is down and looks for it again."""

    pauses: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 10.0)

    def __init__(
        self,
        transport_id: int,
        name: str | None,
        mtu: int,
        connect_timeout: float,
        max_inbound: int,
        proxy: str,
        host: ITransportHost,
        reactor: Any,
    ) -> None:
        super().__init__(transport_id, name, mtu, connect_timeout, max_inbound, host, reactor)
        self.proxy = proxy
        self._watch = ProxyWatch(self._endpoint, reactor, self._proxy_ready, self._proxy_absent, self.pauses)

    def start(self) -> Any:
        """Dial from now on, and find out whether the proxy is there. Raises `TransportError`."""
        self._endpoint()  # complains of an address that makes no sense
        super().start()
        self._watch.start()

    def stop(self) -> Deferred[Any]:
        self._watch.stop()
        return super().stop()

    def _endpoint(self) -> Any:
        return local_endpoint(self._reactor, self.proxy, self.connect_timeout + 1)

    def _proxy_ready(self) -> None:
        if self.state == "down":
            self.state = "up"
            self._host.state_changed(self, f"the proxy at {self.proxy} is there")

    def _proxy_absent(self, cause: str) -> None:
        if self.state == "up":
            self.state = "down"
            self._host.state_changed(self, f"no proxy at {self.proxy}: {cause}; waiting for it")

    # -- dialling

    def _check(self, address: str) -> None:
        self._target(address)

    def _target(self, address: str) -> SocketAddress | HostName:
        """What the proxy is asked for; names are never looked up here. Raises `TransportError`."""
        return parse_address(address)

    def _credentials(self, address: str) -> Credentials | None:
        return None

    def _dial(self, address: str, factory: Factory) -> Deferred[Any]:
        attempt = dial(self._endpoint(), self._target(address), self._credentials(address), factory)
        return attempt.addErrback(self._proxy_failed)

    def _proxy_failed(self, reason: Any) -> Any:
        if isinstance(reason.value, ProxyUnreachable):
            self._watch.start()
        return reason

    def _tune(self, connection: StreamConnection) -> None:
        stream: Any = connection.transport
        if not ITCPTransport.providedBy(stream):
            return  # a Unix socket
        stream.setTcpNoDelay(True)
        stream.setTcpKeepAlive(True)
        try:
            connection.transport.getHandle().setsockopt(socket.IPPROTO_TCP, _TCP_KEEPIDLE, _KEEPALIVE_IDLE_SECS)
        except OSError as error:
            _log.debug("{kind} keepalive: {error}", kind=self.kind, error=error)
