"""What a node takes from the world around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from meshnode.mesh.link.table import Random

from .admission import Admission, EverybodyAdmitted
from .names import HostNames


class DelayedCall(Protocol):
    """A timer that was set."""

    def cancel(self) -> None: ...
    def active(self) -> bool: ...


class Clock(Protocol):
    """Monotonic time and timers; Twisted's test clock is one, the service's reactor clock another."""

    def seconds(self) -> float: ...
    def callLater(self, delay: float, function: Callable[[], None], /) -> DelayedCall: ...  # noqa: N802


@dataclass(slots=True)
class Surroundings:
    """What a node takes from the world: time, Unix time, secrets, dice, names, a line to the operator, admission."""

    clock: Clock
    wall: Callable[[], float]
    entropy: Callable[[int], bytes]
    random: Random
    hosts: HostNames
    log: Callable[[str, str], None]
    admission: Admission = field(default_factory=EverybodyAdmitted)
