"""Which carriers there are: ours by name, other people's through Twisted's plugin system."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from twisted.plugin import getPlugins
from zope.interface import implementer

from meshnode.transports.interfaces import ITransport, ITransportFactory, ITransportHost, TransportError

_BUILT_IN = {
    "ble": ("meshnode.transports.ble.transport", "BleTransportFactory"),
    "ethernet": ("meshnode.transports.ethernet", "EthernetTransportFactory"),
    "tcp": ("meshnode.transports.tcp", "TcpTransportFactory"),
    "tor": ("meshnode.transports.tor.transport", "TorTransportFactory"),
    "nym": ("meshnode.transports.nym", "NymTransportFactory"),
    "udp": ("meshnode.transports.udp", "UdpTransportFactory"),
}


@implementer(ITransportFactory)
@dataclass(frozen=True, slots=True)
class _BuiltInFactory:
    """Imports the carrier's module when its first instance is made, so that unused carriers cost nothing."""

    kind: str
    module: str
    factory: str

    def create(
        self, transport_id: int, name: str | None, section: Any, host: ITransportHost, reactor: Any
    ) -> ITransport:
        implementation: ITransportFactory = getattr(import_module(self.module), self.factory)()
        return implementation.create(transport_id, name, section, host, reactor)


def factories() -> dict[str, ITransportFactory]:
    """Return every carrier by name. A plugin cannot replace a built-in one; of two plugins the first found counts."""
    found: dict[str, ITransportFactory] = _built_in()
    for plugin in getPlugins(ITransportFactory):
        found.setdefault(plugin.kind, plugin)
    return found


def factory(kind: str) -> ITransportFactory:
    """Return the carrier called `kind`; plugins are searched only when it is none of ours. Raises `TransportError`."""
    found = _built_in().get(kind) or factories().get(kind)
    if found is None:
        raise TransportError(f"transport not supported: {kind}")
    return found


def _built_in() -> dict[str, ITransportFactory]:
    return {kind: _BuiltInFactory(kind, *implementation) for kind, implementation in _BUILT_IN.items()}
