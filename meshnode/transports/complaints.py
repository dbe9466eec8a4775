"""Log lines about trouble with peers, few enough that a flood of trouble does not become a flood of lines."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

INTERVAL = 60.0
LINES_PER_INTERVAL = 8


class Complaints:
    """At most `LINES_PER_INTERVAL` warnings every `INTERVAL` seconds, each pair of peer and cause once."""

    def __init__(self, log: Logger, seconds: Callable[[], float]) -> None:
        self._log = log
        self._seconds = seconds
        self._said: set[tuple[str, str]] = set()
        self._until = float("-inf")
        self._left_out = 0

    def warn(self, what: str, peer: str, cause: str) -> None:
        """Log `what` with the peer and the cause, unless it was said lately or enough was said."""
        now = self._seconds()
        if now >= self._until:
            self._until = now + INTERVAL
            self._said.clear()
        if (peer, cause) in self._said or len(self._said) >= LINES_PER_INTERVAL:
            self._left_out += 1
            return
        self._said.add((peer, cause))
        left_out, self._left_out = self._left_out, 0
        suffix = f" ({left_out} more since the last such line)" if left_out else ""
        self._log.warn("{what} {peer}: {cause}{suffix}", what=what, peer=peer, cause=cause, suffix=suffix)
