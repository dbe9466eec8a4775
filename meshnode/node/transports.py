"""The transports of a node: found by id, chosen for an address, flushed at the end of a burst."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter

from meshnode.mesh.link import Path
from meshnode.transports.interfaces import IConnectionTransport, ITransport

DEFAULT_MTU = 1280
_path_of = itemgetter(0)

FrameTap = Callable[[bool, ITransport, str, list[bytes]], None]
"""`tap(outgoing, transport, address, frames)` is shown every batch of link frames, before it is sent or opened."""


class TransportTable:
    """Every transport instance of a node, in order of creation."""

    def __init__(self, fallback_mtu: int = DEFAULT_MTU) -> None:
        self._by_id: dict[int, ITransport] = {}
        self._touched: set[int] = set()
        self._fallback_mtu = fallback_mtu
        self._limits: dict[Path, int] = {}
        self.tap: FrameTap | None = None

    def __iter__(self) -> Iterator[ITransport]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, transport: ITransport) -> None:
        self._by_id[transport.transport_id] = transport

    def remove(self, transport: ITransport) -> None:
        """Forget an instance; whoever still sends over it loses what is sent."""
        self._by_id.pop(transport.transport_id, None)
        self._touched.discard(transport.transport_id)
        self._limits = {path: mtu for path, mtu in self._limits.items() if path[0] != transport.transport_id}

    def get(self, transport_id: int) -> ITransport | None:
        return self._by_id.get(transport_id)

    def accepts(self, transport_id: int) -> bool:
        """Whether strangers may open links over this instance."""
        transport = self._by_id.get(transport_id)
        return transport is not None and bool(transport.accepts_connections)

    def choose(self, carrier: str, address: str) -> ITransport | None:
        """The operational instance to dial `address` with (spec 04 section 1.10).

        `carrier` is a kind, or `kind/instance` to insist on one instance.
        """
        kind, _, instance = carrier.partition("/")
        for transport in self._by_id.values():
            if transport.kind != kind or transport.state != "up" or (instance and transport.name != instance):
                continue
            if transport.can_dial(address):
                return transport
        return None

    def connector(self, transport_id: int) -> IConnectionTransport | None:
        """The transport, if it is one of those that need connections."""
        transport = self._by_id.get(transport_id)
        return transport if IConnectionTransport.providedBy(transport) else None

    def connectors(self) -> list[IConnectionTransport]:
        """The operational ones of those that need connections."""
        return [t for t in self._by_id.values() if t.state == "up" and IConnectionTransport.providedBy(t)]

    def is_open(self, path: Path) -> bool:
        """Whether frames can leave along `path` now."""
        transport = self._by_id.get(path[0])
        if transport is None or transport.state != "up":
            return False
        return not IConnectionTransport.providedBy(transport) or transport.is_connected(path[1])

    def send(self, path: Path, frames: list[bytes]) -> None:
        """Queue `frames` on the transport of `path`; they leave at the next `flush`."""
        transport = self._by_id.get(path[0])
        if transport is not None:
            if self.tap is not None:
                self.tap(True, transport, path[1], frames)
            transport.send(path[1], frames)
            self._touched.add(path[0])

    def send_each(self, frames: list[tuple[Path, bytes]]) -> None:
        """Queue frames on the paths beside them; what follows one another along one path goes there together."""
        for path, run in groupby(frames, _path_of):
            self.send(path, [frame for _, frame in run])

    def flush(self) -> None:
        """Emit what was queued since the last flush."""
        if self._touched:
            touched, self._touched = self._touched, set()
            for transport_id in touched:
                self._by_id[transport_id].flush()

    def link_mtu(self, path: Path) -> int:
        """Largest link frame along `path`; 65535 when its transport is gone."""
        transport = self._by_id.get(path[0])
        mtu = 65535 if transport is None else transport.link_mtu(path[1])
        return min(mtu, self._limits.get(path, mtu)) if self._limits else mtu

    def promised_mtu(self, path: Path) -> int:
        """The same without the limits that were found out."""
        transport = self._by_id.get(path[0])
        return 65535 if transport is None else transport.link_mtu(path[1])

    def limit(self, path: Path, mtu: int | None) -> None:
        """Frames of more than `mtu` bytes do not get through along `path`; None lifts the limit."""
        if mtu is None:
            self._limits.pop(path, None)
        else:
            self._limits[path] = mtu

    @property
    def mtu(self) -> int:
        """The node-wide MTU: the smallest of all operational transports (spec 04 section 1.6)."""
        smallest = 0
        for transport in self._by_id.values():  # asked for every burst: no generator
            if transport.state == "up" and (transport.mtu < smallest or not smallest):
                smallest = transport.mtu
        return smallest or self._fallback_mtu
