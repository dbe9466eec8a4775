"""The control socket seen from outside: one JSON line there, one JSON line back (spec 06 section 1.1)."""

from __future__ import annotations

import json
import socket
from pathlib import Path
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
