"""A mesh in one process: real nodes, real handshakes and real bytes on virtual time, from one seed."""

from .loading import builtin_scenarios, find_scenario, parse_scenario
from .reading import ScenarioError
from .result import Result
from .run import Simulation, run
from .scenario import Scenario
from .world import World

__all__ = [
    "Result",
    "Scenario",
    "ScenarioError",
    "Simulation",
    "World",
    "builtin_scenarios",
    "find_scenario",
    "parse_scenario",
    "run",
]
