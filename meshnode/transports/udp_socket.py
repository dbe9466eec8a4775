"""Opening a UDP socket: bind, buffer sizes, and what the kernel offers for batches (spec 04 section 2.3)."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from meshnode.transports.addresses import SocketAddress, bind_advice, family_of, format_address
from meshnode.transports.interfaces import TransportError

# Linux option numbers the standard library has no names for (asm-generic/socket.h, linux/udp.h, linux/in.h).
SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104
SO_RXQ_OVFL = 40
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
IP_MTU_DISCOVER = 10
IP_PMTUDISC_OMIT = 5

_LARGEST_BUFFER = 0x3FFFFFFF  # the kernel doubles the figure into a C int


class Buffered(Protocol):
    """The part of `socket.socket` that sets options."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None: ...
    def getsockopt(self, level: int, option: int, /) -> int: ...


class DatagramSocket(Buffered, Protocol):
    """The part of `socket.socket` that the transport uses."""

    def bind(self, address: Any, /) -> None: ...
    def getsockname(self) -> Any: ...
    def sendto(self, data: bytes, address: Any, /) -> int: ...
    def sendmsg(
        self, buffers: Iterable[bytes], ancillary: Iterable[tuple[int, int, bytes]], flags: int, address: Any, /
    ) -> int: ...
    def recvmsg(
        self, size: int, ancillary_size: int, /
    ) -> tuple[bytes, Sequence[tuple[int, int, bytes]], int, Any]: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


class SocketSystem(Protocol):
    """Where sockets come from; tests hand in one without a network."""

    def socket(self, family: int) -> DatagramSocket:
        """Return a new non-blocking datagram socket. Raises OSError."""


class KernelSockets:
    """Sockets of this machine."""

    def socket(self, family: int) -> DatagramSocket:
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.setblocking(False)
        return opened


@dataclass(slots=True)
class UdpSocket:
    """A bound socket and what it can do."""

    socket: DatagramSocket
    local: SocketAddress
    dual_stack: bool
    segments: bool
    coalesces: bool

    @property
    def family(self) -> int:
        return family_of(self.local)

    def choose(self, addresses: list[SocketAddress]) -> SocketAddress | None:
        """Return the first of `addresses` that a datagram from this socket can be sent to, in the form it takes."""
        for address in addresses:
            if family_of(address) == self.family:
                return address
        if self.dual_stack and addresses:
            return (f"::ffff:{addresses[0][0]}", addresses[0][1], 0, 0)
        return None


def open_udp_socket(
    system: SocketSystem, bind: SocketAddress, receive_size: int, send_size: int, warn: Callable[[str], None]
) -> UdpSocket:
    """Bind to `bind` with buffers of the given sizes in bytes.

    The port is never shared: no reuse option is set, a second holder is refused (spec 05 section 5.13). Raises
    `TransportError` with one line for the operator; lesser trouble goes to `warn`.
    """
    opened, dual_stack = _bound(system, bind, warn)
    grow_buffer(opened, "udp receive", socket.SO_RCVBUF, receive_size, warn)
    grow_buffer(opened, "udp send", socket.SO_SNDBUF, send_size, warn)
    _option(opened, socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
    # By default the kernel lets routers fragment a batch but not a single datagram: behind a narrow router that may not
    # answer, single ones vanish for ever. So may all be fragmented, and no ICMP message about a size is believed.
    _option(opened, socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT)
    return UdpSocket(
        socket=opened,
        local=opened.getsockname(),
        dual_stack=dual_stack,
        # Segment size 0 changes nothing, yet is refused by kernels that do not know the option.
        segments=_option(opened, SOL_UDP, UDP_SEGMENT, 0),
        coalesces=_option(opened, SOL_UDP, UDP_GRO, 1),
    )


def _bound(system: SocketSystem, bind: SocketAddress, warn: Callable[[str], None]) -> tuple[DatagramSocket, bool]:
    if family_of(bind) == socket.AF_INET:
        return _bind(system, bind, None), False
    # An IPv6 wildcard serves both families as upstream's does, unless the IPv4 half belongs to another instance.
    wildcard = bind[0] == "::"
    try:
        return _bind(system, bind, not wildcard), wildcard
    except TransportError as trouble:
        if not wildcard or not _in_use(trouble):
            raise
        opened = _bind(system, bind, True)
    warn(f"udp {format_address(bind)}: the IPv4 side of this port is taken; serving IPv6 only")
    return opened, False


def _in_use(trouble: TransportError) -> bool:
    return isinstance(trouble.__cause__, OSError) and trouble.__cause__.errno == errno.EADDRINUSE


def _bind(system: SocketSystem, bind: SocketAddress, v6_only: bool | None) -> DatagramSocket:
    try:
        opened = system.socket(family_of(bind))
    except OSError as error:
        raise _bind_error(bind, error) from error
    try:
        if v6_only is not None:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6_only))
        opened.bind(bind)
    except OSError as error:
        opened.close()
        raise _bind_error(bind, error) from error
    return opened


def _bind_error(bind: SocketAddress, error: OSError) -> TransportError:
    return TransportError(f"udp {format_address(bind)}: {bind_advice(error)}")


def _option(opened: Buffered, level: int, option: int, value: int) -> bool:
    try:
        opened.setsockopt(level, option, value)
    except OSError:
        return False
    return True


def grow_buffer(opened: Buffered, what: str, option: int, size: int, warn: Callable[[str], None]) -> None:
    """Ask for `size` bytes, past the system's limit where we may; warn when less was granted.

    `option` is SO_RCVBUF or SO_SNDBUF, `what` names the buffer for the operator.
    """
    size = min(size, _LARGEST_BUFFER)
    receiving = option == socket.SO_RCVBUF
    if not _option(opened, socket.SOL_SOCKET, SO_RCVBUFFORCE if receiving else SO_SNDBUFFORCE, size):
        _option(opened, socket.SOL_SOCKET, option, size)
    granted = opened.getsockopt(socket.SOL_SOCKET, option) // 2  # the kernel counts its own bookkeeping twice over
    if granted < size:
        limit = "net.core.rmem_max" if receiving else "net.core.wmem_max"
        warn(f"{what} buffer: {granted} of {size} bytes granted; raise {limit} (4194304 is a good value)")
