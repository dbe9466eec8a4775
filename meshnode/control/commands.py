"""What a command is to the control socket, and how its parameters are read (spec 06 sections 2 and 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred

from .encoding import Answer


class CommandError(Exception):
    """A command that cannot be carried out; the text is the answer's `message`."""


Command: TypeAlias = Callable[[Any], Answer | Deferred[Answer]]
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
