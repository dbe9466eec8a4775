"""Why a connection did not open or ended, in the words an operator can act on."""

from __future__ import annotations

import os

from twisted.internet import error
from twisted.python.failure import Failure

_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (error.ConnectionDone, "closed by the other side"),
    (error.ConnectionAborted, "closed by us"),
    (error.ConnectionLost, "broken off: reset, or nothing was acknowledged for too long"),
    (error.DNSLookupError, "no address was found for this name"),
    (error.TimeoutError, "no answer in time"),
)


def describe(reason: Failure | BaseException) -> str:
    """Return the cause in a few words, without a full stop."""
    problem = reason.value if isinstance(reason, Failure) else reason
    for kind, words in _WORDS:
        if isinstance(problem, kind):
            return words
    number = problem.osError if isinstance(problem, error.ConnectError) else getattr(problem, "errno", None)
    if isinstance(number, int):
        return os.strerror(number).lower()
    return str(problem) or type(problem).__name__
