"""The operator's files as a running node follows them: with what is wrong with them told to the log."""

from __future__ import annotations

from collections.abc import Callable

from meshnode.access import AccessControl
from meshnode.ipv6.hosts import HostMap

Log = Callable[[str, str, str], None]
"""`log(level, text, subsystem)`."""


class WatchedHosts:
    """The host map with its complaints passed on (`HostNames`)."""

    def __init__(self, hosts: HostMap, log: Log) -> None:
        self.map = hosts
        self.name_of = hosts.name_of
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
