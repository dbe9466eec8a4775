"""Running a scenario: a pure function from scenario and seed to result."""

from __future__ import annotations

from .byzantine import Misconduct
from .invariants import Invariants
from .result import Result, Sample, conclude
from .scenario import Scenario
from .script import Script
from .traffic import DELIVERED
from .world import World

_MOST_SAMPLES = 240


class Simulation:
    """A world together with its script and its judge; for those who want to look in between."""

    def __init__(self, scenario: Scenario, seed: int | None = None) -> None:
        self.world = World(scenario, scenario.seed if seed is None else seed)
        self.script = Script(self.world)
        self.misconduct = Misconduct(self.world)
        self.invariants = Invariants(self.world)
        self.samples: list[Sample] = []
        self._sample_every = max(1.0, scenario.duration / _MOST_SAMPLES)
        self._sample_due = 0.0

    @property
    def now(self) -> float:
        return self.world.clock.seconds()

    def advance(self, seconds: float) -> None:
        """Let time pass, and judge the world at every step on the way."""
        end, step = self.now + seconds, self.world.scenario.checks.interval
        while self.now < end:
            self.world.clock.run_until(min(self.now + step, end))
            self.invariants.look()
            if self.now >= self._sample_due:
                self._sample_due = self.now + self._sample_every
                self.samples.append(self._sample())

    def finish(self) -> Result:
        """Judge the run so far."""
        self.invariants.finish()
        return conclude(self.world, self.invariants, self.samples)

    def _sample(self) -> Sample:
        counters, standing = self.world.medium.counters, self.invariants.standing
        states = [flow.state for traffic in self.world.traffics for flow in traffic.flows]
        return Sample(
            at=self.now,
            frames=counters.carried,
            nbytes=counters.carried_bytes,
            lost=counters.lost + counters.queue_full + counters.too_big,
            roots=standing.roots if standing is not None else 0,
            settled=standing is not None and standing.settled,
            sent=sum(map(len, states)),
            delivered=sum(state.count(DELIVERED) for state in states),
        )


def run(scenario: Scenario, seed: int | None = None) -> Result:
    """Run `scenario` from beginning to end, with its own seed unless told another."""
    simulation = Simulation(scenario, seed)
    simulation.advance(scenario.duration)
    return simulation.finish()
