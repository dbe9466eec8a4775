"""Keeping the history of a node on disk while it runs, so that even a crash loses no more than a minute."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred

from meshnode.files import Replacement

from .history import History
from .history_file import MODE, HistoryFileError, load, pieces, save, unwritable

INTERVAL_SECS = 60.0
LEAST_PAUSES = 100
"""A file that takes long to write, because of many peers, is written less often: a hundredth of the time at most."""

InThread = Callable[[Callable[[], Any]], Deferred[Any]]
"""Calls a function that may block where it holds up nobody."""


class HistoryKeeper:
    """Reads `history` from the file at `start`, writes it there every minute, and at `stop`.

    A record is packed in a turn of the event loop and written in a thread, so that nothing waits for a disk. `now` is
    the node's clock, `wall` Unix time. `log(level, text)` takes a line when something goes wrong, once until it is well
    again.
    """

    def __init__(
        self,
        history: History,
        path: Path,
        now: Callable[[], float],
        wall: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], Any],
        in_thread: InThread,
        log: Callable[[str, str], None],
    ) -> None:
        self._history = history
        self._path = path
        self._now = now
        self._wall = wall
        self._call_later = call_later
        self._in_thread = in_thread
        self._log = log
        self._timer: Any = None
        self._ended = False
        self._writing: Deferred[None] | None = None
        self._complained = False

    def start(self) -> None:
        """Go on with the history of the last run, and clear away what a killed one was writing."""
        try:
            for left_over in self._path.parent.glob(f".{self._path.name}.[0-9]*"):
                left_over.unlink(missing_ok=True)
            self._history.take_over(load(self._path, self._now(), self._wall()))
        except OSError as error:
            self._complain(unwritable(self._path, error))
        except HistoryFileError as error:
            self._complain(error)
        self._timer = self._call_later(INTERVAL_SECS, self._due)

    async def stop(self) -> None:
        """Write once more, after what is being written."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await self._writing
        try:
            save(self._history, self._path, self._now, self._wall)
        except HistoryFileError as error:
            self._complain(error)

    def _due(self) -> None:
        self._timer = None
        self._writing = ensureDeferred(self._write())

    async def _write(self) -> None:
        begin = self._now()
        try:
            await self._replace()
            self._complained = False
        except OSError as error:
            self._complain(unwritable(self._path, error))
        self._writing = None
        if self._ended:
            return
        pause = max(INTERVAL_SECS, LEAST_PAUSES * (self._now() - begin))
        self._timer = self._call_later(pause, self._due)

    async def _replace(self) -> None:
        replacement = await self._in_thread(lambda: Replacement(self._path, MODE))
        try:
            for piece in pieces(self._history, self._now, self._wall):
                await self._in_thread(partial(replacement.write, piece))
            await self._in_thread(replacement.commit)
        except OSError:
            replacement.abandon()
            raise

    def _complain(self, error: HistoryFileError) -> None:
        if not self._complained:
            self._complained = True
            self._log("warn", str(error))
