"""The UDP transport: one link frame per datagram, many datagrams per system call (spec 04 section 2)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshnode.transports.addresses import (
    AddressBook,
    HostName,
    SocketAddress,
    family_of,
    format_address,
    parse_address,
)
from meshnode.transports.complaints import Complaints
from meshnode.transports.interfaces import INameKeeper, ITransport, ITransportFactory, ITransportHost, TransportError
from meshnode.transports.resolver import NameCache
from meshnode.transports.send_queue import SendQueue
from meshnode.transports.settings import Section
from meshnode.transports.udp_batch import (
    PUNCH_FIRST_BYTE,
    BatchSender,
    UdpCounters,
    split_segments,
    without_punches,
)
from meshnode.transports.udp_socket import (
    SO_RXQ_OVFL,
    SOL_UDP,
    UDP_GRO,
    KernelSockets,
    SocketSystem,
    UdpSocket,
    open_udp_socket,
)

DEFAULT_BIND = "0.0.0.0:2121"
SMALLEST_MTU = 78
BURST_FRAMES = 512
BURST_SECONDS = 0.001
_READ_SIZE = 65535
_CONTROL_SIZE = 64  # two control messages of four bytes, each in its header and padding
_NATIVE = sys.byteorder

_log = Logger()
_delivering = _log.failureHandler("a link frame upset the node")
_ending_burst = _log.failureHandler("the end of a burst upset the node")


@dataclass(frozen=True, slots=True)
class UdpSettings(Section):
    """What the transport reads from one instance under `transports.udp` (spec 05 section 5.13); sizes in bytes."""

    bind_addr: str = DEFAULT_BIND
    mtu: int = 1280
    recv_buf_size: int = 2_097_152
    send_buf_size: int = 2_097_152
    accept_connections: bool = True
    outbound_only: bool = False


@implementer(ITransport, INameKeeper, IReadDescriptor)
class UdpTransport:
    """One UDP socket on any reactor that has `addReader`.

    `reactor` provides `IReactorFDSet` and `IReactorTime`, and `IReactorPluggableNameResolver` once a host name is used.
    `system` is where the socket comes from.
    """

    kind = "udp"
    read_directly = True
    """For `meshnode.packet_reactor`: `doRead` raises nothing that the reactor has to deal with."""

    def __init__(
        self,
        transport_id: int,
        name: str | None,
        settings: UdpSettings,
        host: ITransportHost,
        reactor: Any,
        system: SocketSystem | None = None,
    ) -> None:
        self.transport_id = transport_id
        self.name = name
        self.state = "configured"
        self.mtu = settings.mtu
        self.accepts_connections = settings.accept_connections and not settings.outbound_only
        self.local_address: str | None = None
        self._settings = settings
        self._host = host
        self._reactor = reactor
        self._system = KernelSockets() if system is None else system
        self._counters = UdpCounters()
        self._addresses = AddressBook()
        self._names = NameCache(lambda: reactor.nameResolver, reactor.seconds, self._choose, self._name_answered)
        self._complaints = Complaints(_log, reactor.seconds)
        self._socket: UdpSocket | None = None
        self._sender: BatchSender | None = None
        self._queue = SendQueue()
        self._overflow_mark = 0

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bind and begin reading. Raises `TransportError`: one line naming the address and what to do."""
        if self.state in ("starting", "up"):
            raise TransportError("transport already started")
        self.state = "starting"
        try:
            opened = self._open()
        except TransportError:
            self.state = "failed"
            raise
        self._socket = opened
        self._sender = BatchSender(opened.socket, opened.segments, self._counters, self._send_refused)
        self._overflow_mark = 0
        self.local_address = format_address(opened.local)
        self.state = "up"
        self._reactor.addReader(self)
        _log.info(
            "udp {local} up, mtu {mtu}, segmentation {gso}, coalescing {gro}",
            local=self.local_address,
            mtu=self.mtu,
            gso="on" if opened.segments else "off",
            gro="on" if opened.coalesces else "off",
        )

    def _open(self) -> UdpSocket:
        settings = self._settings
        if settings.mtu < SMALLEST_MTU:
            raise TransportError(f"udp mtu {settings.mtu} is too small; write {SMALLEST_MTU} or more (1280 is usual)")
        return open_udp_socket(
            self._system,
            self._bind_address(),
            settings.recv_buf_size,
            settings.send_buf_size,
            lambda text: _log.warn("{text}", text=text),
        )

    def _bind_address(self) -> SocketAddress:
        bind = self._settings.bind_addr
        if self._settings.outbound_only:
            if bind != DEFAULT_BIND:
                _log.warn("udp: bind_addr {bind} is ignored because of outbound_only", bind=bind)
            return ("0.0.0.0", 0)
        address = parse_address(bind)
        if isinstance(address, HostName):
            raise TransportError(f"udp bind_addr {bind!r} is a name; write a numeric address such as {DEFAULT_BIND}")
        return address

    def stop(self) -> None:
        """Send what is queued and close. Does nothing unless up."""
        if self.state == "up":
            self.flush()
            self._reactor.removeReader(self)
            self._close("down")

    def _close(self, state: str) -> None:
        self.state = state
        self._names.clear()
        self._queue.take()
        if self._socket is not None:
            self._socket.socket.close()
        self._socket = self._sender = self.local_address = None

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Note that the reactor gave the descriptor up."""
        if self.state == "up":
            _log.error("udp {local} lost: {reason}", local=self.local_address, reason=reason.getErrorMessage())
            self._reactor.removeReader(self)
            self._close("failed")

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        return f"udp {self.local_address}"

    # -- questions ----------------------------------------------------------------------------------------------------

    def link_mtu(self, address: str) -> int:
        return self.mtu

    def stats(self) -> dict[str, int]:
        return self._counters.as_dict()

    def can_dial(self, address: str) -> bool:
        """Whether `address` is a host name, or numeric and of the very family of the bound address (spec 04 1.10)."""
        if self._socket is None:
            return False
        try:
            parsed = parse_address(address)
        except TransportError:
            return False
        return isinstance(parsed, HostName) or family_of(parsed) == self._socket.family

    def look_up_again(self, address: str) -> None:
        """Ask anew for the name in `address` before the next frame to it leaves (`INameKeeper`)."""
        self._names.doubt(address)

    # -- sending ------------------------------------------------------------------------------------------------------

    def send(self, address: str, frames: list[bytes]) -> None:
        """Queue `frames` until `flush`; those longer than `mtu` are refused and counted."""
        if self._sender is None:
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
        self._counters.mtu_exceeded += len(frames) - len(fitting)
        return fitting

    def flush(self) -> None:
        """Send everything queued, destination by destination; what does not fit into the socket is dropped."""
        if self._sender is None:
            return
        send = self._sender.send
        known = self._addresses.tuples
        room = True
        for text, frames in self._queue.take().items():
            if not room:
                self._counters.send_errors += len(frames)
                continue
            address = known.get(text) or self._look_up(text, frames)
            if address is not None:
                room = send(address, frames)

    def _look_up(self, text: str, frames: list[bytes]) -> SocketAddress | None:
        """Return the numeric address `text` means; without one, hold or count `frames`."""
        try:
            parsed = parse_address(text)
        except TransportError as error:
            self._lost(text, str(error), len(frames))
            return None
        if isinstance(parsed, HostName):
            return self._look_up_name(text, parsed, frames)
        if self._socket is None or family_of(parsed) != self._socket.family:
            self._lost(text, "not of the address family of this socket", len(frames))
            return None
        self._addresses.learn(text, parsed)
        return parsed

    def _look_up_name(self, text: str, name: HostName, frames: list[bytes]) -> SocketAddress | None:
        address = self._names.address_of(text, name)
        if address is None:
            self._counters.send_errors += self._names.hold(text, frames)
        return address

    def _choose(self, addresses: list[SocketAddress]) -> SocketAddress | None:
        return None if self._socket is None else self._socket.choose(addresses)

    def _name_answered(self, text: str, address: SocketAddress | None, held: list[bytes]) -> None:
        if address is None:
            self._lost(text, "no usable address was found for this name", len(held))
        elif held and self._sender is not None:
            self._sender.send(address, held)

    def _send_refused(self, address: SocketAddress, error: OSError, frames: int) -> None:
        text = self._addresses.text_of(address)
        self._addresses.forget(address)
        self._lost(text, error.strerror or str(error), frames)

    def _lost(self, peer: str, cause: str, frames: int) -> None:
        self._counters.send_errors += frames
        self._complaints.warn("udp cannot send to", peer, cause)

    # -- receiving ----------------------------------------------------------------------------------------------------

    def doRead(self) -> None:  # noqa: N802
        """Read one bounded burst, hand it up, and tell the node that it is over."""
        self._read_burst()
        with _ending_burst:
            self._host.burst_ended()

    def _read_burst(self) -> None:
        if self._socket is None:
            return
        recvmsg = self._socket.socket.recvmsg
        seconds = self._reactor.seconds
        counters = self._counters
        source: SocketAddress | None = None
        frames: list[bytes] = []
        budget = BURST_FRAMES
        deadline = seconds() + BURST_SECONDS
        while budget > 0:
            try:
                data, control, _flags, sender = recvmsg(_READ_SIZE, _CONTROL_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                if self._socket is None:
                    break
                budget -= 1
                self._receive_failed(error)
                continue
            size = len(data)
            if control:
                size = self._segment_size(control, size)
            batch = split_segments(data, size) if size < len(data) else [data]
            budget -= len(batch)
            counters.packets_recv += len(batch)
            counters.bytes_recv += len(data)
            # The first byte of every datagram, gathered in one step: no per-frame test for something this rare.
            if PUNCH_FIRST_BYTE in data[:: size or 1]:
                batch = without_punches(batch)
            if sender == source:
                frames += batch
            else:
                if source is not None:
                    self._deliver(source, frames)
                source, frames = sender, batch
            if seconds() >= deadline:
                break
        if source is not None:
            self._deliver(source, frames)

    def _deliver(self, source: SocketAddress, frames: list[bytes]) -> None:
        if frames and self._socket is not None:
            text = self._addresses.texts.get(source) or self._addresses.text_of(source)
            with _delivering:
                self._host.frames_received(self, text, frames)

    def _segment_size(self, control: Sequence[tuple[int, int, bytes]], size: int) -> int:
        """Read the control messages of one `recvmsg`; returns the size of the datagrams in what was read."""
        for level, kind, value in control:
            if kind == UDP_GRO and level == SOL_UDP:
                size = int.from_bytes(value, _NATIVE) or size
            elif kind == SO_RXQ_OVFL:
                self._count_drops(int.from_bytes(value, _NATIVE))
        return size

    def _count_drops(self, overflows: int) -> None:
        """Add what a cumulative 32-bit count of the kernel has grown by."""
        self._counters.kernel_drops += (overflows - self._overflow_mark) & 0xFFFFFFFF
        self._overflow_mark = overflows

    def _receive_failed(self, error: OSError) -> None:
        self._counters.recv_errors += 1
        self._complaints.warn("udp cannot receive on", str(self.local_address), error.strerror or str(error))


@implementer(ITransportFactory)
class UdpTransportFactory:
    """Makes UDP transports from their configuration sections."""

    kind = "udp"

    def create(
        self, transport_id: int, name: str | None, section: object, host: ITransportHost, reactor: Any
    ) -> UdpTransport:
        return UdpTransport(transport_id, name, UdpSettings.from_section(section), host, reactor)
