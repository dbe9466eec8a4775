"""What sealing and opening cost per packet, through the whole session layer: `python -m bench.session` prints JSON."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable

from meshnode.identity import Identity
from meshnode.mesh.session import SessionLayer
from meshnode.mesh.settings import MeshSettings

SIZE = 1200
RUNS = (1, 8, 40)
PACKETS = 12_000
REPEATS = 7
OFFSET = 40  # where a session message starts in an opened link frame


class Place:
    """A router of a mesh of two."""

    def __init__(self, own: bytes) -> None:
        self.own_coordinates = [own]

    def coordinates_for(self, destination: bytes, now: float) -> list[bytes] | None:
        return [destination]

    def forget_coordinates(self, destination: bytes) -> None:
        pass

    def next_hop(self, destination: bytes, now: float) -> bytes | None:
        return destination


def layer() -> SessionLayer:
    identity = Identity.generate(os.urandom)
    place = Place(identity.node_addr)
    return SessionLayer(identity, os.urandom(8), MeshSettings(), os.urandom, random.Random(1), place)


def carry(sender: SessionLayer, receiver: SessionLayer) -> None:
    own, sender.outbound = sender.outbound, []
    source = sender._core.own
    for message in own:
        receiver.receive(source, source, [message.payload], 0, 1280, False, 0.0)


def established_pair() -> tuple[SessionLayer, SessionLayer]:
    a, b = layer(), layer()
    a.open(b._core.identity.peer, 0.0)
    for _ in range(3):
        carry(a, b)
        carry(b, a)
    a.seal(b._core.own, 256, 256, [b"warm"] * 5, 0.0)
    return a, b


def best(work: Callable[[], None], packets: int) -> float:
    """The fastest of the repeats, in microseconds per packet."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return round(min(times) / packets * 1e6, 3)


def measure(run: int) -> dict[str, float | int]:
    a, b = established_pair()
    to_b, from_a = b._core.own, a._core.own
    payloads = [os.urandom(SIZE) for _ in range(run)]
    rounds = PACKETS // run

    def seal() -> None:
        for _ in range(rounds):
            a.seal(to_b, 256, 256, payloads, 1.0)

    seal_cost = best(seal, rounds * run)
    frames = [
        [bytes(OFFSET) + message for message in a.seal(to_b, 256, 256, payloads, 1.0)] for _ in range(rounds * REPEATS)
    ]
    batches = iter(frames)

    def open_() -> None:
        for _ in range(rounds):
            b.receive(from_a, from_a, next(batches), OFFSET, 1280, False, 1.0)

    return {"run": run, "seal_us": seal_cost, "open_us": best(open_, rounds * run)}


if __name__ == "__main__":
    print(json.dumps({"payload_bytes": SIZE, "per_packet": [measure(run) for run in RUNS]}, indent=2))
