"""What can be wrong with the operator's files, and where."""

from __future__ import annotations

from typing import Literal, NamedTuple

Problem = Literal[
    "read",
    "syntax",
    "several documents",
    "unknown anchor",
    "invalid type",
    "invalid value",
    "unknown variant",
    "unknown field",
    "missing field",
    "duplicate field",
    "validation",
    "policy",
    "identity",
]
"""Classes of trouble. `validation` is a check every implementation makes, `policy` one that only we make."""


class Place(NamedTuple):
    """A position in a configuration file; line and column count from 1."""

    file: str
    line: int
    column: int


class ConfigError(ValueError):
    """A configuration or key file that cannot be used; `str()` is one line for the operator.

    `key` is the dotted path of the key at fault ("" when the trouble is no single key), `place` its position when
    known. `context` holds the leading text that says which step of the start failed (spec 05 sections 1 and 6).
    """

    def __init__(
        self, problem: Problem, reason: str, *, key: str = "", place: Place | None = None, context: str = ""
    ) -> None:
        super().__init__(reason)
        self.problem: Problem = problem
        self.reason = reason
        self.key = key
        self.place = place
        self.context = context

    def within(self, context: str) -> ConfigError:
        """Return the same error with `context` put in front of what is already said."""
        return ConfigError(
            self.problem, self.reason, key=self.key, place=self.place, context=f"{context}: {self.context}"
        )

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        place = f" at line {self.place.line} column {self.place.column}" if self.place else ""
        return f"{self.context}{key}{self.reason}{place}"


def os_error_text(error: OSError) -> str:
    """The system's reason with its number, in the form operators of the reference daemon know."""
    return str(error) if error.errno is None else f"{error.strerror} (os error {error.errno})"
