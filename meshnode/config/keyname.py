"""A name on this host that stands for a secret key, held by one process at a time, whatever becomes of the key's file.

It is an abstract Unix socket, which the system takes back with the process, however that ends. The name is derived from
the secret: who has not got the key cannot hold it before a node did. Who saw it meanwhile may, and is told apart by the
user it belongs to. Network namespaces have names of their own: they are different hosts.
"""

from __future__ import annotations

import os
import socket
import sys
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

_PURPOSE = b"meshnode process"
_CREDENTIALS = Struct("3i")
_WAITING = 128


class Holder(NamedTuple):
    """The process that holds a name."""

    pid: int
    user: int


class KeyName:
    """The name of one key, held from `take` until `release` or the end of the process."""

    def __init__(self, secret: bytes) -> None:
        self._address = b"\0meshnode-" + blake2b(key=secret, person=_PURPOSE, digest_size=16).hexdigest().encode()
        self._socket: socket.socket | None = None

    def take(self, trusted: set[int]) -> Holder | None:
        """Hold the name; if a process of one of the `trusted` users does so already, who that is.

        Held by anybody else, and where there are no such names, it is left alone: nobody shall keep a node from
        starting without having its key.
        """
        if self._socket is not None or not sys.platform.startswith("linux"):
            return None
        ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            ours.bind(self._address)
            ours.listen(_WAITING)
        except OSError:
            ours.close()
            holder = self._holder()
            return holder if holder is not None and holder.user in trusted else None
        self._socket = ours
        return None

    def _holder(self) -> Holder | None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as question:
            try:
                question.connect(self._address)
                pid, user, _group = _CREDENTIALS.unpack(
                    question.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
                )
            except OSError:
                return None
        return Holder(pid, user)

    def serve(self) -> None:
        """Let go of those who asked who we are, so that there is room for others."""
        for _ in range(_WAITING + 1):
            try:
                if self._socket is not None:
                    self._socket.accept()[0].close()
            except OSError:
                return

    def release(self) -> None:
        """Let another process have the name."""
        ours, self._socket = self._socket, None
        if ours is not None:
            ours.close()


def trusted_users(status: os.stat_result | None) -> set[int]:
    """Whose processes may run a node with a key: ours, the system's, and those of who owns the file with it."""
    return {0, os.geteuid()} | (set() if status is None else {status.st_uid})
