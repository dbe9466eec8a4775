"""What this process is to the system: its reactor, clock, memory, rights, and the service manager that started it."""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from typing import Any

from twisted.logger import Logger

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # only Linux has the former

_log = Logger(namespace="meshnode")


class MonotonicClock:
    """A reactor's timers, with a clock that is never set but goes on while the machine is suspended.

    So a node that was suspended for long knows that its peers have given it up.
    """

    @staticmethod
    def seconds() -> float:
        return time.clock_gettime(_CLOCK)

    def __init__(self, reactor: Any) -> None:
        self.callLater = reactor.callLater


def choose_reactor() -> Any:
    """The reactor of this process: the one that was asked for, else the one made for packets where there is epoll."""
    if hasattr(select, "epoll") and "twisted.internet.reactor" not in sys.modules:
        from meshnode.packet_reactor import install

        install()
    from twisted.internet import reactor

    return reactor


def keep_keys_out_of_core_files() -> None:
    """Let no crash write the memory of this process, and with it every key, to a file."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def notify(state: str) -> None:
    """Tell the service manager, where there is one that listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(state.encode(), address)
        except OSError as error:
            _log.warn("the service manager cannot be told {state}: {error}", state=state, error=error)
