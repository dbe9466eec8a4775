"""The control socket seen from outside: one JSON line there, one JSON line back (spec 06 section 1.1)."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from threading import Thread
from typing import Any


class ControlError(RuntimeError):
    """The node answered a request with an error; the text is the node's."""


def exchange(path: Path, request: bytes, timeout: float = 6.0) -> bytes:
    """Send raw bytes, close our half and return everything the node answers; raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused while we were still writing; the answer is waiting
        return b"".join(iter(lambda: connection.recv(65536), b""))


def ask(path: Path, command: str, **params: Any) -> Any:
    """Return the `data` of the answer; raises `ControlError`, or OSError when nobody listens."""
    request: dict[str, Any] = {"command": command}
    if params:
        request["params"] = params
    answer = json.loads(exchange(path, json.dumps(request).encode() + b"\n"))
    if answer["status"] != "ok":
        raise ControlError(answer["message"])
    return answer["data"]


class Watcher:
    """Collects the events of some kinds that happen at a node, from now until `stop`."""

    def __init__(self, path: Path, *kinds: str) -> None:
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(6.0)
        self._connection.connect(str(path))
        request = {"command": "watch", "params": {"events": list(kinds)}}
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        self._lines = self._connection.makefile("r", encoding="utf-8")
        head = json.loads(self._lines.readline())
        assert head["status"] == "ok", head
        self._connection.settimeout(None)
        self.events: list[dict[str, Any]] = []
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._lines:
            if line.strip():  # an empty one tells that the node is there
                self.events.append(json.loads(line))

    def stop(self) -> list[dict[str, Any]]:
        """End, and return what happened."""
        self._connection.shutdown(socket.SHUT_RDWR)
        self._reader.join(5)
        self._lines.close()
        self._connection.close()
        return self.events
