"""Coroutines of asyncio libraries beside any Twisted reactor (docs/design/architecture.md, reactor and libraries).

On the asyncio reactor they run on its own loop; with any other reactor, on one loop in a background thread that is
started at first use. Whoever uses this module imports it where the feature starts, not before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred

_T = TypeVar("_T")
_P = ParamSpec("_P")

_GRACE = 2.0
"""Seconds that cancelled coroutines have to clean up."""

_bridges: dict[int, AsyncioBridge] = {}


def bridge_of(reactor: Any) -> AsyncioBridge:
    """Return the one bridge of `reactor`, made at first use and closed when the reactor has shut down."""
    bridge = _bridges.get(id(reactor))
    if bridge is None:
        bridge = _bridges[id(reactor)] = AsyncioBridge(reactor)
        reactor.addSystemEventTrigger("after", "shutdown", _close, id(reactor))
    return bridge


def _close(key: int) -> None:
    _bridges.pop(key).close()


class AsyncioBridge:
    """Runs coroutines on an asyncio loop and brings their outcome to the reactor's thread.

    All methods but `call_reactor` belong to the reactor's thread. They may be called before the reactor runs.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._waiting: list[Callable[[], object]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> Deferred[_T]:
        """Run `coroutine` on the loop; the Deferred fires on the reactor. Cancelling it cancels the coroutine."""
        tasks: list[asyncio.Task[_T]] = []
        result: Deferred[_T] = Deferred(lambda _: self.call_loop(_cancel, tasks))

        def begin() -> None:
            task = asyncio.get_running_loop().create_task(coroutine)
            tasks.append(task)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda done: self.call_reactor(_settle, result, done))

        self.call_loop(begin)
        return result

    def call_loop(self, function: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Call `function` on the loop, soon and in the order of these calls; nothing happens once closed."""
        if self._closed:
            return
        if self._loop is not None:
            self._loop.call_soon_threadsafe(lambda: function(*args, **kwargs))
            return
        if not self._waiting:
            # Only inside a running reactor can its loop be told from the lack of one.
            self._reactor.callLater(0, self._choose_loop)
        self._waiting.append(lambda: function(*args, **kwargs))

    def call_reactor(self, function: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Call `function` in the reactor's thread, soon; from any thread."""
        self._reactor.callFromThread(function, *args, **kwargs)

    def close(self) -> None:
        """Cancel what runs and end the background thread, if there is one."""
        self._closed = True
        self._waiting.clear()
        if self._loop is None:
            return
        self._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self._end()))
        if self._thread is not None:
            self._thread.join()
            self._loop.close()

    def _choose_loop(self) -> None:
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = asyncio.new_event_loop()
            self._thread = Thread(target=self._loop.run_forever, name="asyncio", daemon=True)
            self._thread.start()
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            self._loop.call_soon_threadsafe(call)

    async def _end(self) -> None:
        tasks = list(self._tasks)
        _cancel(tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=_GRACE)
        if self._thread is not None:
            asyncio.get_running_loop().stop()


def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()


def _settle(result: Deferred[_T], task: asyncio.Task[_T]) -> None:
    if result.called:  # it was cancelled meanwhile
        if not task.cancelled():
            task.exception()  # tells asyncio that nobody waits for it
    elif task.cancelled():
        result.errback(CancelledError())
    elif (error := task.exception()) is not None:
        result.errback(error)
    else:
        result.callback(task.result())
