"""One process per key: two nodes with the same key would take each other's links and sessions away.

The file that holds the secret is locked, be it a key file or a configuration with an nsec, for whoever may lock it may
read the key anyway: so nobody else can keep a node from starting. The lock is advisory and the system's own; it is gone
with the process, however that ended, and leaves nothing behind. A file that is put in its place is another one to the
system: it is locked when it is noticed, and until then the name of the key keeps a second process on this host away.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from meshnode.config.errors import ConfigError, os_error_text
from meshnode.config.keyfile import RESOLVE_CONTEXT, IdentitySource
from meshnode.config.keyname import KeyName, trusted_users
from meshnode.config.load import Loaded
from meshnode.identity import Identity
from meshnode.paths import KEY_NAME, key_directory

PATIENCE_SECS = 3.0
"""How long a process that is just stopping may still hold the key."""

_PAUSE_SECS = 0.1
_LOCKS = Path("/proc/locks")
_LARGEST_FILE = 1 << 20
_NOTHING = -1
_Inode = tuple[int, int]


def secret_file(loaded: Loaded, source: IdentitySource, directory: Path) -> Path | None:
    """The file with the secret key of this start; None for a key that no other process can have.

    `directory` is the one that was current when the configuration was read.
    """
    if source is IdentitySource.CONFIGURATION:
        place = loaded.places.get("node.identity.nsec")
        return None if place is None else directory / place.file
    if source is IdentitySource.EPHEMERAL:
        return None
    return key_directory(loaded.paths) / KEY_NAME


class KeyLock:
    """The hold on the key of `identity`, which is in `file`, from `take` until `release` or the end of the process."""

    def __init__(self, file: Path, identity: Identity) -> None:
        self.file = file
        self._forms = (identity.nsec.encode(), identity.secret.hex().encode())
        self._name = KeyName(identity.secret)
        self._descriptor: int | None = None
        self._problem: str | None = None
        self._rival: _Inode | None = None

    def take(self, sleep: Callable[[float], None] = time.sleep) -> str | None:
        """Hold the key; a line that says why its file is not locked where files of this kind cannot be.

        Raises `ConfigError` when another process holds it, after `PATIENCE_SECS`. The file is only read, so a read-only
        file system is no hindrance.
        """
        self._problem = None
        try:
            descriptor = self._open()
            users = trusted_users(os.fstat(descriptor))
        except OSError as error:
            self._problem, descriptor, users = self._not_possible(error), _NOTHING, trusted_users(None)
        for attempt in range(round(PATIENCE_SECS / _PAUSE_SECS) + 1):
            if attempt:
                sleep(_PAUSE_SECS)
            holder = self._try(descriptor, users)
            if holder is None:
                return self._problem
        if self._descriptor is None and self._problem is None:
            os.close(descriptor)
        self.release()
        raise ConfigError(
            "policy",
            f"another process{holder} runs a node with the key in {self.file}; stop it, or give this node a key of its "
            "own (meshctl keygen)",
            context=RESOLVE_CONTEXT,
        )

    def _try(self, descriptor: int, users: set[int]) -> str | None:
        """Take what is left to take; who has it, as text to put behind a noun, otherwise."""
        if self._descriptor is None and self._problem is None:
            try:
                _lock(descriptor)
                self._descriptor = descriptor
            except BlockingIOError:
                return _holder(os.fstat(descriptor))
            except OSError as error:
                self._problem = self._not_possible(error)
                os.close(descriptor)
        named = self._name.take(users)
        return None if named is None else f" (pid {named.pid})"

    def look(self) -> str | None:
        """Follow the key into a file that took the place of ours; a line, once, if another process has locked that."""
        self._name.serve()
        if self._descriptor is None:
            return None
        try:
            status = os.stat(self.file)
            if _inode(status) in (_inode(os.fstat(self._descriptor)), self._rival):
                return None
            return self._follow()
        except OSError:
            return None  # gone, as while an editor saves it

    def _follow(self) -> str | None:
        descriptor = self._open()
        found = _inode(os.fstat(descriptor))
        try:
            if self._has_our_key(descriptor):
                _lock(descriptor)
                descriptor, self._descriptor = self._descriptor or descriptor, descriptor
            return None
        except BlockingIOError:
            self._rival = found
            holder = _holder(os.fstat(descriptor))
            return f"another process{holder} runs a node with our key, in the {self.file} that was put in place of ours"
        finally:
            os.close(descriptor)

    def _has_our_key(self, descriptor: int) -> bool:
        text = os.pread(descriptor, _LARGEST_FILE, 0)
        return self._forms[0] in text or self._forms[1] in text.lower()

    def _open(self) -> int:
        return os.open(self.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)

    def release(self) -> None:
        """Let another process have the key."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
        self._name.release()

    def _not_possible(self, error: OSError) -> str:
        return f"{self.file} cannot be locked ({os_error_text(error)}): nothing prevents a second node with its key"


def _lock(descriptor: int) -> None:
    """Raises `BlockingIOError` when another process has the lock."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _inode(status: os.stat_result) -> _Inode:
    return status.st_dev, status.st_ino


def _holder(status: os.stat_result) -> str:
    """Who holds the lock on a file, as text to put behind a noun; empty when the system does not tell."""
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return ""
    for _number, kind, _advice, _access, process, place, *_ in map(str.split, lines):
        if kind == "FLOCK" and place == device and int(process) > 0:
            return f" (pid {process})"
    return ""
