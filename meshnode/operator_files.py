"""The operator's files as a running node follows them: with what is wrong with them told to the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import LoopingCall

from meshnode.access import AccessControl
from meshnode.config.keylock import KeyLock
from meshnode.ipv6.hosts import HostMap

Log = Callable[[str, str, str], None]
"""`log(level, text, subsystem)`."""

KEY_WATCH_SECS = 5.0


class WatchedHosts:
    """The host map with its complaints passed on (`HostNames`)."""

    def __init__(self, hosts: HostMap, log: Log) -> None:
        self.map = hosts
        self.name_of = hosts.name_of
        self.call = hosts.call
        self.forget = hosts.forget
        self._log = log

    def refresh(self) -> bool:
        """Read the hosts file again if it changed."""
        changed = self.map.refresh()
        self.report()
        return changed

    def report(self) -> None:
        """Log what was wrong with the file."""
        warnings, self.map.warnings = self.map.warnings, []
        for warning in warnings:
            self._log("warn", warning, "names")


class WatchedKey:
    """The key of this node, held for this process alone while its file may be replaced."""

    def __init__(self, lock: KeyLock | None, reactor: Any, log: Log) -> None:
        self._lock = lock
        self._log = log
        self._watch = LoopingCall(self.look)
        self._watch.clock = reactor

    def take(self) -> None:
        """Hold the key. Raises `ConfigError` when another process does."""
        problem = None if self._lock is None else self._lock.take()
        if problem is not None:
            self._log("debug", problem, "config")

    def watch(self) -> None:
        """Begin to look after the file."""
        if self._lock is not None:
            self._watch.start(KEY_WATCH_SECS, now=False)

    def look(self) -> None:
        """Follow the key into a new file."""
        problem = None if self._lock is None else self._lock.look()
        if problem is not None:
            self._log("error", f"{problem}: each takes the other's links and sessions away; stop one", "config")

    def release(self) -> None:
        """Let another process have the key."""
        if self._watch.running:
            self._watch.stop()
        if self._lock is not None:
            self._lock.release()


class WatchedAccess:
    """The access control list with its complaints passed on (`Admission`)."""

    def __init__(self, lists: AccessControl, log: Log) -> None:
        self.lists = lists
        self.admit = lists.admit
        self.status = lists.status
        self._log = log

    def refresh(self) -> bool:
        """Read what changed; whether some decision may be another one."""
        changed = self.lists.refresh()
        if changed:
            self.report()
            self._log("info", f"access control list read again: {self.lists.mode()}", "access")
        return changed

    def report(self) -> None:
        """Log what is wrong with the files."""
        warnings, self.lists.warnings = self.lists.warnings, []
        for warning in warnings:
            self._log("warn", warning, "access")
