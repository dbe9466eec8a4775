"""Opening a packet socket on one interface: only our EtherType, only what is meant for us (packet(7), spec 04 5.4)."""

from __future__ import annotations

import errno
import os
import socket
from array import array
from collections.abc import Callable
from struct import Struct
from typing import Protocol

from meshnode.transports.interfaces import TransportError
from meshnode.transports.netlink import Interface, KernelLinks, LinkFeed
from meshnode.transports.udp_socket import grow_buffer
from meshnode.wire.ethernet import BEACON, DATA, DATA_OVERHEAD

SO_ATTACH_FILTER = 26  # asm-generic/socket.h; the standard library has no name for it

_LD_PACKET_TYPE = (0x20, 0, 0, 0xFFFFF004)  # ld [SKF_AD_OFF + SKF_AD_PKTTYPE]
_LD_FIRST_BYTE = (0x30, 0, 0, 0)  # ldb [0]: with SOCK_DGRAM the payload begins there
_LD_BEHIND_HEAD = (0x30, 0, 0, DATA_OVERHEAD)  # ldb [3]: a payload without that byte is refused
_ACCEPT, _REFUSE = (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0)
_INSTRUCTION = Struct("=HBBI")
_PROGRAM = Struct("@HP")
_PLAIN_BURST = 32


def _is_equal(value: int, jump_true: int, jump_false: int) -> tuple[int, int, int, int]:
    return (0x15, jump_true, jump_false, value)


FILTER = (
    _LD_BEHIND_HEAD,
    _LD_PACKET_TYPE,
    _is_equal(socket.PACKET_HOST, 2, 0),
    _is_equal(socket.PACKET_BROADCAST, 3, 0),
    _REFUSE,  # for somebody else, or tagged for a VLAN that is not here
    _LD_FIRST_BYTE,
    _is_equal(DATA, 2, 1),
    _LD_FIRST_BYTE,
    _is_equal(BEACON, 0, 1),
    _ACCEPT,
    _REFUSE,
)
"""Data and beacons sent to our address, and beacons sent to everybody, if they hold more than a head.

A sender of data names one receiver.
"""

_ADVICE = {
    errno.EPERM: "not permitted; raw Ethernet needs root or CAP_NET_RAW",
    errno.EACCES: "not permitted; raw Ethernet needs root or CAP_NET_RAW",
    errno.EAFNOSUPPORT: "this system has no packet sockets",
}


class PacketPort(Protocol):
    """An open packet socket on one interface."""

    def fileno(self) -> int: ...

    def receive(self) -> tuple[bytes, list[bytes], list[bytes]]:
        """Return payloads, each split after `DATA_OVERHEAD` bytes, and the MAC addresses they came from.

        The first parts lie end to end, as `meshnode.wire.ethernet.enclosed` wants them. All are empty when nothing is
        there. Raises OSError.
        """

    def send(self, mac: bytes, payloads: bytes | memoryview, sizes: list[int]) -> int:
        """Send payloads of these `sizes`, which lie end to end, none longer than the interface's MTU.

        Returns how many left, at least one. Raises OSError when the first could not.
        """

    def close(self) -> None: ...


class PacketSystem(Protocol):
    """Where packet sockets and news about interfaces come from; tests hand in one without a network."""

    def links(self) -> LinkFeed:
        """Begin to listen to what happens to interfaces. Raises OSError, also when `port` will not be allowed."""

    def port(
        self, interface: Interface, ethertype: int, receive_size: int, send_size: int, warn: Callable[[str], None]
    ) -> PacketPort:
        """Open a socket; buffer sizes in bytes. Raises OSError; lesser trouble goes to `warn`."""


class KernelPackets:
    """Packet sockets of this machine."""

    def links(self) -> LinkFeed:
        _bare_socket().close()
        return KernelLinks()

    def port(
        self, interface: Interface, ethertype: int, receive_size: int, send_size: int, warn: Callable[[str], None]
    ) -> PacketPort:
        opened = open_socket(interface.name, ethertype, receive_size, send_size, warn)
        return _fastest(opened, interface, ethertype)


def open_socket(
    name: str, ethertype: int, receive_size: int, send_size: int, warn: Callable[[str], None]
) -> socket.socket:
    """Return a non-blocking socket that hears what `FILTER` lets in on the interface of that name. Raises OSError.

    Nothing here asks for promiscuous mode.
    """
    opened = _bare_socket()
    try:
        opened.setblocking(False)
        _attach_filter(opened)
        grow_buffer(opened, "ethernet receive", socket.SO_RCVBUF, receive_size, warn)
        grow_buffer(opened, "ethernet send", socket.SO_SNDBUF, send_size, warn)
        opened.bind((name, ethertype))
    except OSError:
        opened.close()
        raise
    return opened


def _bare_socket() -> socket.socket:
    """Return a socket without a protocol: nothing comes to it, so that no packet is there before the filter."""
    return socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)


def _attach_filter(opened: socket.socket) -> None:
    program = array("B", b"".join(_INSTRUCTION.pack(*instruction) for instruction in FILTER))
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, _PROGRAM.pack(len(FILTER), program.buffer_info()[0]))


def _fastest(opened: socket.socket, interface: Interface, ethertype: int) -> PacketPort:
    try:
        from meshnode.transports.packet_batch import BatchPort
    except ImportError:  # no ctypes, as on small systems, or a libc without the calls
        return PlainPort(opened, interface, ethertype)
    return BatchPort(opened, interface, ethertype)


class PlainPort:
    """A packet socket with one system call per packet (`PacketPort`)."""

    def __init__(self, opened: socket.socket, interface: Interface, ethertype: int) -> None:
        self._socket = opened
        self._interface, self._ethertype = interface, ethertype

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> tuple[bytes, list[bytes], list[bytes]]:
        payloads: list[bytes] = []
        senders: list[bytes] = []
        try:
            while len(payloads) < _PLAIN_BURST:
                payload, name = self._socket.recvfrom(self._interface.mtu)
                payloads.append(payload)
                senders.append(name[4])
        except BlockingIOError:
            pass
        except OSError:
            if not payloads:
                raise
        heads = b"".join(payload[:DATA_OVERHEAD] for payload in payloads)
        return heads, [payload[DATA_OVERHEAD:] for payload in payloads], senders

    def send(self, mac: bytes, payloads: bytes | memoryview, sizes: list[int]) -> int:
        name = (self._interface.name, self._ethertype, 0, 0, mac)
        at = 0
        for number, size in enumerate(sizes):
            try:
                self._socket.sendto(payloads[at : at + size], name)
            except OSError:
                if number:
                    return number
                raise
            at += size
        return len(sizes)

    def close(self) -> None:
        self._socket.close()


def open_error(interface: str, error: OSError) -> TransportError:
    """Return what to tell the operator about `error` on `interface`, in one line."""
    number = error.errno or 0
    return TransportError(f"ethernet {interface}: {_ADVICE.get(number) or os.strerror(number)}")
