"""The Tor transport (spec 04 section 7)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from zope.interface import implementer

from meshnode.transports.addresses import HostName, SocketAddress, bind_advice, parse_address
from meshnode.transports.interfaces import (
    ITransport,
    ITransportDetails,
    ITransportFactory,
    ITransportHost,
    TransportError,
)
from meshnode.transports.proxied import ProxiedTransport
from meshnode.transports.socks import Credentials
from meshnode.transports.stream_transport import stopped

from .onion import HostnameFile, OnionKey
from .process import TorProcess
from .settings import TorSettings

if TYPE_CHECKING:
    from .control import TorControl

ONION_PATIENCE = 30.0
"""Seconds an onion gets to answer: a request to a service that came back meanwhile is never answered, a new one is."""

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
    "connect_refused",
    "socks5_errors",
    "connections_accepted",
    "connections_rejected",
    "connections_displaced",
    "control_errors",
    "pool_inbound",
    "pool_outbound",
)
_USER = "fips"

_log = Logger()


@implementer(ITransportDetails)
class TorTransport(ProxiedTransport):
    """Dials through Tor, every destination over circuits of its own, and may be an onion service."""

    kind = "tor"
    counters = COUNTERS
    pauses = (0.5, 1.0, 2.0, 5.0)

    def __init__(
        self, transport_id: int, name: str | None, settings: TorSettings, host: ITransportHost, reactor: Any
    ) -> None:
        timeout, limit = settings.connect_timeout_ms / 1000, settings.max_inbound_connections
        proxy = settings.socks5_addr
        super().__init__(transport_id, name, settings.mtu, timeout, limit, proxy, host, reactor)
        self._settings = settings
        self._port: Any = None
        self._onion: str | None = None
        self._hostname: HostnameFile | None = None
        self._process: TorProcess | None = None
        self._control: TorControl | None = None
        self._failures: dict[str, int] = {}

    # -- life

    def start(self) -> None:
        """Dial, and serve where the mode says so; what is missing is waited for. Raises `TransportError`."""
        self._settings.check()
        if self._settings.own.launch:
            self._launch()
        super().start()
        try:
            self._serve()
        except TransportError:
            self._watch.stop()
            self.state = "failed"
            raise

    def _launch(self) -> None:
        self._process = process = TorProcess(self._settings.own, self._reactor, self._trouble)
        process.start()
        self.proxy = process.socks_addr
        self._settings = replace(
            self._settings,
            control_addr=process.control_addr,
            control_auth="cookie",
            cookie_path=process.cookie_path,
        )

    def _serve(self) -> None:
        service = self._settings.service
        if service is not None:
            self._listen(service.bind_addr)
            self._hostname = HostnameFile(service.hostname_file, self._reactor, self._onion_named, self._trouble)
            self._hostname.start()
        if self._settings.offers_onion:
            self._listen("127.0.0.1:0")
        if self._settings.wants_control:
            self._control = self._make_control()
            self._control.start()

    def _make_control(self) -> TorControl:
        try:
            from .control import TorControl
        except ImportError as error:
            raise TransportError("tor: the control port needs txtorcon: pip install meshnode[tor]") from error
        if not self._settings.offers_onion:
            return TorControl(self._settings, self._reactor, self._told, self._control_trouble)
        own = self._settings.own
        key = OnionKey(Path(own.onion_key_file) if own.onion_service == "persistent" else None, self._trouble)
        target = self._port.getHost().port
        return TorControl(self._settings, self._reactor, self._told, self._control_trouble, target, key)

    def _listen(self, bind: str) -> None:
        address = parse_address(bind)
        if isinstance(address, HostName):
            raise TransportError(f"tor bind_addr {bind!r} is a name; write a numeric address such as 127.0.0.1:8443")
        factory = self._accept(lambda peer: f"{peer.host}:{peer.port}")
        try:
            self._port = self._reactor.listenTCP(address[1], factory, 128, address[0])
        except CannotListenError as error:
            raise TransportError(f"tor {bind}: {bind_advice(error.socketError)}") from error

    def stop(self) -> Deferred[Any]:
        self.accepts_connections = False
        for part in (self._hostname, self._control, self._process):
            if part is not None:
                part.stop()
        done = super().stop()
        port, self._port = self._port, None
        return done if port is None else stopped(port).addCallback(lambda _: done)

    # -- what is learnt about Tor

    def _onion_named(self, name: str) -> None:
        self._onion = name
        self.accepts_connections = True
        port = self._settings.advertised_port
        _log.info("tor: this node is {name}:{port} for its peers", name=name, port=port)

    def _told(self) -> None:
        """The control port told something new, or nothing any more."""
        control = self._control
        if control is not None and control.published and control.onion_address not in (None, self._onion):
            self._onion_named(str(control.onion_address))

    def _control_trouble(self, text: str) -> None:
        self._count("control_errors")
        self._trouble(text)

    def _trouble(self, text: str) -> None:
        _log.warn("tor: {text}", text=text)

    def details(self) -> dict[str, Any]:
        """Mode, onion name, and what Tor says about itself while it is there to say it."""
        monitoring = None if self._control is None else self._control.monitoring
        return {
            "tor_mode": self._settings.mode,
            "onion_address": self._onion,
            "tor_monitoring": None if monitoring is None else monitoring.as_dict(),
        }

    # -- dialling

    def _target(self, address: str) -> SocketAddress | HostName:
        if ".onion:" in address:
            host, _, port = address.rpartition(":")
            if port.isascii() and port.isdigit() and 0 < int(port) < 65536 and len(host) < 256 and host.isascii():
                return HostName(host, int(port))
            raise TransportError(f"invalid transport address: {address!r}: expected name.onion:port")
        target = parse_address(address)
        if isinstance(target, HostName) and "." not in target.host:
            raise TransportError(f"invalid transport address: {address!r}: Tor takes no names without a dot")
        return target

    def _credentials(self, address: str) -> Credentials | None:
        """Every destination has circuits of its own, and new ones when something went wrong.

        After a restart of an onion service, Tor lets requests that share the old circuits hang for minutes.
        """
        failures = self._failures.get(address, 0)
        suffix = f"#{failures}" if failures else ""
        return Credentials(_USER, address[: 255 - len(suffix)] + suffix)

    def _went_wrong(self, address: str) -> None:
        self._failures[address] = self._failures.get(address, 0) + 1

    def _patience(self, address: str) -> float:
        return min(self.connect_timeout, ONION_PATIENCE) if ".onion:" in address else self.connect_timeout


@implementer(ITransportFactory)
class TorTransportFactory:
    """Makes Tor transports from their configuration sections."""

    kind = "tor"

    def create(
        self, transport_id: int, name: str | None, section: object, host: ITransportHost, reactor: Any
    ) -> ITransport:
        return TorTransport(transport_id, name, TorSettings.from_section(section), host, reactor)
