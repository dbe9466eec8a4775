"""Small scenarios and worlds for tests of the simulator."""

from __future__ import annotations

from meshnode.sim import Scenario, Simulation, World, parse_scenario

CHAIN = """
duration: 20
topology: {kind: chain, nodes: 4}
link: fibre
"""


def scenario(text: str = CHAIN) -> Scenario:
    return parse_scenario(text, "test.yaml", "test")


def simulation(text: str = CHAIN, until: float = 0.0) -> Simulation:
    """A simulation that has been run up to a moment."""
    result = Simulation(scenario(text))
    if until:
        result.advance(until)
    return result


def invariants_broken(world: World) -> set[str]:
    return {violation.invariant for violation in world.violations}
