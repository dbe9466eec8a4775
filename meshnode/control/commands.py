"""What a command is to the control socket, and how its parameters are read (spec 06 sections 2 and 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred

from .encoding import Answer


class CommandError(Exception):
    """A command that cannot be carried out; the text is the answer's `message`."""


class Stream:
    """An answer that goes on: one answer as usual, `head`, and then lines for as long as the client listens."""

    head: Answer

    def __init__(self) -> None:
        self.wake: Callable[[], None] = lambda: None
        """Whoever sends the lines is told here that there are more."""

    def lines(self) -> Iterator[bytes]:
        """The lines without end; an empty piece means that there are none at the moment."""
        raise NotImplementedError

    def close(self) -> None:
        """The client is gone."""


Command: TypeAlias = Callable[[Any], Answer | Stream | Deferred[Answer]]
"""Takes the request's `params` (None when there are none). Raises or fails with `CommandError`."""


def text_params(command: str, params: Any, names: tuple[str, ...]) -> list[str]:
    """The text parameters `names` of `command`, in this order. Raises `CommandError` for the first one missing."""
    if params is None:
        raise CommandError(f"missing params for {command}")
    given = params if isinstance(params, dict) else {}
    values = []
    for name in names:
        value = given.get(name)
        if not isinstance(value, str):
            raise CommandError(f"missing '{name}' parameter")
        values.append(value)
    return values
