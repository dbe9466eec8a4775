"""Many packets per system call: recvmmsg and sendmmsg, which the standard library does not offer, through libc.

Measured over veth on two cores, CPU time per packet of 1400 bytes in batches of 40, sending plus receiving: 5.5 us with
one system call per packet, 3.1 us with these calls. A memory-mapped ring (TPACKET_V3) receives in 1.9 to 2.5 us against
1.3 us here, and hands a packet over only when its block is full or some milliseconds old.

All that libc reads and writes lies in buffers that are made once; nothing is allocated per packet but its bytes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from array import array
from itertools import accumulate
from struct import Struct
from typing import ClassVar

from meshnode.transports.netlink import Interface

MOST = 64
"""Packets per system call."""

_ROOM = 1 << 17  # bytes for payloads, so that large packets do not cost megabytes
_FEWEST = 2
_SLACK = 64
_NAME = Struct("=HHiHBB8s")  # struct sockaddr_ll: family, protocol, interface, hardware, packet type, length, address
_MAC_AT, _MAC_SIZE = 12, 6

try:
    _libc = ctypes.CDLL(None, use_errno=True)
    _recvmmsg, _sendmmsg = _libc.recvmmsg, _libc.sendmmsg
except (OSError, AttributeError) as error:
    raise ImportError("this libc has no recvmmsg and sendmmsg") from error
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


class _Iovec(ctypes.Structure):
    _fields_: ClassVar = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class _Header(ctypes.Structure):
    _fields_: ClassVar = [
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("iovecs", ctypes.c_void_p),
        ("iovec_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Message(ctypes.Structure):
    """`struct mmsghdr`; the kernel fills in `size`."""

    _fields_: ClassVar = [("header", _Header), ("size", ctypes.c_uint)]


_SIZE_WORD, _MESSAGE_WORDS = _Message.size.offset // 4, ctypes.sizeof(_Message) // 4


class _Slots:
    """Room for `count` packets of `size` bytes and the names of their far ends, or one for all, described to libc."""

    def __init__(self, count: int, size: int, shared_name: bool) -> None:
        self.count, self.size = count, size
        self.data = bytearray(count * size)
        self.names = bytearray(_NAME.size * (1 if shared_name else count))
        self._messages = (_Message * count)()
        iovecs = (_Iovec * count)()
        names_at = _address(self.names)
        for number, message in enumerate(self._messages):
            message.header.name = names_at + (0 if shared_name else number * _NAME.size)
            message.header.name_size = _NAME.size
            message.header.iovecs = ctypes.addressof(iovecs) + number * ctypes.sizeof(_Iovec)
            message.header.iovec_count = 1
        self.pointer = ctypes.addressof(self._messages)
        self._sizes = memoryview(self._messages).cast("B").cast("I")
        self._iovecs = memoryview(iovecs).cast("B").cast("L")
        self._data_at = _address(self.data)
        self.lay([size] * count)

    def lay(self, sizes: list[int]) -> None:
        """Let the slots be of these sizes, end to end."""
        end = 2 * len(sizes)
        self._iovecs[:end:2] = array("L", accumulate(sizes[:-1], initial=self._data_at))
        self._iovecs[1:end:2] = array("L", sizes)

    def filled(self, count: int) -> list[int]:
        """Return how many bytes the kernel put into each of the first `count` slots."""
        return self._sizes[_SIZE_WORD : _SIZE_WORD + count * _MESSAGE_WORDS : _MESSAGE_WORDS].tolist()


def _address(buffer: bytearray) -> int:
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))


class BatchPort:
    """A packet socket that moves up to `MOST` packets per system call (`PacketPort`)."""

    def __init__(self, opened: socket.socket, interface: Interface, ethertype: int) -> None:
        self._socket = opened
        self._fileno = opened.fileno()
        size = interface.mtu + _SLACK
        count = max(_FEWEST, min(MOST, _ROOM // size))
        self._incoming = _Slots(count, size, shared_name=False)
        self._outgoing = _Slots(count, size, shared_name=True)
        protocol = socket.htons(ethertype)
        _NAME.pack_into(self._outgoing.names, 0, socket.AF_PACKET, protocol, interface.index, 0, 0, _MAC_SIZE, b"")

    def fileno(self) -> int:
        return self._fileno

    def receive(self) -> tuple[list[bytes], list[bytes]]:
        slots = self._incoming
        count = _recvmmsg(self._fileno, slots.pointer, slots.count, socket.MSG_DONTWAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            if number == errno.EAGAIN:
                return [], []
            raise OSError(number, os.strerror(number))
        size = slots.size
        # One copy each for all payloads and all names, from which slices are cut at little cost.
        data, names = bytes(slots.data[: count * size]), bytes(slots.names[: count * _NAME.size])
        payloads = [data[number * size : number * size + length] for number, length in enumerate(slots.filled(count))]
        return payloads, [names[at : at + _MAC_SIZE] for at in range(_MAC_AT, len(names), _NAME.size)]

    def send(self, mac: bytes, payloads: bytes | memoryview, sizes: list[int]) -> int:
        slots = self._outgoing
        sizes = sizes[: slots.count]
        slots.lay(sizes)
        total = sum(sizes)
        slots.data[:total] = payloads[:total]
        slots.names[_MAC_AT : _MAC_AT + _MAC_SIZE] = mac
        count: int = _sendmmsg(self._fileno, slots.pointer, len(sizes), socket.MSG_DONTWAIT)
        if count < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return count

    def close(self) -> None:
        self._socket.close()
        self._fileno = -1
