"""All targets by name: `target(data)` takes any bytes and fails by raising."""

from __future__ import annotations

from tests.fuzz.machines import MACHINES
from tests.fuzz.operators import OPERATORS
from tests.fuzz.parsers import PARSERS
from tests.fuzz.readers import READERS
from tests.fuzz.tape import Target

TARGETS: dict[str, Target] = {**PARSERS, **READERS, **OPERATORS, **MACHINES}
