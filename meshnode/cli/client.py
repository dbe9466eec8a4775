"""Asking a running node: one JSON line there, one back (spec 06 sections 1 and 8)."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from meshnode import paths

TIMEOUT_SECS = 5.0
_SILENCE_SECS = 60.0
"""A node that streams says something, be it an empty line, more often than this."""


class ToolError(Exception):
    """The command cannot be carried out; the text is one line for the person who typed it."""


def default_socket(environment: Mapping[str, str]) -> str:
    """Where a node has its control socket unless told otherwise (spec 05 section 9)."""
    return str(paths.find_socket(paths.CONTROL_SOCKET, environment))


class Client:
    """Asks the node whose control socket is at `path`."""

    def __init__(self, path: str, timeout: float = TIMEOUT_SECS) -> None:
        self.path = path
        self._timeout = timeout

    def ask(self, command: str, params: Mapping[str, Any] | None = None) -> Any:
        """The `data` of the answer. Raises `ToolError` with the node's own words, or with why there is no answer."""
        request: dict[str, Any] = {"command": command}
        if params is not None:
            request["params"] = params
        answer = self._parse(self._exchange(json.dumps(request).encode() + b"\n"))
        if answer.get("status") == "ok":
            return answer.get("data")
        raise ToolError(str(answer.get("message", "the node refused without a reason")))

    def watch(self, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Events as they happen, until the node hangs up. Raises `ToolError`."""
        return self.stream("watch", params)

    def stream(self, command: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The rows of an answer that goes on, until the node hangs up. Raises `ToolError`."""
        request = json.dumps({"command": command, "params": params}).encode() + b"\n"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                connection.settimeout(self._timeout)
                connection.connect(self.path)
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
                lines = connection.makefile("rb")
                answer = self._parse(lines.readline())
                if answer.get("status") != "ok":
                    raise ToolError(str(answer.get("message", "the node refused without a reason")))
                connection.settimeout(_SILENCE_SECS)
                for line in lines:
                    if line.strip():
                        yield self._parse(line)
            except TimeoutError:
                raise ToolError(f"the node at {self.path} fell silent") from None
            except OSError as error:
                raise ToolError(self._reason(error)) from None

    def _exchange(self, request: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(self._timeout)
            try:
                connection.connect(self.path)
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
                return self._first_line(connection)
            except TimeoutError:
                raise ToolError(f"the node at {self.path} did not answer within {self._timeout:.0f} s") from None
            except OSError as error:
                raise ToolError(self._reason(error)) from None

    def _first_line(self, connection: socket.socket) -> bytes:
        parts: list[bytes] = []
        while part := connection.recv(65536):
            line, newline, _rest = part.partition(b"\n")
            parts.append(line)
            if newline:
                break
        return b"".join(parts)

    def _parse(self, line: bytes) -> dict[str, Any]:
        if not line:
            raise ToolError(f"the node at {self.path} hung up without an answer")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ToolError(f"what listens at {self.path} is no node: its answer is not a JSON object")
        return answer

    def _reason(self, error: OSError) -> str:
        if isinstance(error, FileNotFoundError):
            return (
                f"no node at {self.path}: there is no such socket; "
                "start one with `twistd -n meshnode`, or name its socket with --socket"
            )
        if isinstance(error, ConnectionRefusedError) and not Path(self.path).is_socket():
            return f"no node at {self.path}: that is no socket; name the one of the node with --socket"
        if isinstance(error, ConnectionRefusedError):
            return f"no node at {self.path}: nobody listens there any more; start one with `twistd -n meshnode`"
        if isinstance(error, PermissionError):
            return f"cannot use {self.path}: permission denied; join group `fips` (and log in again) or use sudo"
        return f"cannot use {self.path}: {error.strerror or error}"
