"""Socket calls with addresses that Python's socket module cannot express.

An L2CAP address with its type (public or random) is known to Python only from 3.14 on, and only where it was built with
the BlueZ headers; both cannot be relied on. The C library takes the plain bytes on every version, so there is one path.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from typing import Any

AF_BLUETOOTH = 31
BTPROTO_L2CAP = 0
LE_PUBLIC = 1
LE_RANDOM = 2
ANY_DEVICE = "00:00:00:00:00:00"

_FAMILY = struct.Struct("=H")
_L2CAP = struct.Struct("<H6sHBx")  # psm, device, cid, address type, padding to the alignment of the C structure
_ADDRESS_ROOM = 128

_libc = ctypes.CDLL(None, use_errno=True)


def l2cap_address(device: str, psm: int, kind: int = LE_PUBLIC) -> bytes:
    """Return `struct sockaddr_l2` for `device` (`AA:BB:...`); the bytes of the device are reversed in it."""
    reversed_device = bytes.fromhex(device.replace(":", ""))[::-1]
    return _FAMILY.pack(AF_BLUETOOTH) + _L2CAP.pack(psm, reversed_device, 0, kind)


def device_of(address: bytes) -> str:
    """Return the device of a `struct sockaddr_l2`."""
    return address[4:10][::-1].hex(":").upper()


def bind(sock: socket.socket, address: bytes) -> None:
    """Like `socket.bind`; raises `OSError`."""
    _call(_libc.bind, sock.fileno(), address, len(address))


def connect(sock: socket.socket, address: bytes) -> None:
    """Like `socket.connect`; on a socket that does not block it raises `BlockingIOError` while under way."""
    _call(_libc.connect, sock.fileno(), address, len(address))


def accept(sock: socket.socket) -> tuple[socket.socket, bytes]:
    """Like `socket.accept`, the new socket not blocking, the address as plain bytes; raises `OSError`."""
    room = ctypes.create_string_buffer(_ADDRESS_ROOM)
    size = ctypes.c_uint(_ADDRESS_ROOM)
    flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    accepted = _call(_libc.accept4, sock.fileno(), room, ctypes.byref(size), flags)
    connected = socket.socket(sock.family, sock.type, sock.proto, fileno=accepted)
    connected.setblocking(False)
    return connected, room.raw[: size.value]


def _call(function: Any, *args: Any) -> int:
    result: int = function(*args)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
