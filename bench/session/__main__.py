"""What sealing and opening cost per packet, through the whole session layer: `python -m bench.session` prints JSON."""

from __future__ import annotations

import json
import os
import random
import time
from timeit import repeat

from meshnode.identity import Identity
from meshnode.mesh.session import SessionLayer
from meshnode.mesh.settings import MeshSettings
from meshnode.noise import NONCE, aead

SIZE = 1200
RUNS = (1, 8, 40)
PACKETS = 800
REPEATS = 60
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


def measure(run: int) -> dict[str, float | int]:
    """The fastest of the repeats, in microseconds per packet; what is opened was sealed just before, as in a burst."""
    a, b = established_pair()
    to_b, from_a = b._core.own, a._core.own
    payloads = [os.urandom(SIZE) for _ in range(run)]
    rounds = PACKETS // run
    sealing, opening = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        runs = [a.seal(to_b, 256, 256, payloads, 1.0) for _ in range(rounds)]
        sealing.append(time.perf_counter() - start)
        batches = [[bytes(OFFSET) + message for message in messages] for messages in runs]
        start = time.perf_counter()
        for batch in batches:
            b.receive(from_a, from_a, batch, OFFSET, 1280, False, 1.0)
        opening.append(time.perf_counter() - start)
    scale = 1e6 / (rounds * run)
    return {"run": run, "seal_us": round(min(sealing) * scale, 3), "open_us": round(min(opening) * scale, 3)}


def aead_alone() -> dict[str, float]:
    """What the cipher itself costs here, for comparison."""
    cipher, plaintext, header = aead(os.urandom(32)), os.urandom(SIZE + 10), os.urandom(12)
    sealed = cipher.encrypt(NONCE.pack(1), plaintext, header)
    seal = min(repeat(lambda: cipher.encrypt(NONCE.pack(1), plaintext, header), number=PACKETS, repeat=REPEATS))
    open_ = min(repeat(lambda: cipher.decrypt(NONCE.pack(1), sealed, header), number=PACKETS, repeat=REPEATS))
    return {"seal_us": round(seal / PACKETS * 1e6, 3), "open_us": round(open_ / PACKETS * 1e6, 3)}


if __name__ == "__main__":
    print(json.dumps({"payload_bytes": SIZE, "aead_alone": aead_alone(), "runs": [measure(run) for run in RUNS]}))
