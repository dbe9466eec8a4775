"""A page that plays a run: where everybody is, the tree, the links and how good they are, lookups, losses, events.

Recording looks at a simulation between its steps and is told of lookups on their way. A recorded simulation does
exactly what it would do otherwise.
"""

from __future__ import annotations

import json
from html import escape
from importlib import resources
from math import isfinite
from typing import Any

from meshnode.mesh.link import PeerLink

from .machine import LOOKUP_REQUEST, LOOKUP_RESPONSE, Machine
from .result import Result
from .run import Simulation
from .scenario import Scenario
from .topology import layout
from .traffic import DELIVERED, EXCUSED, REFUSED

MOST_FRAMES = 400
MOST_LOOKUPS = 20_000
MOST_EVENTS = 5_000
MOST_LOST = 1_000

_LOOKUPS = {LOOKUP_REQUEST: 0, LOOKUP_RESPONSE: 1}


class Recorder:
    """Runs a simulation to its end and writes down what a page needs.

    A recording is a first state of all nodes and links and then, per frame, what changed: nodes as [number, parent]
    (its own number for a root, -1 when down), links as [number, state, etx, round trip in ms, loss in percent] with
    state 0 for cut, 1 for laid, 2 for linked; and links on which frames were lost, with how many.
    """

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._world = world = simulation.world
        self._numbers = {name: i for i, name in enumerate(world.plan.names)}
        self._links = {frozenset(edge): i for i, edge in enumerate(world.edges)}
        self._nodes = [-2] * len(world.machines)
        self._states: list[list[Any]] = [[] for _ in world.edges]
        self._dropped = [0] * len(world.edges)
        self._frames: list[dict[str, Any]] = []
        self._lookups: list[list[float]] = []

    def run(self) -> Result:
        """Run to the end of the scenario; the result is the one an ordinary run has."""
        simulation, scenario = self._simulation, self._world.scenario
        # Whole multiples of a step, so that invariants are looked at when they would be anyway.
        steps = max(1, -int(-scenario.duration / scenario.checks.interval // MOST_FRAMES))
        every = steps * scenario.checks.interval
        self._world.observer.lookup_heard = self._heard
        while simulation.now < scenario.duration:
            simulation.advance(min(every, scenario.duration - simulation.now))
            self._frames.append(self._frame())
        return simulation.finish()

    # -- while it runs

    def _heard(self, node: str, neighbour: str, kind: int) -> None:
        source = self._numbers.get(neighbour)
        if source is not None and len(self._lookups) < MOST_LOOKUPS:
            self._lookups.append([round(self._simulation.now, 3), _LOOKUPS[kind], source, self._numbers[node]])

    def _frame(self) -> dict[str, Any]:
        """What is different from the frame before."""
        frame: dict[str, Any] = {"t": round(self._simulation.now, 3)}
        nodes = [self._parent(machine) for machine in self._world.machines]
        changed = [[i, new] for i, (new, old) in enumerate(zip(nodes, self._nodes, strict=True)) if new != old]
        links = [self._link(i) for i in range(len(self._states))]
        altered = [[i, *new] for i, (new, old) in enumerate(zip(links, self._states, strict=True)) if new != old]
        dropped = [self._drops(i) for i in range(len(self._states))]
        lost = [[i, new - old] for i, (new, old) in enumerate(zip(dropped, self._dropped, strict=True)) if new > old]
        for name, difference in (("nodes", changed), ("links", altered), ("lost", lost)):
            if difference:
                frame[name] = difference
        self._nodes, self._states, self._dropped = nodes, links, dropped
        return frame

    def _parent(self, machine: Machine) -> int:
        node = machine.node
        if node is None:
            return -1
        own = self._numbers[machine.name]
        return own if node.router.tree.is_root else self._numbers.get(node.name_of(node.router.tree.parent), own)

    def _ends(self, link: int) -> tuple[Machine, Machine]:
        a, b = self._world.edges[link]
        return self._world.machines[a], self._world.machines[b]

    def _link(self, link: int) -> list[Any]:
        left, right = self._ends(link)
        ways = self._world.medium.ways
        if not (ways[left.name, right.name].alive and ways[right.name, left.name].alive):
            return [0]
        peers = [_peer(left, right), _peer(right, left)]
        linked = [peer for peer in peers if peer is not None]
        if len(linked) < 2:
            return [1]
        return [2, *_quality(linked)]

    def _drops(self, link: int) -> int:
        left, right = self._ends(link)
        ways = self._world.medium.ways
        return ways[left.name, right.name].dropped + ways[right.name, left.name].dropped

    # -- at the end

    def recording(self, result: Result) -> dict[str, Any]:
        """Everything the page shows, as plain data; the same run gives the same."""
        world = self._world
        return {
            "scenario": result.scenario,
            "about": world.scenario.about,
            "seed": result.seed,
            "duration": world.scenario.duration,
            "failures": result.failures,
            "expectations": result.report["expectations"],
            "names": world.plan.names,
            "addresses": [machine.address.hex() for machine in world.machines],
            "places": [[round(x, 4), round(y, 4)] for x, y in layout(world.plan.graph)],
            "placed": bool(world.plan.graph.places),
            "edges": [list(edge) for edge in world.edges],
            "frames": self._frames,
            "lookups": self._lookups,
            "events": self._events(),
            "packets": self._packets(),
            "series": result.report["series"],
        }

    def _events(self) -> list[list[Any]]:
        """[moment, kind, text], in order; the many that are about links are left out when there are too many."""
        world = self._world
        events = [(round(at, 3), kind, _story(kind, who, other)) for at, kind, who, other in world.observer.history]
        events += [(round(v.at, 3), "broken", f"{v.invariant}: {v.detail}") for v in world.violations]
        if len(events) > MOST_EVENTS:
            events = [event for event in events if event[1] in ("event", "broken")]
        return [list(event) for event in sorted(events, key=lambda event: event[0])[:MOST_EVENTS]]

    def _packets(self) -> list[list[Any]]:
        """[moment, source, destination, what became of it] of packets that did not arrive."""
        found = [
            [round(sent, 3), self._numbers[flow.source.name], self._numbers[flow.destination.name], int(state)]
            for traffic in self._world.traffics
            for flow in traffic.flows
            for sent, state in zip(flow.sent, flow.state, strict=True)
            if state not in (DELIVERED, EXCUSED)
        ]
        return [[*packet[:3], int(packet[3] == REFUSED)] for packet in sorted(found)[:MOST_LOST]]


def _peer(machine: Machine, other: Machine) -> PeerLink | None:
    return None if machine.node is None else machine.node.links.peers.get(other.address)


def _quality(peers: list[PeerLink]) -> list[Any]:
    """Etx, round trip and loss of a link as the end sees it that has the worse opinion of it."""
    measured = [peer.measurement for peer in peers]
    etx = max(m.smoothed_etx or m.etx for m in measured)
    trips = [m.srtt_ms for m in measured if m.srtt_ms is not None]
    loss = max(m.smoothed_loss or 0.0 for m in measured)
    return [round(etx, 1) if isfinite(etx) else 99.0, _two_digits(max(trips, default=0.0)), round(loss * 100)]


def _two_digits(number: float) -> float:
    return float(f"{number:.2g}")


def _story(kind: str, who: str, other: str) -> str:
    if kind == "parent":
        return f"{who} is its own root" if who == other else f"{who} takes {other} for its parent"
    if kind in ("up", "down"):
        return f"{who} {'has a link to' if kind == 'up' else 'gives up its link to'} {other}"
    return f"{who} {other}".strip()


def record(scenario: Scenario, seed: int | None = None) -> tuple[Result, str]:
    """Run a scenario like `run`, and play it on a page."""
    recorder = Recorder(Simulation(scenario, seed))
    result = recorder.run()
    return result, page(recorder.recording(result))


def page(recording: dict[str, Any]) -> str:
    """One file that needs nothing else: the recording, and what plays it."""
    template = (resources.files("meshnode.sim") / "player.html").read_text("utf-8")
    title = escape(f"{recording['scenario']}, seed {recording['seed']}")
    data = json.dumps(recording, separators=(",", ":"), sort_keys=True).replace("<", "\\u003c")
    return template.replace("{{title}}", title, 2).replace("{{recording}}", data, 1)
