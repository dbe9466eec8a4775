"""The last lines of the log, for screens and reports."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from .encoding import Answer

KEPT = 500
NAMESPACE = "meshnode"
_LEVELS = {LogLevel.debug: "debug", LogLevel.info: "info", LogLevel.warn: "warn", LogLevel.error: "error"}


@implementer(ILogObserver)
class RecentLines:
    """An observer of Twisted's log that keeps what this program said."""

    def __init__(self) -> None:
        self._lines: deque[tuple[float, str, str]] = deque(maxlen=KEPT)

    def start(self) -> None:
        globalLogPublisher.addObserver(self)

    def stop(self) -> None:
        globalLogPublisher.removeObserver(self)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Keep a line (`ILogObserver`)."""
        if str(event.get("log_namespace", "")).partition(".")[0] == NAMESPACE:
            level = _LEVELS.get(event["log_level"], "error")
            self._lines.append((float(event["log_time"]), level, formatEvent(dict(event))))

    def show(self, params: Any) -> Answer:
        """The newest lines, oldest first; at most `count` of them."""
        count = params.get("count") if isinstance(params, dict) else None
        lines = list(self._lines)
        if isinstance(count, int) and not isinstance(count, bool):
            lines = lines[max(0, len(lines) - max(0, count)) :]
        return {"lines": [{"time_ms": int(at * 1000), "level": level, "text": text} for at, level, text in lines]}
