"""Twisted endpoints for addresses in this house's notation."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint

from meshnode.transports.addresses import HostName, SocketAddress, family_of, parse_address


def tcp_endpoint(reactor: Any, target: SocketAddress | HostName, timeout: float) -> Any:
    """Where to connect to over TCP; only a name is looked up, all of its addresses being tried."""
    if isinstance(target, HostName):
        return HostnameEndpoint(reactor, target.host, target.port, timeout)
    if family_of(target) == socket.AF_INET:
        return TCP4ClientEndpoint(reactor, target[0], target[1], timeout)
    return TCP6ClientEndpoint(reactor, scoped_host(target), target[1], timeout)  # type: ignore[no-untyped-call]


def local_endpoint(reactor: Any, text: str, timeout: float) -> Any:
    """A service at `host:port`, or at a path, of a Unix socket (spec 04 section 7.2). Raises `TransportError`."""
    if text.startswith(("/", "./", "unix:")):
        return UNIXClientEndpoint(reactor, text.removeprefix("unix:"), timeout)  # type: ignore[no-untyped-call]
    return tcp_endpoint(reactor, parse_address(text), timeout)


def scoped_host(address: SocketAddress) -> str:
    """The host of a numeric address with its scope, as Twisted takes it."""
    return f"{address[0]}%{address[3]}" if len(address) == 4 and address[3] else address[0]
