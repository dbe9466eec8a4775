"""Programs' traffic through the mesh: echoes, byte streams with a checksum, small writes, a web page."""

from __future__ import annotations

import http.server
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from random import Random
from threading import Event, Thread
from typing import Any

from tests.rigs import processes
from tests.rigs.hosts import Host
from tests.rigs.waiting import NotInTime, wait_until

_REPLY = re.compile(r"^(?:\[(?P<at>[\d.]+)\] )?\d+ bytes from .*icmp_seq=(?P<seq>\d+) .*time=(?P<ms>[\d.]+) ms", re.M)
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Reply:
    """One echo reply: its number, when it came (Unix time) and the round trip in milliseconds."""

    sequence: int
    at: float
    milliseconds: float


def replies(text: str) -> list[Reply]:
    """Read the replies in ping's output."""
    return [Reply(int(hit["seq"]), float(hit["at"] or 0.0), float(hit["ms"])) for hit in _REPLY.finditer(text)]


class Ping:
    """A ping that runs in the background until `finish`."""

    def __init__(self, host: Host, destination: str, interval: float, size: int = 56) -> None:
        self._output = host.directory / f"ping-{time.monotonic_ns()}"
        command = ["ping", "-6", "-n", "-D", "-i", f"{interval:g}", "-s", str(size), destination]
        with self._output.open("w") as output:
            self._process = host.start(command, output=output)

    def replies(self) -> list[Reply]:
        """Return what has come back so far."""
        return replies(self._output.read_text())

    def first(self, deadline: float) -> Reply:
        """Wait for the first reply."""
        return self.reply_after(0.0, deadline)

    def reply_after(self, moment: float, deadline: float) -> Reply:
        """Wait for a reply that came later than `moment` (Unix time)."""

        def later() -> list[Reply]:
            return [reply for reply in self.replies() if reply.at > moment]

        try:
            return wait_until(later, deadline, "an echo comes back")[0]
        except NotInTime as late:
            tail = self._output.read_text().splitlines()[-3:]
            raise NotInTime(f"{late}; ping says {tail}") from None

    def finish(self, settle: float = 1.0) -> tuple[list[Reply], list[int]]:
        """Stop; return all replies and the numbers that never came back, those of the last moments not counted.

        The last `settle` seconds are not counted because their replies may have been on the way.
        """
        processes.end(self._process)
        came = self.replies()
        numbers = {reply.sequence for reply in came}
        settled = [reply.sequence for reply in came if reply.at <= came[-1].at - settle] or [0]
        return came, [number for number in range(1, settled[-1]) if number not in numbers]


@contextmanager
def pinging(host: Host, destination: str, interval: float = 0.05, size: int = 56) -> Iterator[Ping]:
    ping = Ping(host, destination, interval, size)
    try:
        yield ping
    finally:
        ping.finish()


def ping(host: Host, destination: str, count: int = 3, interval: float = 0.2, size: int = 56) -> list[Reply]:
    """Send `count` echoes and return the replies."""
    done = host.run(
        ["ping", "-6", "-n", "-i", f"{interval:g}", "-c", str(count), "-s", str(size), "-W", "2", destination],
        timeout=count * interval + 10,
    )
    return replies(done.stdout)


def first_echo(host: Host, destination: str, deadline: float = 10.0) -> float:
    """Return after how many seconds from now the first echo came back, sending one every 20 ms."""
    begin = time.time()
    with pinging(host, destination, interval=0.02) as echoes:
        return echoes.first(deadline).at - begin


def fetch(host: Host, url: str, timeout: float = 8.0) -> subprocess.CompletedProcess[str]:
    """Fetch a page with curl on that host."""
    return host.run(["curl", "-6", "-sS", "--fail", "--max-time", f"{timeout:g}", url], timeout=timeout + 5)


@contextmanager
def web_page(host: Host, text: str, port: int = 80) -> Iterator[None]:
    """Serve one page under every path on a host."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6
        daemon_threads = True

        def server_bind(self) -> None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(self.server_address)

    with host.inside():
        server = Server(("::", port), Page)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def listening_socket(host: Host, address: str) -> socket.socket:
    """Return a listening TCP socket on any free port of that mesh address."""
    listener = host.socket()
    listener.bind((address, 0))
    listener.listen()
    return listener


@dataclass(frozen=True)
class Transfer:
    """What a byte stream did: its size, how long it took, and whether it arrived as it was sent."""

    size: int
    seconds: float
    intact: bool


def transfer(source: Host, sink: Host, address: str, size: int, timeout: float = 120.0) -> Transfer:
    """Send `size` bytes over TCP from one host to `address` on the other and compare SHA-256 at both ends."""
    received: list[bytes] = []
    with listening_socket(sink, address) as listener, source.socket() as connection:
        listener.settimeout(timeout)
        connection.settimeout(timeout)
        reader = Thread(target=lambda: received.append(_digest_of_stream(listener)), daemon=True)
        reader.start()
        begin = time.monotonic()
        connection.connect((address, listener.getsockname()[1]))
        sent = _send_blocks(connection, size)
        reader.join(timeout)
        return Transfer(size, time.monotonic() - begin, received == [sent])


def _send_blocks(connection: socket.socket, size: int) -> bytes:
    digest, left, number = sha256(), size, 0
    block = Random(size).randbytes(_BLOCK)
    while left:
        piece = (number.to_bytes(8, "big") + block[8:])[:left]
        connection.sendall(piece)
        digest.update(piece)
        left, number = left - len(piece), number + 1
    connection.shutdown(socket.SHUT_WR)
    return digest.digest()


def _digest_of_stream(listener: socket.socket) -> bytes:
    connection, _ = listener.accept()
    digest = sha256()
    with connection:
        connection.settimeout(listener.gettimeout())
        while piece := connection.recv(_BLOCK):
            digest.update(piece)
    return digest.digest()


@dataclass(frozen=True)
class Stream:
    """What a paced byte stream went through: the longest time in which nothing arrived, and whether all of it did."""

    longest_pause: float
    intact: bool


class Streaming:
    """A paced TCP stream in the background, which lasts until `finish`."""

    def __init__(self, source: Host, sink: Host, address: str, mbit: float = 20.0) -> None:
        self._gap = 0.01
        self._piece = Random(7).randbytes(int(mbit * 1e6 / 8 * self._gap))
        self._ended = Event()
        self._sent, self._received = sha256(), sha256()
        self._longest_pause = 0.0
        self._listener = listening_socket(sink, address)
        self._listener.settimeout(60)
        self._connection = source.socket()
        self._connection.settimeout(60)
        self._threads = [Thread(target=work, daemon=True) for work in (self._receive, self._send)]
        self._address = (address, self._listener.getsockname()[1])
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        self._connection.connect(self._address)
        while not self._ended.wait(self._gap):
            self._connection.sendall(self._piece)
            self._sent.update(self._piece)
        self._connection.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(60)
            before = time.monotonic()
            while piece := connection.recv(_BLOCK):
                now = time.monotonic()
                self._longest_pause = max(self._longest_pause, now - before)
                before = now
                self._received.update(piece)

    def finish(self) -> Stream:
        """Stop sending, let everything arrive, and tell how it went."""
        self._ended.set()
        for thread in self._threads:
            thread.join(60)
        self._listener.close()
        self._connection.close()
        alive = any(thread.is_alive() for thread in self._threads)
        return Stream(self._longest_pause, not alive and self._sent.digest() == self._received.digest())


class Datagrams:
    """UDP datagrams at a steady rate from one host to another, counted on arrival."""

    def __init__(self, source: Host, sink: Host, address: str, mbit: float, size: int = 1100) -> None:
        self._gap, self._count = 0.005, max(1, round(mbit * 1e6 / 8 / size * 0.005))
        self._payload = bytes(size)
        self._ended = Event()
        self._sent = self._received = 0
        self._sink = sink.socket(kind=socket.SOCK_DGRAM)
        self._sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._sink.bind((address, 0))
        self._sink.settimeout(0.5)
        self._source = source.socket(kind=socket.SOCK_DGRAM)
        self._source.connect(self._sink.getsockname()[:2])
        self._begin = time.monotonic()
        self._seconds = 0.0
        self._threads = [Thread(target=work, daemon=True) for work in (self._receive, self._send)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        due = time.monotonic()
        while not self._ended.is_set():
            for _ in range(self._count):
                self._source.send(self._payload)
            self._sent += self._count
            due += self._gap
            self._ended.wait(max(0.0, due - time.monotonic()))
        self._seconds = time.monotonic() - self._begin

    def _receive(self) -> None:
        while True:
            try:
                self._sink.recv(2048)
                self._received += 1
            except TimeoutError:
                if self._ended.is_set():
                    return

    @property
    def mbit(self) -> float:
        """What was sent, in Mbit/s of payload; after the end."""
        return self._sent * len(self._payload) * 8 / 1e6 / self._seconds

    @property
    def share(self) -> float:
        """How much of it arrived; after the end."""
        return self._received / max(self._sent, 1)

    def finish(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(10)
        self._sink.close()
        self._source.close()


@contextmanager
def datagrams(source: Host, sink: Host, address: str, mbit: float) -> Iterator[Datagrams]:
    """Send datagrams for a while; the figures are there afterwards."""
    stream = Datagrams(source, sink, address, mbit)
    try:
        yield stream
    finally:
        stream.finish()


def longest_gap(ping: Ping) -> float:
    """End a ping and return the longest time without an echo since the first one, in seconds."""
    end = time.time()
    times = [reply.at for reply in ping.finish()[0]]
    return max(after - before for before, after in pairwise([*times, max(end, times[-1])]))


def small_writes(client: Host, server: Host, address: str, count: int, seed: int = 1) -> list[float]:
    """Send `count` keystroke-sized writes, wait for each to be echoed as a terminal would; return the round trips."""
    random = Random(seed)
    with listening_socket(server, address) as listener, client.socket() as connection:
        listener.settimeout(10)
        connection.settimeout(10)
        echo = Thread(target=_echo_once, args=(listener,), daemon=True)
        echo.start()
        connection.connect((address, listener.getsockname()[1]))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times = [_round_trip(connection, random.randbytes(random.randint(1, 48))) for _ in range(count)]
        connection.shutdown(socket.SHUT_WR)
        echo.join(10)
        return times


def _echo_once(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while piece := connection.recv(4096):
            connection.sendall(piece)


def _round_trip(connection: socket.socket, keys: bytes) -> float:
    begin = time.monotonic()
    connection.sendall(keys)
    back = b""
    while len(back) < len(keys):
        piece = connection.recv(4096)
        if not piece:
            raise AssertionError("the echoing side closed the connection")
        back += piece
    assert back == keys
    return time.monotonic() - begin


def throw_garbage(host: Host, target: tuple[str, int], count: int, seed: int = 1) -> None:
    """Send `count` random datagrams of 0 to 1400 bytes to an underlay address, as fast as one socket takes them.

    Half of them begin like a real frame: version and phase nibbles and a plausible length.
    """
    random = Random(seed)
    noise = random.randbytes(1 << 16)
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as thrower:
        for _ in range(count):
            start, length = random.randrange(len(noise) - 1400), random.randrange(1401)
            datagram = noise[start : start + length]
            if length > 4 and random.random() < 0.5:
                datagram = bytes((random.randrange(4), 0)) + (length - 4).to_bytes(2, "little") + datagram[4:]
            thrower.sendto(datagram, target)
