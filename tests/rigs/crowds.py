"""Crowds of TCP connections that mean no good, opened at a given rate from a host of the lab.

The work is done by a child process on that host: `python -m tests.rigs.crowds KIND ...`. Kinds:

    idle       connects and says nothing
    slow       connects and says a good first message at a byte a second
    random     connects and says a first message that decrypts to nothing
    half-open  sends SYNs from addresses that nobody has
"""

from __future__ import annotations

import argparse
import errno
import json
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from random import Random
from struct import pack
from threading import Event
from typing import Protocol

from tests.rigs.attackers import Flood, attack, forged
from tests.rigs.hosts import Host

KINDS = ("idle", "slow", "random", "half-open")
_PIECES_A_SECOND = 50
_MOST = 3000


@contextmanager
def crowding(host: Host, target: tuple[str, int], kind: str, rate: int, seconds: float) -> Iterator[Flood]:
    """Open `rate` connections a second from `host` to `target` for `seconds`, and keep what is not closed."""
    command = [sys.executable, "-m", "tests.rigs.crowds", kind, target[0], str(target[1])]
    command += ["--rate", str(rate), "--seconds", f"{seconds:g}"]
    with attack(host, f"crowd-{kind}", command) as flood:
        yield flood


class Crowd(Protocol):
    """What is driven in pieces of a fiftieth of a second."""

    def open(self) -> None: ...
    def go_on(self) -> None: ...
    def result(self) -> dict[str, float]: ...


class Connections:
    """Real connections; what the other side closes is closed here as well."""

    def __init__(self, target: tuple[str, int], kind: str, random: Random) -> None:
        self._target = target
        self._kind = kind
        self._messages = forged(random, 200) if kind != "idle" else []
        self._told: dict[socket.socket, int] = {}
        self._told_at: dict[socket.socket, float] = {}
        self._selector = selectors.DefaultSelector()
        self.opened = self.closed = self.failed = self.most = 0

    def open(self) -> None:
        if len(self._told) >= _MOST:
            return
        one = socket.socket()
        one.setblocking(False)
        code = one.connect_ex(self._target)
        if code not in (0, errno.EINPROGRESS):
            one.close()
            self.failed += 1
            return
        self._told[one] = 0
        self._selector.register(one, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def go_on(self) -> None:
        for key, events in self._selector.select(0):
            one = key.fileobj
            assert isinstance(one, socket.socket)
            if events & selectors.EVENT_READ:
                self._read(one)
            elif self._told[one] == 0:
                self._connected(one)
        if self._kind == "slow":
            self._drip()
        self.most = max(self.most, len(self._told))

    def _connected(self, one: socket.socket) -> None:
        self.opened += 1
        self._selector.modify(one, selectors.EVENT_READ)
        self._told_at[one] = time.monotonic()
        if self._kind == "random":
            self._say(one, len(self._messages[0]))

    def _drip(self) -> None:
        now = time.monotonic()
        for one, told_at in list(self._told_at.items()):
            if now - told_at >= 1.0:
                self._told_at[one] = now
                self._say(one, 1)

    def _say(self, one: socket.socket, size: int) -> None:
        message, told = self._messages[one.fileno() % len(self._messages)], self._told[one]
        self._told[one] += size
        try:
            one.send(message[told : told + size])
        except OSError:
            self._drop(one)

    def _read(self, one: socket.socket) -> None:
        try:
            if one.recv(2048):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._drop(one)

    def _drop(self, one: socket.socket) -> None:
        self.closed += 1
        self._selector.unregister(one)
        self._told.pop(one)
        self._told_at.pop(one, None)
        one.close()

    def result(self) -> dict[str, float]:
        return {"opened": self.opened, "closed": self.closed, "failed": self.failed, "most": self.most}


class HalfOpen:
    """SYNs alone, from neighbours of the target that do not exist."""

    def __init__(self, target: tuple[str, int], random: Random) -> None:
        self._target = target
        self._random = random
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.opened = self.failed = 0

    def open(self) -> None:
        network = IPv4Address(self._target[0]).packed[:3]
        source = network + bytes([self._random.randrange(100, 250)])
        try:
            self._socket.sendto(self._syn(source), self._target)
            self.opened += 1
        except OSError:
            self.failed += 1

    def _syn(self, source: bytes) -> bytes:
        target = IPv4Address(self._target[0]).packed
        port = self._random.randrange(1024, 65536)
        head = pack(">HHIIBBH", port, self._target[1], self._random.getrandbits(32), 0, 5 << 4, 2, 64240)
        check = checksum(source + target + pack(">HH", socket.IPPROTO_TCP, 20) + head + bytes(4))
        return (
            pack(">BBHHHBBH", 0x45, 0, 40, 0, 0, 64, socket.IPPROTO_TCP, 0) + source + target + head + check + bytes(2)
        )

    def go_on(self) -> None:
        """Nothing comes back here."""

    def result(self) -> dict[str, float]:
        return {"opened": self.opened, "closed": 0, "failed": self.failed, "most": 0}


def checksum(data: bytes) -> bytes:
    """The Internet checksum of an even number of bytes."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def run(crowd: Crowd, rate: int, seconds: float) -> dict[str, float]:
    """Open at an even rate until the time is over or somebody asks to end."""
    enough = Event()
    signal.signal(signal.SIGTERM, lambda *_: enough.set())
    begin, tried = time.monotonic(), 0
    while (elapsed := time.monotonic() - begin) < seconds and not enough.is_set():
        for _ in range(int(elapsed * rate) - tried):
            crowd.open()
            tried += 1
        crowd.go_on()
        enough.wait(1 / _PIECES_A_SECOND)
    return {**crowd.result(), "tried": tried, "seconds": time.monotonic() - begin}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(2 * _MOST, hard), hard))
    target, random = (options.address, options.port), Random(options.seed)
    crowd = HalfOpen(target, random) if options.kind == "half-open" else Connections(target, options.kind, random)
    print("begins", flush=True)
    print(json.dumps(run(crowd, options.rate, options.seconds)), flush=True)


if __name__ == "__main__":
    main()
