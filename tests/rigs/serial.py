"""A serial cable: two terminal devices of this machine and a thread that carries bytes between them."""

from __future__ import annotations

import os
import selectors
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

_CHUNK = 65536
_LONGEST_WAIT = 0.05


class SerialCable:
    """`left` and `right` are the paths of its two ends; what is written at one comes out at the other."""

    def __init__(self) -> None:
        pairs = [os.openpty() for _ in range(2)]
        self._masters = [master for master, _ in pairs]
        self._slaves = [slave for _, slave in pairs]  # kept open: a terminal nobody has open is hung up
        for descriptor in (*self._masters, *self._slaves):
            tty.setraw(descriptor)
        self.left, self.right = (os.ttyname(slave) for slave in self._slaves)
        self._is_cut, self._ended = False, Event()
        for master in self._masters:
            os.set_blocking(master, False)
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Let nothing through from now on; both ends notice only the silence."""
        self._is_cut = True

    def mend(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self._ended.set()
        self._thread.join(5)
        for descriptor in (*self._masters, *self._slaves):
            os.close(descriptor)

    def _work(self) -> None:
        ways = dict(zip(self._masters, self._masters[::-1], strict=True))
        with selectors.DefaultSelector() as selector:
            for master in self._masters:
                selector.register(master, selectors.EVENT_READ)
            while not self._ended.is_set():
                for key, _ in selector.select(_LONGEST_WAIT):
                    self._carry(key.fd, ways[key.fd])

    def _carry(self, source: int, destination: int) -> None:
        with suppress(OSError):
            data = os.read(source, _CHUNK)
            while data and not self._is_cut and not self._ended.is_set():
                with suppress(BlockingIOError):
                    data = data[os.write(destination, data) :]


@contextmanager
def serial_cable() -> Iterator[SerialCable]:
    cable = SerialCable()
    try:
        yield cable
    finally:
        cable.close()
