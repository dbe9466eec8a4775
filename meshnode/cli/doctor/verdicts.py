"""What an examination knows and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .machine import Machine

Level = Literal["ok", "hint", "bad", "unknown"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that was examined. `fix` says what to do; there is one unless all is well."""

    subject: str
    level: Level
    text: str
    fix: str | None = None


@dataclass(slots=True)
class Patient:
    """The machine, and what the node on it says; `answers` is empty when there is no node to ask."""

    machine: Machine
    answers: Mapping[str, Any] = field(default_factory=dict)
    socket: str = ""
    trouble: str | None = None

    @property
    def status(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.answers.get("show_status", {})
        return found

    @property
    def transports(self) -> list[Mapping[str, Any]]:
        return list(self.answers.get("show_transports", {}).get("transports", ()))

    @property
    def peers(self) -> list[Mapping[str, Any]]:
        return list(self.answers.get("show_peers", {}).get("peers", ()))

    def setting(self, key: str, default: Any = None) -> Any:
        """The value of a key of the node's configuration, `default` when it cannot be known."""
        return self.answers.get("show_config", {}).get("settings", {}).get(key, default)
