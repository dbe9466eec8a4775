"""A relay in the path of one link: it makes a cable slow, lossy or dead without a word, in either direction.

The dialling node's datagrams go to a port of its own host, where a thread of ours holds them back and passes them on.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random
from threading import Event, Thread

from tests.rigs.hosts import Host
from tests.rigs.meshes import Cable

_BUFFER = 4 << 20
_LONGEST_WAIT = 0.05


@dataclass
class Direction:
    """What happens to datagrams of one direction; may be changed while they flow.

    Those of more than `longest` bytes are swallowed, as by a narrow path whose routers are not allowed to say so.
    """

    delay: float = 0.0
    loss: float = 0.0
    longest: int = 65535


@dataclass
class Relay:
    """Datagrams to `port` of `host` come out at `target`, and the answers come back to whoever sent last."""

    host: Host
    target: tuple[str, int]
    there: Direction = field(default_factory=Direction)
    back: Direction = field(default_factory=Direction)
    seed: int = 1

    def __post_init__(self) -> None:
        self._front, self._rear = self._socket(), self._socket()
        self._front.bind(("127.0.0.1", 0))
        self._rear.connect(self.target)
        self.port: int = self._front.getsockname()[1]
        self._client: tuple[str, int] | None = None
        self._waiting: list[tuple[float, int, bool, bytes]] = []
        self._number, self._random, self._ended = count(), Random(self.seed), Event()
        self._thread = Thread(target=self._work, daemon=True)

    def _socket(self) -> socket.socket:
        made = self.host.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        made.setblocking(False)
        return made

    def both(self, *, delay: float = 0.0, loss: float = 0.0) -> None:
        """Treat both directions alike."""
        for direction in (self.there, self.back):
            direction.delay, direction.loss = delay, loss

    def cut(self) -> None:
        """Swallow everything, without a word to anybody."""
        self.both(loss=1.0)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join(5)
        self._front.close()
        self._rear.close()

    def _work(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._front, selectors.EVENT_READ)
            selector.register(self._rear, selectors.EVENT_READ)
            while not self._ended.is_set():
                due = self._waiting[0][0] - time.monotonic() if self._waiting else _LONGEST_WAIT
                for key, _ in selector.select(max(0.0, min(due, _LONGEST_WAIT))):
                    self._take(outward=key.fileobj is self._front)
                self._pass_on(time.monotonic())

    def _take(self, outward: bool) -> None:
        direction = self.there if outward else self.back
        with suppress(OSError):  # nothing left, or the far host has no such port yet
            while True:
                datagram, sender = (self._front if outward else self._rear).recvfrom(65535)
                if outward:
                    self._client = sender
                if len(datagram) <= direction.longest and self._random.random() >= direction.loss:
                    due = time.monotonic() + direction.delay
                    heappush(self._waiting, (due, next(self._number), outward, datagram))

    def _pass_on(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            _, _, outward, datagram = heappop(self._waiting)
            with suppress(OSError):
                if outward:
                    self._rear.send(datagram)
                elif self._client is not None:
                    self._front.sendto(datagram, self._client)


@contextmanager
def relayed(cable: Cable, *, delay: float = 0.0, port: int = 2121) -> Iterator[Relay]:
    """Put a relay into a cable whose dialling node has not been started yet; `delay` is per direction, in seconds."""
    relay = Relay(cable.left.host, (cable.address, port))
    relay.both(delay=delay)
    cable.left.redirect(f"{cable.address}:{port}", f"127.0.0.1:{relay.port}")
    relay.start()
    try:
        yield relay
    finally:
        relay.close()
