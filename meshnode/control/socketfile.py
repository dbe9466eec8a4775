"""The file of the control socket: its directory, its mode, and who owned it before (spec 06 section 1)."""

from __future__ import annotations

import grp
import os
import secrets
import socket
import stat
from collections.abc import Mapping

GROUP = "fips"
SOCKET_MODE = 0o770
DIRECTORY_MODE = 0o750
BACKLOG = 256
LONGEST_PATH = 107
"""Bytes of a Unix socket's path: sun_path without the NUL at its end."""


class SocketFileError(Exception):
    """There can be no socket at that path; the text is one line for the operator."""


class SocketFile:
    """A listening Unix socket at a path.

    Everything that merely could be safer is noted in `warnings`. `environment` tells where run-time directories are.
    """

    def __init__(self, path: str, environment: Mapping[str, str]) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._directory = os.path.dirname(path)
        self._run_time_directories = {"/run/fips", "/var/run/fips"}
        if runtime := environment.get("XDG_RUNTIME_DIR"):
            self._run_time_directories.add(os.path.join(runtime, "fips"))
        self._mark: tuple[int, int] | None = None

    def open(self) -> socket.socket:
        """Make the directory, take the path over where nobody listens, and listen. Raises `SocketFileError`."""
        length = len(os.fsencode(self.path))
        if length > LONGEST_PATH:
            raise SocketFileError(f"control socket {self.path}: {length} bytes, a path may have {LONGEST_PATH}")
        try:
            self._prepare_directory()
            self._clear_path()
            return self._listen()
        except OSError as error:
            raise SocketFileError(f"control socket {self.path}: {error.strerror or error}") from None

    def is_gone(self) -> bool:
        """Whether there is nothing at our path any more."""
        return not os.path.lexists(self.path)

    def remove(self) -> None:
        """Remove the file, unless it has become somebody else's."""
        if self._mark is None:
            return
        try:
            if _mark_of(self.path) == self._mark:
                os.unlink(self.path)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self.warnings.append(f"cannot remove {self.path}: {error.strerror}")
        self._mark = None

    def _prepare_directory(self) -> None:
        directory = self._directory
        if not directory:
            return
        is_new = not os.path.isdir(directory)
        os.makedirs(directory, exist_ok=True)
        if is_new or directory in self._run_time_directories:
            self._protect(directory, DIRECTORY_MODE, directory)

    def _clear_path(self) -> None:
        try:
            mode = os.lstat(self.path).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise SocketFileError(
                f"control socket {self.path}: something that is no socket is there; "
                "remove it or set node.control.socket_path"
            )
        if _somebody_listens(self.path):
            raise SocketFileError(f"control socket already in use: {self.path}")
        os.unlink(self.path)

    def _listen(self) -> socket.socket:
        """Listen under another name first: whoever finds the file at the path is answered, and its mode is right."""
        draft = self._draft_path()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            listener.bind(draft)
            try:
                self._protect(draft, SOCKET_MODE, self.path)
                listener.listen(BACKLOG)
                self._publish(draft)
            finally:
                os.unlink(draft)
        except (OSError, SocketFileError):
            listener.close()
            raise
        return listener

    def _draft_path(self) -> str:
        """Return an unused name in the same directory that is no longer than ours, which may be as long as any may."""
        directory, name = os.path.split(self.path)
        room = max(2, len(os.fsencode(name)))
        return os.path.join(directory, f".{secrets.token_hex(8)}"[:room])

    def _publish(self, draft: str) -> None:
        """Give the socket its name. A link, unlike a rename, does not push aside whoever started at the same moment."""
        mark = _mark_of(draft)
        try:
            os.link(draft, self.path)
        except FileExistsError:
            raise SocketFileError(f"control socket already in use: {self.path}") from None
        self._mark = mark

    def _protect(self, path: str, mode: int, shown: str) -> None:
        """Give `path` its mode and the group, as far as we are allowed to; warnings call it `shown`."""
        group = _group_id()
        try:
            status = os.stat(path)
            if group is not None and status.st_gid != group:
                os.chown(path, -1, group)
            if stat.S_IMODE(status.st_mode) != mode:
                os.chmod(path, mode)
        except OSError as error:
            self.warnings.append(f"cannot set mode {mode:04o} and group {GROUP} of {shown}: {error.strerror}")


def _somebody_listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            return True  # so many wait in its queue that it must be alive
        return True


def _mark_of(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _group_id() -> int | None:
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None
