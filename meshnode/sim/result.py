"""What a run leaves behind: plain data, the same for the same scenario and seed, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .expectations import Verdict, counters, judge
from .invariants import Invariants
from .measures import stretches, summary
from .topology import layout
from .traffic import DELIVERED, EXCUSED, REFUSED, Traffic
from .world import World

MESSAGE_NAMES = {
    0x00: "session datagram",
    0x01: "sender report",
    0x02: "receiver report",
    0x10: "tree announce",
    0x20: "filter announce",
    0x30: "lookup request",
    0x31: "lookup response",
    0x50: "disconnect",
    0x51: "heartbeat",
}
STEADY_SECS = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The mesh at one moment; counts are sums since the beginning."""

    at: float
    frames: int
    nbytes: int
    lost: int
    roots: int
    settled: bool
    sent: int
    delivered: int


@dataclass(frozen=True, slots=True)
class Record:
    """What a drawing of the run needs.

    `places` are in a unit square, `links` pairs of names, `parents` each node's parent at the end (its own name for a
    root, None for a node that is down), `history` every change on the way: (seconds, kind, node, other), where kind is
    `up` or `down` for a peer, `parent`, or `event` with the event's name and whom it was about.
    """

    places: dict[str, tuple[float, float]]
    links: list[tuple[str, str]]
    parents: dict[str, str | None]
    history: list[tuple[float, str, str, str]]


@dataclass(frozen=True, slots=True)
class Result:
    """One run. `report` holds nothing but text, numbers, lists and dictionaries."""

    scenario: str
    seed: int
    failures: list[str]
    report: dict[str, Any]
    record: Record

    @property
    def passed(self) -> bool:
        return not self.failures

    def to_json(self) -> str:
        """The report as JSON text with a final newline."""
        return json.dumps(self.report, indent=1, sort_keys=True) + "\n"


def conclude(world: World, invariants: Invariants, samples: list[Sample]) -> Result:
    """Judge and describe a world at the end of its run."""
    verdicts = judge(world)
    failures = [f"expected {v.text}, measured {v.measured}" for v in verdicts if not v.met]
    failures += [f"invariant broken at {v.at:.2f} s: {v.invariant}: {v.detail}" for v in world.violations]
    scenario = world.scenario
    standing = world.stand()
    changes = sum(1 for entry in world.observer.history if entry[1] == "parent")
    report: dict[str, Any] = {
        "scenario": scenario.name,
        "about": scenario.about,
        "seed": world.seed,
        "duration_s": scenario.duration,
        "nodes": len(world.machines),
        "links": len(world.edges),
        "passed": not failures,
        "failures": failures,
        "tree": {
            "parts": len(standing.parts),
            "roots": standing.roots,
            "depth": standing.depth,
            "settled": standing.settled,
            "problems": standing.problems[:10],
            "parent_changes": changes,
        },
        "happenings": [_happening(world, i) for i in range(len(world.happenings))],
        "traffic": [_traffic(traffic) for traffic in world.traffics],
        "stretch": summary(stretches(world)),
        "messages": _messages(world),
        "rates": _rates(world, samples),
        "lookup_hops": _histogram(world.observer.lookup_hops),
        "medium": world.medium.counters.as_dict(),
        "counters": {name: value for name, value in counters(world).items() if value},
        "expectations": [_expectation(verdict) for verdict in verdicts],
        "invariants": {
            "looks": invariants.looks,
            "routes_followed": invariants.routes_followed,
            "violations": len(world.violations),
        },
        "series": [_sample(sample) for sample in samples],
    }
    return Result(scenario.name, world.seed, failures, report, _record(world))


def _record(world: World) -> Record:
    names = world.plan.names
    parents = {
        machine.name: None if machine.node is None else machine.node.name_of(machine.node.router.tree.parent)
        for machine in world.machines
    }
    places = dict(zip(names, layout(world.plan.graph), strict=True))
    return Record(places, [(names[a], names[b]) for a, b in world.edges], parents, world.observer.history)


def _happening(world: World, index: int) -> dict[str, Any]:
    happening = world.happenings[index]
    settled = {
        name: None if moment is None else round(moment - happening.at, 3)
        for name, moment in (("tree", happening.tree_settled), ("filters", happening.filters_settled))
    }
    return {
        "name": happening.name,
        "action": happening.action,
        "at_s": round(happening.at, 3),
        "subjects": happening.subjects,
        "tree_settled_after_s": settled["tree"],
        "filters_settled_after_s": settled["filters"],
    }


def _traffic(traffic: Traffic) -> dict[str, Any]:
    states = b"".join(flow.state for flow in traffic.flows)
    latencies: list[float] = []
    hops: list[float] = []
    first_lost: list[str] = []
    for flow in traffic.flows:
        for i, state in enumerate(flow.state):
            if state == DELIVERED:
                latencies.append((flow.arrived[i] - flow.sent[i]) * 1000)
                hops.append(flow.hops[i])
            elif state != EXCUSED and len(first_lost) < 10:
                how = "refused" if state == REFUSED else "lost"
                first_lost.append(f"{flow.source.name} to {flow.destination.name}, sent {flow.sent[i]:.3f} s, {how}")
    excused = states.count(EXCUSED)
    delivered = states.count(DELIVERED)
    return {
        "name": traffic.spec.name,
        "kind": traffic.spec.kind,
        "flows": len(traffic.flows),
        "sent": len(states),
        "delivered": delivered,
        "refused": states.count(REFUSED),
        "excused": excused,
        "lost": len(states) - excused - delivered - states.count(REFUSED),
        "latency_ms": summary(latencies),
        "hops": summary(hops),
        "first_lost": first_lost,
    }


def _messages(world: World) -> dict[str, dict[str, int]]:
    observer = world.observer
    return {
        MESSAGE_NAMES.get(kind, f"type {kind:#04x}"): {
            "count": observer.messages[kind],
            "bytes": observer.message_bytes[kind],
        }
        for kind in sorted(observer.messages)
    }


def _rates(world: World, samples: list[Sample]) -> dict[str, dict[str, float] | None]:
    """Frames and bytes per node and second until the first settling, and at the end."""
    start = next((h for h in world.happenings if h.name == "start"), None)
    settled = None if start is None else start.filters_settled
    last = samples[-1] if samples else None
    late = next((s for s in samples if last is not None and s.at >= last.at - STEADY_SECS), None)
    early = next((s for s in samples if settled is not None and s.at >= settled), None)
    return {
        "start_up": None if early is None else _rate(world, None, early),
        "steady": None if late is None or last is None or late is last else _rate(world, late, last),
    }


def _rate(world: World, begin: Sample | None, end: Sample) -> dict[str, float]:
    at, frames, nbytes = (0.0, 0, 0) if begin is None else (begin.at, begin.frames, begin.nbytes)
    share = len(world.machines) * max(end.at - at, 1e-9)
    return {"frames": round((end.frames - frames) / share, 2), "bytes": round((end.nbytes - nbytes) / share, 1)}


def _histogram(counts: Mapping[int, int]) -> dict[str, int]:
    return {str(value): counts[value] for value in sorted(counts)}


def _expectation(verdict: Verdict) -> dict[str, Any]:
    return {"text": verdict.text, "met": verdict.met, "measured": verdict.measured}


def _sample(sample: Sample) -> list[Any]:
    return [
        round(sample.at, 3),
        sample.frames,
        sample.nbytes,
        sample.lost,
        sample.roots,
        int(sample.settled),
        sample.sent,
        sample.delivered,
    ]
