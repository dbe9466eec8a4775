"""Notices when interfaces, addresses or routes of this machine change (rtnetlink, Linux)."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

SETTLE_SECS = 0.05
"""Changes come in groups, an address and its routes; this long after the first they are acted upon together."""

PAUSE_SECS = 0.25
"""Least time between two calls, whatever happens to the interfaces of containers and the like."""

# linux/rtnetlink.h: links, IPv4 addresses and routes, IPv6 addresses and routes
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_READ_SIZE = 65536
_MOST_READS = 64


def kernel_events() -> socket.socket:
    """Return a socket that becomes readable with every change. Raises OSError where there is no such thing."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        opened.bind((0, _GROUPS))
    except OSError:
        opened.close()
        raise
    return opened


@implementer(IReadDescriptor)
class NetworkWatch:
    """Calls `changed()` soon after every change, from `start` to `stop`.

    What changed is not told: whoever is called looks at what matters to it.
    """

    def __init__(
        self, reactor: Any, changed: Callable[[], None], events: Callable[[], socket.socket] = kernel_events
    ) -> None:
        self._reactor = reactor
        self._changed = changed
        self._events = events
        self._socket: socket.socket | None = None
        self._timer: Any = None
        self._called_at = float("-inf")

    def start(self) -> str | None:
        """Begin to watch; returns a line for the operator where that is not possible."""
        try:
            self._socket = self._events()
        except (OSError, AttributeError) as error:
            return f"changes of the network are not noticed at once, only by silence: {error}"
        self._reactor.addReader(self)
        return None

    def stop(self) -> None:
        """Call nobody any more. Harmless when not started."""
        opened, self._socket = self._socket, None
        if opened is not None:
            self._reactor.removeReader(self)
            opened.close()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        return "network watch"

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Note that the reactor gave the descriptor up."""
        self.stop()

    def doRead(self) -> None:  # noqa: N802
        """Empty the socket; the contents do not matter, and that there was more than it holds even less."""
        assert self._socket is not None
        for _ in range(_MOST_READS):
            try:
                self._socket.recv(_READ_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    self.stop()
                    return
        self._soon()

    def _soon(self) -> None:
        if self._timer is None or not self._timer.active():
            pause = self._called_at + PAUSE_SECS - self._reactor.seconds()
            self._timer = self._reactor.callLater(max(SETTLE_SECS, pause), self._call)

    def _call(self) -> None:
        self._called_at = self._reactor.seconds()
        self._changed()
