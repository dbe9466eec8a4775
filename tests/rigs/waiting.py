"""Waiting for a condition with a deadline: the only place of the rigs that lets time pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

T = TypeVar("T")
_NEVER = Event()


class NotInTime(AssertionError):
    """A condition did not come true before its deadline."""


def pause(seconds: float) -> None:
    """Let `seconds` pass; other threads go on."""
    _NEVER.wait(seconds)


def wait_until(condition: Callable[[], T], deadline: float, what: str, interval: float = 0.02) -> T:
    """Poll until `condition()` is true and return its value; raise `NotInTime` after `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise NotInTime(f"not within {deadline:g} s: {what}")
        pause(interval)
