"""What can be found out about this machine. Tests put another root directory and other answers in its place."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from pathlib import Path

SECONDS = 3.0
"""How long one question to the machine may take."""

_TIME_ERROR = 5
_SIOCGIFMTU = 0x8921


class Machine:
    """Files below `root`, programs, the resolver, the clock."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        return self._root / name.lstrip("/")

    def read(self, name: str) -> str | None:
        """The text of a file, None when it cannot be read."""
        try:
            return self.path(name).read_text(errors="replace")
        except OSError:
            return None

    def names(self, directory: str) -> list[str]:
        """The names in a directory, none when there is no such."""
        try:
            return sorted(entry.name for entry in self.path(directory).iterdir())
        except OSError:
            return []

    def run(self, *command: str) -> str | None:
        """What a program prints, None when it is missing or fails."""
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    def lookup(self, name: str) -> list[str] | None:
        """The IPv6 addresses the system's resolver gives for a name, None when it does not answer in time."""
        pool = ThreadPoolExecutor(1)
        asked = pool.submit(socket.getaddrinfo, name, None, socket.AF_INET6, socket.SOCK_STREAM)
        try:
            return [str(address[4][0]) for address in asked.result(SECONDS)]
        except socket.gaierror:
            return []
        except TooLate:
            return None
        finally:
            pool.shutdown(wait=False)

    def mtu(self, interface: str) -> int | None:
        """The MTU of a network interface in bytes, None when there is no such interface."""
        request = struct.pack("16s16x", interface.encode()[:15])
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                return int(struct.unpack_from("i", fcntl.ioctl(sock, _SIOCGIFMTU, request), 16)[0])
        except OSError:
            return None

    def reach(self, host: str, port: int) -> str | None:
        """Connect over TCP; None when that works, else why not."""
        try:
            socket.create_connection((host, port), SECONDS).close()
        except OSError as error:
            return (error.strerror or str(error)).lower()
        return None

    def wall(self) -> float:
        return time.time()

    def clock_is_set(self) -> bool | None:
        """Whether the kernel counts the clock as synchronised; None when it cannot be asked."""
        try:
            state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
        except (AttributeError, OSError):
            return None
        return None if state < 0 else state != _TIME_ERROR
