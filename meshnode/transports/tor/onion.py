"""The name of an onion service: the key behind it, or the file in which Tor tells it (spec 04 section 7.4)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IDelayedCall

POLL_SECS = 5.0
_KEY = re.compile(r"ED25519-V3:[A-Za-z0-9+/=]{88}")


class OnionKey:
    """Remembers the key of an onion service, so that its name outlives a restart of Tor; with a file, also of the node.

    `trouble(text)` hears of a file that cannot be used.
    """

    def __init__(self, file: Path | None, trouble: Callable[[str], None]) -> None:
        self._file = file
        self._trouble = trouble
        self._key: str | None = None

    def load(self) -> str | None:
        """The key as Tor writes it, None before there is one."""
        if self._key is None and self._file is not None:
            try:
                text = self._file.read_text("ascii").strip()
            except FileNotFoundError:
                return None
            except (OSError, UnicodeError) as error:
                self._trouble(f"the onion key {self._file} cannot be read: {error}")
                return None
            if _KEY.fullmatch(text) is None:
                self._trouble(f"the onion key {self._file} is none; a new one will be made under another name")
                return None
            self._key = text
        return self._key

    def save(self, key: str) -> None:
        """Keep a key that Tor made."""
        self._key = key
        if self._file is None:
            return
        fresh = self._file.with_name(f"{self._file.name}.new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            fresh.unlink(missing_ok=True)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(f"{key}\n")
            fresh.replace(self._file)
        except OSError as error:
            self._trouble(f"the onion key cannot be kept in {self._file}: {error}; the name changes at the next start")


class HostnameFile:
    """Watches for the file in which Tor tells the name of a service it keeps.

    `found(name)` is called with every new name, `trouble(text)` once per cause.
    """

    def __init__(self, path: str, reactor: Any, found: Callable[[str], None], trouble: Callable[[str], None]) -> None:
        self._path = Path(path)
        self._reactor = reactor
        self._found = found
        self._trouble = trouble
        self._name = ""
        self._said = ""
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Look now, and from time to time."""
        self._look()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _look(self) -> None:
        self._timer = self._reactor.callLater(POLL_SECS, self._look)
        try:
            name = self._path.read_text("ascii").strip()
        except (OSError, UnicodeError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            self._complain(f"the onion service has no name yet: {self._path}: {reason}; waiting for Tor to write it")
            return
        if not name.endswith(".onion"):
            self._complain(f"{self._path} holds no onion name; waiting for Tor to write one")
        elif name != self._name:
            self._name = name
            self._found(name)

    def _complain(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._trouble(text)
