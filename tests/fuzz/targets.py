"""All targets by name: `target(data)` takes any bytes and fails by raising."""

from __future__ import annotations

from tests.fuzz.machines import MACHINES
from tests.fuzz.parsers import PARSERS, Target

TARGETS: dict[str, Target] = {**PARSERS, **MACHINES}
