"""One process per key: two nodes with the same key would take each other's links and sessions away.

The file that holds the secret is locked, be it a key file or a configuration with an nsec, for whoever may lock it may
read the key anyway: so nobody else can keep a node from starting. The lock is advisory and the system's own; it is gone
with the process, however that ended, and leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from meshnode.config.errors import ConfigError, os_error_text
from meshnode.config.keyfile import RESOLVE_CONTEXT, IdentitySource
from meshnode.config.load import Loaded
from meshnode.paths import KEY_NAME, key_directory

PATIENCE_SECS = 3.0
"""How long a process that is just stopping may still hold the key."""

_PAUSE_SECS = 0.1
_LOCKS = Path("/proc/locks")


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
    """The lock on `file`, held from `take` until `release` or the end of the process."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._descriptor: int | None = None

    def take(self, sleep: Callable[[float], None] = time.sleep) -> str | None:
        """Lock the file; a line that says why nothing is locked where files of this kind cannot be.

        Raises `ConfigError` when another process holds it, after `PATIENCE_SECS`. The file is only read, so a read-only
        file system is no hindrance.
        """
        try:
            descriptor = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            return self._not_possible(error)
        for attempt in range(round(PATIENCE_SECS / _PAUSE_SECS) + 1):
            if attempt:
                sleep(_PAUSE_SECS)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            except OSError as error:
                os.close(descriptor)
                return self._not_possible(error)
            self._descriptor = descriptor
            return None
        holder = _holder(os.fstat(descriptor))
        os.close(descriptor)
        raise ConfigError(
            "policy",
            f"another process{holder} runs a node with the key in {self.file}; stop it, or give this node a key of its "
            "own (meshctl keygen)",
            context=RESOLVE_CONTEXT,
        )

    def release(self) -> None:
        """Let another process have the key."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _not_possible(self, error: OSError) -> str:
        return f"{self.file} cannot be locked ({os_error_text(error)}): nothing prevents a second node with its key"


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
