"""The raw Ethernet transport: link frames between MAC addresses, no IP anywhere (spec 04 section 5)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshnode.transports.beacons import BeaconSchedule, Neighbours
from meshnode.transports.complaints import Complaints
from meshnode.transports.interfaces import ITransport, ITransportFactory, ITransportHost, TransportError
from meshnode.transports.link_watch import LinkWatch
from meshnode.transports.mac_addresses import BROADCAST, Stations
from meshnode.transports.netlink import Interface
from meshnode.transports.packet_socket import KernelPackets, PacketPort, PacketSystem, open_error
from meshnode.transports.send_queue import SendQueue
from meshnode.transports.settings import Section
from meshnode.wire import Beacon, WireError
from meshnode.wire.ethernet import DATA_OVERHEAD, LARGEST_FRAME, enclose, enclosed

BURST_FRAMES = 256
BURST_SECONDS = 0.001
RETRY_SECS = 5.0
"""How long to wait before an interface that could not be opened is tried again."""

# The socket or the interface is full: what does not fit is dropped, as datagrams are.
_FULL = frozenset({errno.EAGAIN, errno.ENOBUFS})
# The interface is gone or off; the news of that are on their way.
_GONE = frozenset({errno.ENETDOWN, errno.ENXIO, errno.ENODEV})

_log = Logger()
_delivering = _log.failureHandler("a link frame upset the node")
_ending_burst = _log.failureHandler("the end of a burst upset the node")


@dataclass(frozen=True, slots=True)
class EthernetSettings(Section):
    """What the transport reads from one instance under `transports.ethernet` (spec 05 section 5.14); sizes in bytes."""

    interface: str = ""
    ethertype: int = 0x2121
    mtu: int | None = None
    recv_buf_size: int = 2_097_152
    send_buf_size: int = 2_097_152
    listen: bool = True
    announce: bool = False
    auto_connect: bool = False
    accept_connections: bool = False
    beacon_interval_secs: int = 30


@dataclass(slots=True)
class EthernetCounters:
    """Counters of one instance under their public names (spec 06 section 3.11); bytes are those of payloads."""

    frames_sent: int = 0
    frames_recv: int = 0
    bytes_sent: int = 0
    bytes_recv: int = 0
    send_errors: int = 0
    recv_errors: int = 0
    beacons_sent: int = 0
    beacons_recv: int = 0
    frames_too_short: int = 0
    frames_too_long: int = 0


@implementer(ITransport, IReadDescriptor)
class EthernetTransport:
    """One interface on any reactor that has `addReader`; waits for it when it is not there, and follows its changes.

    `reactor` provides `IReactorFDSet` and `IReactorTime`. `system` is where sockets and news of interfaces come from.
    Addresses are `interface/aa:bb:cc:dd:ee:ff`.
    """

    kind = "ethernet"

    def __init__(
        self,
        transport_id: int,
        name: str | None,
        settings: EthernetSettings,
        host: ITransportHost,
        reactor: Any,
        system: PacketSystem | None = None,
    ) -> None:
        self.transport_id = transport_id
        self.name = name
        self.state = "configured"
        self.mtu = LARGEST_FRAME if settings.mtu is None else min(settings.mtu, LARGEST_FRAME)
        self.accepts_connections = settings.accept_connections
        self.local_address: str | None = None
        self._settings = settings
        self._host = host
        self._reactor = reactor
        self._system = KernelPackets() if system is None else system
        self._counters = EthernetCounters()
        self._complaints = Complaints(_log, reactor.seconds)
        self._stations = Stations(settings.interface)
        self._schedule = BeaconSchedule(settings.beacon_interval_secs)
        self._neighbours = Neighbours()
        self._watch: LinkWatch | None = None
        self._port: PacketPort | None = None
        self._timer: IDelayedCall | None = None
        self._queue = SendQueue()

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the interface, or wait for it. Raises `TransportError`: one line naming it and what to do."""
        if self.state in ("starting", "up"):
            raise TransportError("transport already started")
        name = self._settings.interface
        try:
            self._watch = LinkWatch(name, self._system.links(), self._reactor, self._interface_changed)
            self.state = "starting"
            interface = self._watch.interface
            if interface is not None and interface.is_usable:
                self._open(interface)
            else:
                _log.warn("ethernet {name}: {obstacle}; waiting for it", name=name, obstacle=_obstacle(interface))
        except OSError as error:
            self.stop()
            self.state = "failed"
            raise open_error(name, error) from error

    def stop(self) -> None:
        """Send what is queued and close."""
        self.flush()
        self._close("down")
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _open(self, interface: Interface) -> None:
        """Open a socket on `interface` and begin to show ourselves. Raises OSError."""
        settings = self._settings
        self._port = self._system.port(
            interface,
            settings.ethertype,
            settings.recv_buf_size,
            settings.send_buf_size,
            lambda text: _log.warn("{text}", text=text),
        )
        self.mtu = _usable_mtu(settings.mtu, interface)
        self.local_address = self._stations.text_of(interface.mac)
        self.state = "up"
        self._reactor.addReader(self)
        _log.info("ethernet {local} up, mtu {mtu}", local=self.local_address, mtu=self.mtu)
        self._show_ourselves()

    def _close(self, state: str) -> None:
        self.state = state
        self._queue.take()
        self._schedule.stop()
        self._arm(None)
        if self._port is not None:
            self._reactor.removeReader(self)
            self._port.close()
        self._port = self.local_address = None

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Note that the reactor gave the descriptor up: close it and try again."""
        if self._port is not None:
            self._lose(reason.getErrorMessage())
            self._arm(RETRY_SECS)

    def fileno(self) -> int:
        return -1 if self._port is None else self._port.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        return f"ethernet {self._settings.interface}"

    # -- what becomes of the interface --------------------------------------------------------------------------------

    def _interface_changed(self, before: Interface | None) -> None:
        """Open, reopen or close as the interface wants it, and tell the node."""
        interface = None if self._watch is None else self._watch.interface
        if interface is None or not interface.is_usable:
            if self._port is not None:
                self._lose(f"{self._settings.interface}: {_obstacle(interface)}")
        elif self._port is None:
            self._try_to_open()
        elif before is None or (before.index, before.mtu) != (interface.index, interface.mtu):
            self._reopen(interface)
        elif before.mac != interface.mac or (interface.carrier and not before.carrier):
            self.local_address = self._stations.text_of(interface.mac)
            self._show_ourselves()

    def _lose(self, cause: str) -> None:
        self._close("down")
        self._host.state_changed(self, cause)

    def _reopen(self, interface: Interface) -> None:
        """Move to an interface that was made anew, or has another MTU, without a word to the links above."""
        mtu = self.mtu
        self.flush()
        self._close("down")
        try:
            self._open(interface)
        except OSError as error:
            self._failed_to_open(error)
            self._host.state_changed(self, f"{self._settings.interface}: {error.strerror}")
            return
        if self.mtu != mtu:
            self._host.mtu_changed(self, None)

    def _try_to_open(self) -> None:
        """Open the interface after all, and tell the node."""
        interface = None if self._watch is None else self._watch.interface
        if interface is None or not interface.is_usable:
            return
        try:
            self._open(interface)
        except OSError as error:
            self._failed_to_open(error)
            return
        self._host.mtu_changed(self, None)
        self._host.state_changed(self, f"interface {interface.name} is there")

    def _failed_to_open(self, error: OSError) -> None:
        self._complaints.warn("cannot open", self._settings.interface, str(open_error(self._settings.interface, error)))
        self._arm(RETRY_SECS)

    # -- beacons ------------------------------------------------------------------------------------------------------

    def _show_ourselves(self) -> None:
        """Begin anew with beacons: whoever is at the other end now knows nothing of us."""
        self._neighbours.clear()
        if self._settings.announce:
            self._schedule.restart(self._reactor.seconds())
            self._on_timer()

    def _arm(self, delay: float | None) -> None:
        """Set the one timer to `delay` seconds from now, None for never."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if delay is None else self._reactor.callLater(max(delay, 0.0), self._on_timer)

    def _on_timer(self) -> None:
        if self._port is None:
            self._try_to_open()
            return
        now = self._reactor.seconds()
        if self._schedule.due <= now:
            self._send_beacon(self._port)
            self._schedule.sent(now)
        self._arm(self._schedule.due - now)

    def _send_beacon(self, port: PacketPort) -> None:
        beacon = Beacon(self._host.public_key).encode()
        try:
            port.send(BROADCAST, beacon, [len(beacon)])
        except OSError as error:
            self._lost("everybody", error, 1)
            return
        self._counters.beacons_sent += 1

    def _beacons_received(self, mac: bytes, payloads: list[bytes]) -> None:
        self._counters.beacons_recv += len(payloads)
        if not self._settings.listen:
            return
        now = self._reactor.seconds()
        for payload in payloads:
            if self._neighbours.is_time(now):
                self._beacon_received(mac, payload, now)

    def _beacon_received(self, mac: bytes, payload: bytes, now: float) -> None:
        try:
            public_key = Beacon.parse(payload).public_key
        except WireError:
            return
        if public_key == self._host.public_key:
            return
        if self._neighbours.heard(mac, public_key) and self._settings.announce:
            self._schedule.answer(now)
            self._arm(self._schedule.due - now)
        if self._settings.auto_connect:
            self._host.neighbour_found(self, self._stations.text_of(mac), public_key)

    # -- questions ----------------------------------------------------------------------------------------------------

    def link_mtu(self, address: str) -> int:
        return self.mtu

    def stats(self) -> dict[str, int]:
        return asdict(self._counters)

    def can_dial(self, address: str) -> bool:
        """Whether `address` names a station on our interface, as `interface/aa:bb:cc:dd:ee:ff`, other than this one."""
        return self._port is not None and address != self.local_address and self._stations.mac_of(address) is not None

    # -- sending ------------------------------------------------------------------------------------------------------

    def send(self, address: str, frames: list[bytes]) -> None:
        """Queue `frames` until `flush`; those longer than `mtu` are refused and counted."""
        if self._port is None:
            self._counters.send_errors += len(frames)
            return
        if not frames:
            return
        if max(map(len, frames)) > self.mtu:
            frames = self._within_mtu(frames)
        if self._queue.add(address, frames):
            self.flush()

    def _within_mtu(self, frames: list[bytes]) -> list[bytes]:
        mtu = self.mtu
        fitting = [frame for frame in frames if len(frame) <= mtu]
        self._counters.frames_too_long += len(frames) - len(fitting)
        return fitting

    def flush(self) -> None:
        """Send everything queued, station by station; what does not fit into the socket is dropped."""
        port = self._port
        if not self._queue or port is None:
            return
        known = self._stations.macs
        room = True
        for text, frames in self._queue.take().items():
            mac = known.get(text) or self._stations.mac_of(text)
            if mac is None:
                self._lost(text, OSError(errno.EINVAL, "not the address of a station on this interface"), len(frames))
            elif not room:
                self._counters.send_errors += len(frames)
            elif frames:
                room = self._send(port, text, mac, frames)

    def _send(self, port: PacketPort, text: str, mac: bytes, frames: list[bytes]) -> bool:
        """Send `frames` in order. False means that the way out is shut: the rest was dropped, and more would be."""
        counters = self._counters
        payloads = memoryview(enclose(frames))
        sizes = [len(frame) + DATA_OVERHEAD for frame in frames]
        while sizes:
            try:
                sent = port.send(mac, payloads, sizes)
                nbytes = sum(sizes[:sent])
                counters.frames_sent += sent
                counters.bytes_sent += nbytes
            except OSError as error:
                if error.errno in _FULL:
                    counters.send_errors += len(sizes)
                    return False
                if error.errno in _GONE:
                    self._lost(text, error, len(sizes))
                    return False
                self._lost(text, error, 1)
                sent, nbytes = 1, sizes[0]
            payloads = payloads[nbytes:]
            sizes = sizes[sent:]
        return True

    def _lost(self, station: str, error: OSError, frames: int) -> None:
        self._counters.send_errors += frames
        self._complaints.warn("ethernet cannot send to", station, error.strerror or str(error))

    # -- receiving ----------------------------------------------------------------------------------------------------

    def doRead(self) -> None:  # noqa: N802
        """Read one bounded burst, hand it up, and tell the node that it is over."""
        self._read_burst()
        with _ending_burst:
            self._host.burst_ended()

    def _read_burst(self) -> None:
        port, counters, seconds = self._port, self._counters, self._reactor.seconds
        source = b""
        frames: list[bytes] = []
        budget = BURST_FRAMES
        deadline = seconds() + BURST_SECONDS
        while budget > 0 and port is not None:
            try:
                heads, bodies, senders = port.receive()
            except OSError as error:
                self._receive_failed(error)
                break
            if not bodies:
                break
            budget -= len(bodies)
            counters.frames_recv += len(bodies)
            counters.bytes_recv += len(heads) + sum(map(len, bodies))
            for mac, batch in self._frames(heads, bodies, senders):
                if mac == source:
                    frames += batch
                else:
                    self._deliver(source, frames)
                    source, frames = mac, batch
            if seconds() >= deadline or port is not self._port:
                break
        self._deliver(source, frames)

    def _frames(self, heads: bytes, bodies: list[bytes], senders: list[bytes]) -> Iterator[tuple[bytes, list[bytes]]]:
        """Yield stations and the frames they sent, in order; their beacons are ours."""
        start = 0
        for mac, count in _runs(senders):
            end = start + count
            frames, beacons = enclosed(heads[start * DATA_OVERHEAD : end * DATA_OVERHEAD], bodies[start:end])
            self._counters.frames_too_short += count - len(frames) - len(beacons)
            if beacons:
                self._beacons_received(mac, beacons)
            yield mac, frames
            start = end

    def _deliver(self, mac: bytes, frames: list[bytes]) -> None:
        if frames and self._port is not None:
            text = self._stations.texts.get(mac) or self._stations.text_of(mac)
            with _delivering:
                self._host.frames_received(self, text, frames)

    def _receive_failed(self, error: OSError) -> None:
        self._counters.recv_errors += 1
        if error.errno not in _GONE:
            self._complaints.warn("ethernet cannot receive on", self._settings.interface, error.strerror or str(error))


def _runs(senders: list[bytes]) -> list[tuple[bytes, int]]:
    """Return who sent how many in a row."""
    if senders.count(senders[0]) == len(senders):  # as a rule
        return [(senders[0], len(senders))]
    return [(mac, len(list(run))) for mac, run in groupby(senders)]


def _obstacle(interface: Interface | None) -> str:
    """Why nothing can be sent over `interface` now, for the operator."""
    if interface is None:
        return "there is no such interface"
    return "the interface is down" if interface.is_ethernet else "it is no Ethernet interface"


def _usable_mtu(configured: int | None, interface: Interface) -> int:
    """Bytes of the longest frame: what the interface takes less our header, or less if so configured."""
    usable = min(interface.mtu - DATA_OVERHEAD, LARGEST_FRAME)
    return usable if configured is None else min(configured, usable)


@implementer(ITransportFactory)
class EthernetTransportFactory:
    """Makes raw Ethernet transports from their configuration sections."""

    kind = "ethernet"

    def create(
        self, transport_id: int, name: str | None, section: object, host: ITransportHost, reactor: Any
    ) -> EthernetTransport:
        return EthernetTransport(transport_id, name, EthernetSettings.from_section(section), host, reactor)
