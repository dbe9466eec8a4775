"""A tiny mesh under a microscope: nothing arrives, nobody crashes and no time passes but step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from meshnode.mesh.link.responder import MIN_REKEY_AGE
from meshnode.mesh.session.rekey import MIN_AGE

from .expectations import judge
from .held import HeldMedium
from .loading import parse_scenario
from .machine import Machine, SimNode
from .reading import ScenarioError
from .run import Simulation
from .scenario import Scenario
from .trial import Guard, Outcome, assess

ON_FRAMES = ("deliver", "lose", "repeat")
LINKS_STAY = "links stay"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing done to the mesh: a kind, whom it concerns, and for frames the number on their way."""

    kind: str
    names: tuple[str, ...] = ()
    number: int = 0

    def __str__(self) -> str:
        if self.kind in ON_FRAMES:
            return f"{self.kind} {self.names[0]}>{self.names[1]} #{self.number}"
        return " ".join((self.kind, *self.names))

    @classmethod
    def parse(cls, text: str) -> Step:
        """Read what `str` wrote. Raises `ScenarioError`."""
        kind, *rest = text.split()
        if kind not in ON_FRAMES:
            return cls(kind, tuple(rest))
        ends, number = rest[0].split(">"), rest[-1].removeprefix("#")
        if len(rest) != 2 or len(ends) != 2 or not number.isdigit():
            raise ScenarioError(f"{text}: this is no step; write {kind} n0>n1 #1")
        return cls(kind, (ends[0], ends[1]), int(number))


@dataclass(frozen=True, slots=True)
class Exploration:
    """What is to be explored: a mesh, the things that happen to it in any order, and the bounds.

    The mesh runs by itself for `prelude` seconds; nothing is judged before they are over. Then each of `actions` may
    happen once and when it likes, time may pass `ticks` times by `tick` seconds, `losses` frames may be lost and
    `repeats` arrive twice, and a frame may overtake `overtaking - 1` others. After `depth` steps what is left of
    `actions` happens in the order given, and the links carry again. In the rest of the scenario's `duration` its
    expectations have to be met; the moment is called `explored`. With `links_stay` no link may be given up by anybody.
    """

    name: str
    about: str
    mesh: str
    actions: tuple[str, ...] = ()
    prelude: float = 0.0
    ticks: int = 0
    tick: float = 1.0
    losses: int = 0
    repeats: int = 0
    overtaking: int = 1
    depth: int = 10
    states: int = 20_000
    links_stay: bool = False

    def scenario(self) -> Scenario:
        """The mesh as a scenario."""
        return parse_scenario(self.mesh, self.name, self.name)


@dataclass(slots=True)
class _Budget:
    """What may still be done."""

    actions: list[Step]
    ticks: int
    losses: int
    repeats: int

    def text(self) -> str:
        return f"{sorted(map(str, self.actions))} {self.ticks} {self.losses} {self.repeats}"


class Laboratory:
    """One execution of an exploration. The same steps after the same seed do the same; `trace` tells what was done."""

    def __init__(self, exploration: Exploration, seed: int) -> None:
        self.exploration = plan = exploration
        self.trace: list[str] = []
        self._simulation = Simulation(plan.scenario(), seed)
        self._world = self._simulation.world
        self._medium = HeldMedium.instead_of(self._world.medium)
        self._world.medium = self._medium
        for machine in self._world.machines:
            machine.medium = self._medium
        self._budget = _Budget([Step.parse(text) for text in plan.actions], plan.ticks, plan.losses, plan.repeats)
        self._begin()

    def _begin(self) -> None:
        plan = self.exploration
        if not plan.prelude:
            self._medium.hold()
        self._world.run_until(plan.prelude)
        self._medium.hold()
        self._begun = len(self._world.observer.history)

    # -- looking

    def fingerprint(self) -> bytes:
        """Equal fingerprints mean equal futures."""
        return sha256(self._medium.fingerprint() + self._budget.text().encode()).digest()

    @property
    def broken(self) -> bool:
        """Whether an invariant has been violated already."""
        return bool(self._world.violations)

    def possible(self) -> list[Step]:
        """All steps that can be taken now; the first is what an uneventful mesh would do."""
        steps = self._frame_steps("deliver", self.exploration.overtaking)
        steps += self._frame_steps("repeat", 1) if self._budget.repeats else []
        steps += self._frame_steps("lose", 1) if self._budget.losses else []
        steps += [action for action in dict.fromkeys(self._budget.actions) if self._can(action)]
        return steps + ([Step("tick")] if self._budget.ticks else [])

    def _frame_steps(self, kind: str, first: int) -> list[Step]:
        return [
            Step(kind, ends, frame.number)
            for ends, frames in sorted(self._medium.held.items())
            for frame in frames[:first]
            if kind != "repeat" or not frame.copied
        ]

    def _can(self, action: Step) -> bool:
        return _ACTIONS[action.kind].possible(self, action)

    # -- doing

    def do(self, step: Step) -> bool:
        """Take a step, and look at the invariants; False when it is not possible now."""
        if not self._allowed(step):
            return False
        now = self._world.clock.seconds()
        frame = self._medium.find((step.names[0], step.names[1]), step.number) if step.kind in ON_FRAMES else None
        self.trace.append(f"{now:8.3f} s  {step}" + (f"  ({frame.text()})" if frame is not None else ""))
        self._take(step)
        self._simulation.invariants.look()
        return True

    def _allowed(self, step: Step) -> bool:
        if step.kind in ON_FRAMES:
            return self._medium.find((step.names[0], step.names[1]), step.number) is not None
        return step.kind == "tick" or self._can(step)

    def _take(self, step: Step) -> None:
        medium, budget = self._medium, self._budget
        if step.kind in ON_FRAMES:
            ends = (step.names[0], step.names[1])
            if step.kind == "lose":
                budget.losses -= 1
                medium.lose(ends, step.number)
            else:
                budget.repeats -= step.kind == "repeat"
                medium.deliver(ends, step.number, keep=step.kind == "repeat")
        elif step.kind == "tick":
            budget.ticks -= 1
            for machine in self._world.machines:
                medium.note_input(machine.name, b"tick")
            self._world.run_until(self._world.clock.seconds() + self.exploration.tick)
        else:
            if step in budget.actions:
                budget.actions.remove(step)
            for name in step.names:
                medium.note_input(name, str(step).encode())
            _ACTIONS[step.kind].take(self, step)

    def finish(self) -> Outcome:
        """Take the actions still to come, let the links carry again, run to the end of the scenario, and judge."""
        world = self._world
        for action in list(self._budget.actions):
            self.do(action)
        self._medium.release()
        world.note("explored", "explore", [])
        self._simulation.advance(world.scenario.duration - world.clock.seconds())
        self._simulation.invariants.finish()
        verdicts = judge(world)
        broken = [violation.invariant for violation in world.violations]
        failures = [f"expected {verdict.text}, measured {verdict.measured}" for verdict in verdicts if not verdict.met]
        failures += [f"{v.invariant} at {v.at:.2f} s: {v.detail}" for v in world.violations]
        if self.exploration.links_stay:
            given_up = [entry for entry in world.observer.history[self._begun :] if entry[1] == "down"]
            broken += [LINKS_STAY] if given_up else []
            failures += [f"{node} gave up its link to {other} at {at:.2f} s" for at, _, node, other in given_up]
        return assess(world.scenario, world.seed, verdicts, broken, failures)

    # -- for actions

    @property
    def now(self) -> float:
        return self._world.clock.seconds()

    def machine(self, name: str) -> Machine:
        return self._world.machine(name)

    def node(self, name: str) -> SimNode | None:
        return self._world.machine(name).node

    def address(self, name: str) -> bytes:
        return self._world.machine(name).address

    def switch(self, step: Step, up: bool) -> None:
        self._medium.switch(step.names[0], step.names[1], up)
        self._world.note(step.kind, step.kind, list(step.names))

    def up(self, step: Step) -> bool:
        return self._medium.ways[step.names[0], step.names[1]].up

    def power(self, step: Step, action: Callable[[Machine], None]) -> None:
        """Start, stop or crash a machine; a machine that starts does so at once."""
        action(self._world.machine(step.names[0]))
        self._world.note(step.kind, step.kind, list(step.names))

    def crash(self, step: Step) -> None:
        self.power(step, self._world.crash)

    def stop(self, step: Step) -> None:
        self.power(step, self._world.stop)

    def restart(self, step: Step) -> None:
        self.power(step, self._world.start)

    def send(self, step: Step) -> None:
        """One packet from host to host; what becomes of it counts like the scenario's own traffic."""
        traffic = self._world.traffics[0]
        traffic.emit(traffic.flow(self.machine(step.names[0]), self.machine(step.names[1]), traffic.spec.size))


@dataclass(frozen=True, slots=True)
class _Action:
    """When something can be done, and how."""

    possible: Callable[[Laboratory, Step], bool]
    take: Callable[[Laboratory, Step], None]


def _can_rekey_link(lab: Laboratory, step: Step) -> bool:
    node = lab.node(step.names[0])
    peer = None if node is None else node.links.peers.get(lab.address(step.names[1]))
    return peer is not None and peer.rekey is None and lab.now - peer.established_at >= MIN_REKEY_AGE


def _rekey_link(lab: Laboratory, step: Step) -> None:
    """What the node does by itself when the keys of a link are used up."""
    node = lab.node(step.names[0])
    if node is not None:
        links = node.links
        peer = links.peers[lab.address(step.names[1])]
        node.run(lambda now: links._initiator.rekey(peer, now))


def _can_rekey_session(lab: Laboratory, step: Step) -> bool:
    node = lab.node(step.names[0])
    session = None if node is None else node.sessions.sessions.get(lab.address(step.names[1]))
    if session is None or session.current is None or session.pending is not None:
        return False
    idle = session.rekey.idle and session.rekey.message3 is None
    return idle and lab.now - session.session_start >= MIN_AGE


def _rekey_session(lab: Laboratory, step: Step) -> None:
    """What the node does by itself when the keys of a session are used up."""
    node = lab.node(step.names[0])
    if node is not None:
        sessions = node.sessions
        session = sessions.sessions[lab.address(step.names[1])]
        node.run(lambda now: sessions._rekeying.start(session, now))


def _runs(lab: Laboratory, step: Step) -> bool:
    return all(lab.node(name) is not None for name in step.names)


_ACTIONS: dict[str, _Action] = {
    "crash": _Action(_runs, Laboratory.crash),
    "stop": _Action(_runs, Laboratory.stop),
    "restart": _Action(lambda lab, step: not _runs(lab, step), Laboratory.restart),
    "link_down": _Action(Laboratory.up, lambda lab, step: lab.switch(step, False)),
    "link_up": _Action(lambda lab, step: not lab.up(step), lambda lab, step: lab.switch(step, True)),
    "send": _Action(_runs, Laboratory.send),
    "rekey": _Action(_can_rekey_link, _rekey_link),
    "rekey_session": _Action(_can_rekey_session, _rekey_session),
}


def perform(exploration: Exploration, seed: int, steps: list[Step]) -> tuple[Outcome, list[str]]:
    """Take those of `steps` that are possible when their turn comes, then finish; the outcome, and what was done."""
    outcomes: list[Outcome] = []
    lab = Laboratory(exploration, seed)
    with Guard() as guard:
        for step in steps:
            if lab.do(step) and lab.broken:
                break
        outcomes.append(lab.finish())
    if guard.complaint is not None:
        return Outcome(seed, [guard.complaint], [guard.text]), lab.trace
    return outcomes[0], lab.trace
