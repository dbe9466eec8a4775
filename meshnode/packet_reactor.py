"""Twisted's epoll reactor with a short way to the descriptors that packets come through.

Around each read Twisted names the descriptor for the log, copies a context, and examines what happened: nine calls. For
a lone packet, between which an interpreter sleeps and grows cold, they were a tenth of its way through two nodes (30 us
of 350 in the node that sends it, 38 of 330 in the one that receives it). Descriptors with `read_directly` go without:
they catch what the node above them raises, and prefix no log line.

A node runs on it where there is epoll and no other reactor was asked for (`twistd --reactor=NAME`); it works on every
other as well.
"""

from __future__ import annotations

from collections.abc import Callable
from select import EPOLLIN
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import CONNECTION_LOST, installReactor
from twisted.logger import Logger
from twisted.python import log

_reading = Logger().failureHandler("a descriptor that packets come through failed and is given up")


class PacketReactor(EPollReactor):
    """`EPollReactor`, but for how it calls `doRead` of descriptors whose `read_directly` is true."""

    def __init__(self) -> None:
        self._direct: dict[int, Callable[[], object]] = {}
        super().__init__()

    def addReader(self, reader: Any) -> None:  # noqa: N802
        super().addReader(reader)
        if getattr(reader, "read_directly", False):
            self._direct[reader.fileno()] = reader.doRead

    def removeReader(self, reader: Any) -> None:  # noqa: N802
        super().removeReader(reader)
        # By what is called: the descriptor may have no number any more.
        self._direct = {fd: read for fd, read in self._direct.items() if read != reader.doRead}

    def removeAll(self) -> list[Any]:  # noqa: N802
        self._direct.clear()
        removed: list[Any] = super().removeAll()
        return removed

    def doPoll(self, timeout: float | None) -> None:  # noqa: N802
        """Wait `timeout` seconds, None for as long as it takes, and let what is ready read and write."""
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, len(self._selectables))
        except InterruptedError:
            return
        for fd, event in events:
            read = self._direct.get(fd)
            if read is not None and event == EPOLLIN:
                with _reading:
                    read()
                    continue
                if (failed := self._selectables.get(fd)) is not None:  # it may have taken itself away before
                    self._disconnectSelectable(failed, CONNECTION_LOST, True)
                continue
            selectable = self._selectables.get(fd)  # gone, if one before it took it away
            if selectable is not None:
                log.callWithLogger(selectable, self._doReadOrWrite, selectable, fd, event)

    doIteration = doPoll  # noqa: N815


def install() -> None:
    """Make a `PacketReactor` the reactor of this process."""
    installReactor(PacketReactor())
