"""A small measuring protocol over TCP: one letter says what follows, the side that is told to sends until the end.

`S` client sends and the server answers with the number of bytes it got; `R` the server sends for as long as the next
eight bytes say, in milliseconds; `E` every byte is sent back.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from contextlib import suppress
from statistics import median
from typing import Any

PORT = 21219
ECHOES = 50
LONGEST_SECS = 60.0
_BLOCK = b"\0" * 65536
_NUMBER = struct.Struct(">Q")
_MESH = ipaddress.ip_network("fd00::/8")
_PATIENCE_SECS = 10.0


def listen(address: str, port: int) -> socket.socket:
    """A socket to `serve` on. Raises OSError."""
    return socket.create_server((address, port), family=socket.AF_INET6)


def serve(listener: socket.socket, clients: int | None = None) -> None:
    """Serve clients of the mesh one after the other, without end or `clients` of them."""
    while clients is None or clients > 0:
        connection, peer = listener.accept()
        with connection, suppress(OSError, struct.error):
            connection.settimeout(_PATIENCE_SECS)
            if ipaddress.ip_address(peer[0]) in _MESH or ipaddress.ip_address(peer[0]).is_loopback:
                _answer(connection)
        clients = None if clients is None else clients - 1


def _answer(connection: socket.socket) -> None:
    order = connection.recv(1)
    if order == b"S":
        received = 0
        while part := connection.recv(1 << 20):
            received += len(part)
        connection.sendall(_NUMBER.pack(received))
    elif order == b"R":
        (milliseconds,) = _NUMBER.unpack(_exactly(connection, _NUMBER.size))
        _send_for(connection, min(milliseconds / 1000, LONGEST_SECS))
    elif order == b"E":
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while byte := connection.recv(1):
            connection.sendall(byte)


def measure(address: str, port: int, seconds: float) -> dict[str, Any]:
    """Throughput both ways for `seconds` each, and round trips on an idle connection. Raises OSError."""
    return {
        "round_trip_ms": _round_trips(address, port),
        "sent_bytes_per_second": _sending(address, port, seconds),
        "received_bytes_per_second": _receiving(address, port, seconds),
    }


def _open(address: str, port: int, order: bytes) -> socket.socket:
    connection = socket.create_connection((address, port), timeout=_PATIENCE_SECS)
    connection.sendall(order)
    return connection


def _round_trips(address: str, port: int) -> dict[str, float]:
    samples = []
    with _open(address, port, b"E") as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(ECHOES):
            begin = time.perf_counter()
            connection.sendall(b"x")
            _exactly(connection, 1)
            samples.append((time.perf_counter() - begin) * 1000)
    return {"least": min(samples), "median": median(samples), "most": max(samples)}


def _sending(address: str, port: int, seconds: float) -> float:
    with _open(address, port, b"S") as connection:
        begin = time.perf_counter()
        _send_for(connection, seconds)
        connection.shutdown(socket.SHUT_WR)
        (received,) = _NUMBER.unpack(_exactly(connection, _NUMBER.size))
        return float(received) / (time.perf_counter() - begin)


def _receiving(address: str, port: int, seconds: float) -> float:
    with _open(address, port, b"R" + _NUMBER.pack(int(seconds * 1000))) as connection:
        begin, received = time.perf_counter(), 0
        while part := connection.recv(1 << 20):
            received += len(part)
        return received / (time.perf_counter() - begin)


def _send_for(connection: socket.socket, seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        connection.sendall(_BLOCK)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise OSError("the other side hung up")
        data += part
    return data
