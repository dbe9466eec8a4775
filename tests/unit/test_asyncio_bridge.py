"""Coroutines beside the reactor: on its own loop where it has one, in a thread elsewhere, always answered in order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure

from meshnode.asyncio_bridge import AsyncioBridge, bridge_of


class Bridged:
    """A reactor turned by hand, with its bridge."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.bridge = AsyncioBridge(reactor)

    def result_of(self, deferred: Deferred[Any]) -> Any:
        """Turn the reactor until `deferred` has fired; returns the value or the Failure."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        self.turn_until(lambda: bool(results))
        return results[0]

    def turn_until(self, condition: Callable[[], bool]) -> None:
        for _ in range(200):
            if condition():
                return
            self.reactor.iterate(0.05)
        raise AssertionError("nothing came of it in time")


@pytest.fixture(params=[SelectReactor, EPollReactor, lambda: AsyncioSelectorReactor(asyncio.new_event_loop())])
def bridged(request: pytest.FixtureRequest) -> Iterator[Bridged]:
    bridged = Bridged(request.param())
    yield bridged
    bridged.bridge.close()
    bridged.reactor.iterate(0)


async def answer() -> int:
    await asyncio.sleep(0)
    return 42


async def refuse() -> None:
    raise LookupError("nothing of that kind")


def test_a_result_comes_to_the_thread_of_the_reactor(bridged: Bridged) -> None:
    threads: list[str] = []
    running = bridged.bridge.run(answer()).addCallback(
        lambda n: (threads.append(threading.current_thread().name), n)[1]
    )
    assert bridged.result_of(running) == 42
    assert threads == [threading.current_thread().name]


def test_an_error_comes_as_it_is(bridged: Bridged) -> None:
    failure = bridged.result_of(bridged.bridge.run(refuse()))
    assert isinstance(failure, Failure)
    assert isinstance(failure.value, LookupError)


def test_the_asyncio_reactor_gets_no_second_thread(bridged: Bridged) -> None:
    async def thread() -> str:
        return threading.current_thread().name

    own = isinstance(bridged.reactor, AsyncioSelectorReactor)
    name = bridged.result_of(bridged.bridge.run(thread()))
    assert name == (threading.current_thread().name if own else "asyncio")


def test_cancelling_reaches_the_coroutine(bridged: Bridged) -> None:
    reached: list[str] = []

    async def wait() -> None:
        reached.append("waiting")
        try:
            await asyncio.Event().wait()
        finally:
            reached.append("cancelled")

    waiting = bridged.bridge.run(wait())
    bridged.turn_until(lambda: bool(reached))
    waiting.cancel()
    failure = bridged.result_of(waiting)
    assert failure.check(CancelledError)
    bridged.turn_until(lambda: reached == ["waiting", "cancelled"])


def test_calls_to_the_loop_keep_their_order_even_before_there_is_one(bridged: Bridged) -> None:
    seen: list[int] = []
    bridged.bridge.call_loop(seen.append, 1)
    bridged.bridge.call_loop(seen.append, 2)
    bridged.turn_until(lambda: len(seen) == 2)
    bridged.bridge.call_loop(seen.append, 3)
    bridged.turn_until(lambda: seen == [1, 2, 3])


def test_the_loop_calls_the_reactor(bridged: Bridged) -> None:
    threads: list[int] = []
    bridged.bridge.call_loop(bridged.bridge.call_reactor, lambda: threads.append(threading.get_ident()))
    bridged.turn_until(lambda: bool(threads))
    assert threads == [threading.get_ident()]


def test_closing_cancels_what_runs_and_ends_the_thread() -> None:
    bridged = Bridged(SelectReactor())
    started: list[bool] = []

    async def wait() -> None:
        started.append(True)
        await asyncio.Event().wait()

    waiting = bridged.bridge.run(wait())
    bridged.turn_until(lambda: bool(started))
    bridged.bridge.close()
    assert bridged.result_of(waiting).check(CancelledError)
    assert "asyncio" not in [thread.name for thread in threading.enumerate()]


def test_a_reactor_has_one_bridge_until_it_has_shut_down() -> None:
    reactor = SelectReactor()
    first = bridge_of(reactor)
    assert bridge_of(reactor) is first
    reactor.callWhenRunning(reactor.stop)
    reactor.run(installSignalHandlers=False)
    assert bridge_of(reactor) is not first
