"""The operator's log: levels by subsystem, repeats held back, and lines as text, as JSON or for journald.

What is to be logged goes through an `OperatorLog`; what comes out of Twisted's log, which is that and whatever
libraries have to say, is written by one of the observers here, or by Twisted's own for plain text.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from twisted.logger import ILogObserver, Logger, LogLevel, formatEvent
from zope.interface import implementer

from meshnode.mesh.rate_limit import TokenBucket

LEVELS: Final[Mapping[str, int]] = {"trace": 0, "debug": 1, "info": 2, "warn": 3, "error": 4}
JOURNAL: Final = "/run/systemd/journal/socket"

SAME_LINE_TIMES, SAME_LINE_SECS = 5, 60.0
"""One line is written this often in this time; how often it was held back is said with its next one."""

_REMEMBERED_LINES = 512
_BURST, _PER_SECOND = 200, 10.0
_URGENT = LEVELS["warn"]
_PRIORITIES = {LogLevel.debug: 7, LogLevel.info: 6, LogLevel.warn: 4, LogLevel.error: 3, LogLevel.critical: 2}
_LONGEST = 48_000  # a datagram to the journal has to fit into its socket's buffer


class OperatorLog:
    """Passes lines of at least the wanted level on to Twisted's log.

    `levels` holds levels of single subsystems, which win over `level`. A subsystem that has too much to say is quiet
    for a while, except for warnings and errors.
    """

    def __init__(self, level: str, levels: Mapping[str, str], seconds: Callable[[], float]) -> None:
        self.level = level
        self.levels = dict(levels)
        self._seconds = seconds
        self._repeats = _Repeats()
        self._budgets: dict[str, TokenBucket] = {}
        self._left_out: dict[str, int] = {}
        self._loggers: dict[str, Logger] = {}

    def __call__(self, level: str, text: str, subsystem: str = "node") -> None:
        """Log one line."""
        rank = LEVELS[level]
        if rank < LEVELS[self.levels.get(subsystem, self.level)]:
            return
        now = self._seconds()
        line = self._repeats.pass_on(text, now)
        if line is None:
            return
        if rank < _URGENT and not self._budget(subsystem, now).allow(now):
            self._left_out[subsystem] = self._left_out.get(subsystem, 0) + 1
            return
        left_out = self._left_out.pop(subsystem, 0)
        if left_out:
            line = f"{line} ({left_out} lines before this one were left out)"
        self._emit(subsystem, level, line)

    def _budget(self, subsystem: str, now: float) -> TokenBucket:
        if subsystem not in self._budgets:
            self._budgets[subsystem] = TokenBucket(_BURST, _PER_SECOND, now)
        return self._budgets[subsystem]

    def _emit(self, subsystem: str, level: str, text: str) -> None:
        logger = self._loggers.get(subsystem)
        if logger is None:
            name = "meshnode" if subsystem == "node" else f"meshnode.{subsystem}"
            logger = self._loggers[subsystem] = Logger(namespace=name)
        logger.emit(LogLevel.lookupByName("debug" if level == "trace" else level), "{text}", text=text)


class _Repeats:
    """Counts equal lines."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def pass_on(self, text: str, now: float) -> str | None:
        """The line to write, None when it was written often enough lately."""
        begin, times = self._lines.pop(text, (now, 0))
        held_back = times - SAME_LINE_TIMES
        if now - begin >= SAME_LINE_SECS:
            begin, times = now, 0
        else:
            held_back = 0
        self._lines[text] = (begin, times + 1)
        if len(self._lines) > _REMEMBERED_LINES:
            self._lines.popitem(last=False)
        if times >= SAME_LINE_TIMES:
            return None
        return f"{text} ({held_back} more times in the last minutes)" if held_back > 0 else text


def observer(form: str) -> Any:
    """What writes Twisted's log in that form; None for plain text, which Twisted writes itself."""
    if form == "json":
        return JsonLines(sys.stdout)
    return Journal() if form == "journald" else None


@implementer(ILogObserver)
class JsonLines:
    """One JSON object a line: `time`, `level`, `subsystem`, `text`, and `traceback` where there is one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Any) -> None:
        row = {"time": _time(event), "level": _level(event).name, "subsystem": _subsystem(event), "text": _text(event)}
        if "log_failure" in event:
            row["traceback"] = event["log_failure"].getTraceback()
        try:
            self._stream.write(f"{json.dumps(row, ensure_ascii=False)}\n")
            self._stream.flush()
        except OSError:
            return  # a log that cannot be written must not end the node


@implementer(ILogObserver)
class Journal:
    """The journal's own protocol: fields by name, so that `journalctl MESHNODE_SUBSYSTEM=link` finds them.

    Without a journal lines go to standard error.
    """

    def __init__(self, address: str = JOURNAL) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def __call__(self, event: Any) -> None:
        text = _text(event)
        if "log_failure" in event:
            text = f"{text}\n{event['log_failure'].getTraceback()}"
        fields = {
            "MESSAGE": text,
            "PRIORITY": str(_PRIORITIES[_level(event)]),
            "SYSLOG_IDENTIFIER": "meshnode",
            "MESHNODE_SUBSYSTEM": _subsystem(event),
        }
        try:
            self._socket.sendto(b"".join(_field(name, value) for name, value in fields.items()), self._address)
        except BlockingIOError:
            return  # the journal does not keep up, and the node must not wait for it
        except OSError:
            os.write(2, f"<{fields['PRIORITY']}>{text}\n".encode("utf-8", "replace"))


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "replace")[:_LONGEST]
    if b"\n" in data:
        return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
    return b"%s=%s\n" % (name.encode(), data)


def _time(event: Any) -> str:
    return datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat(timespec="milliseconds")


def _level(event: Any) -> Any:
    return event.get("log_level", LogLevel.info)


def _subsystem(event: Any) -> str:
    """`link` for what a node's link layer says, else the name of the library that speaks."""
    namespace = str(event.get("log_namespace", "-"))
    return "node" if namespace == "meshnode" else namespace.removeprefix("meshnode.")


def _text(event: Any) -> str:
    return str(formatEvent(event))
