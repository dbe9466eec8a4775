"""An Ethernet without wires, for tests: interfaces that come, change and go, and what the kernel refuses, on demand."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from meshnode.transports.mac_addresses import BROADCAST
from meshnode.transports.netlink import Interface, LinkEvent, Removed
from meshnode.wire.ethernet import BEACON, DATA, DATA_OVERHEAD

_ETHERNET = 1
_FIRST_DESCRIPTOR = 2000
_MOST_PER_READ = 64


def _refuse(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@dataclass(slots=True)
class FakeWire:
    """A `PacketSystem` whose interfaces all hang on one wire, and the kernel's part in it.

    `refusal` is the error number with which `port` fails, `links_refusal` the one of `links`.
    """

    interfaces: dict[str, Interface] = field(default_factory=dict)
    ports: list[FakePort] = field(default_factory=list)
    feeds: list[FakeLinks] = field(default_factory=list)
    refusal: int = 0
    links_refusal: int = 0
    indices: int = 0

    # -- what the transport calls

    def links(self) -> FakeLinks:
        if self.links_refusal:
            raise _refuse(self.links_refusal)
        feed = FakeLinks(self, _FIRST_DESCRIPTOR + len(self.feeds))
        self.feeds.append(feed)
        return feed

    def port(
        self, interface: Interface, ethertype: int, receive_size: int, send_size: int, warn: Callable[[str], None]
    ) -> FakePort:
        if self.refusal:
            raise _refuse(self.refusal)
        if interface.name not in self.interfaces:
            raise _refuse(errno.ENODEV)
        opened = FakePort(self, interface, ethertype, 2 * _FIRST_DESCRIPTOR + len(self.ports))
        self.ports.append(opened)
        return opened

    # -- what a test calls

    def plug(self, name: str, mtu: int = 1500, mac: str | None = None, *, is_up: bool = True, type: int = 1) -> None:
        """Make an interface, or make it anew; without `mac` the last byte of its address is its number."""
        self.indices += 1
        address = bytes((2, 0, 0, 0, 0, self.indices)) if mac is None else bytes.fromhex(mac.replace(":", ""))
        self._tell(Interface(name, self.indices, type, mtu, address, is_up, is_up))

    def unplug(self, name: str) -> None:
        """Remove an interface, as when an adapter is pulled out."""
        gone = self.interfaces.pop(name)
        self._tell_feeds(Removed(name, gone.index))

    def change(self, name: str, /, **changes: Any) -> None:
        """Change attributes of an interface; another `name` renames it."""
        self._tell(replace(self.interfaces.pop(name), **changes))

    def open_port(self, name: str) -> FakePort | None:
        """Return the port now open on an interface."""
        return next((p for p in reversed(self.ports) if p.interface.name == name and not p.closed), None)

    def _tell(self, interface: Interface) -> None:
        self.interfaces[interface.name] = interface
        self._tell_feeds(interface)

    def _tell_feeds(self, event: LinkEvent) -> None:
        for feed in self.feeds:
            feed.events.append(event)

    def carry(self, source: FakePort, mac: bytes, payload: bytes) -> None:
        """Bring one payload to whom it is for."""
        for port in self.ports:
            if port is not source and not port.closed and port.ethertype == source.ethertype:
                if mac == BROADCAST:
                    port.arrive(payload, source.interface.mac, is_broadcast=True)
                elif mac == port.interface.mac:
                    port.arrive(payload, source.interface.mac)


class FakeLinks:
    """News of the interfaces of a `FakeWire`; `failures` holds error numbers for the coming reads."""

    def __init__(self, wire: FakeWire, descriptor: int) -> None:
        self.events: list[LinkEvent] = []
        self.failures: deque[int] = deque()
        self.closed = False
        self._wire = wire
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def look_up(self, name: str) -> Interface | None:
        return self._wire.interfaces.get(name)

    def read(self) -> list[LinkEvent]:
        events, self.events = self.events, []
        if self.failures:
            raise _refuse(self.failures.popleft())
        return events

    def close(self) -> None:
        self.closed = True


class FakePort:
    """One packet socket of a `FakeWire`.

    `sent` records `(mac, payload)` of what left. `failures` holds error numbers for the coming packets, 0 letting one
    through; `receive_failures` the same for reads. `batch` is how many packets leave in one call.
    """

    def __init__(self, wire: FakeWire, interface: Interface, ethertype: int, descriptor: int) -> None:
        self.interface = interface
        self.ethertype = ethertype
        self.closed = False
        self.sent: list[tuple[bytes, bytes]] = []
        self.calls = 0
        self.failures: deque[int] = deque()
        self.receive_failures: deque[int] = deque()
        self.batch = _MOST_PER_READ
        self._wire = wire
        self._descriptor = descriptor
        self._inbox: deque[tuple[bytes, bytes]] = deque()

    def fileno(self) -> int:
        return -1 if self.closed else self._descriptor

    def receive(self) -> tuple[bytes, list[bytes], list[bytes]]:
        if self.receive_failures:
            raise _refuse(self.receive_failures.popleft())
        taken = [self._inbox.popleft() for _ in range(min(len(self._inbox), _MOST_PER_READ))]
        heads = b"".join(payload[:DATA_OVERHEAD] for payload, _mac in taken)
        return heads, [payload[DATA_OVERHEAD:] for payload, _mac in taken], [mac for _payload, mac in taken]

    def send(self, mac: bytes, payloads: bytes | memoryview, sizes: list[int]) -> int:
        self.calls += 1
        at = 0
        for number, size in enumerate(sizes[: self.batch]):
            refusal = self._refusal(size)
            if refusal:
                if number:
                    self.failures.appendleft(refusal)
                    return number
                raise _refuse(refusal)
            payload = bytes(payloads[at : at + size])
            self.sent.append((mac, payload))
            self._wire.carry(self, mac, payload)
            at += size
        return len(sizes[: self.batch])

    def _refusal(self, size: int) -> int:
        if self.failures:
            return self.failures.popleft()
        return errno.EMSGSIZE if size > self.interface.mtu else 0

    def close(self) -> None:
        self.closed = True

    def arrive(self, payload: bytes, mac: bytes, *, is_broadcast: bool = False) -> None:
        """Take a packet from the wire, if the filter lets it in."""
        kinds = (BEACON,) if is_broadcast else (DATA, BEACON)
        if len(payload) > DATA_OVERHEAD and payload[0] in kinds:
            self._inbox.append((payload, mac))
