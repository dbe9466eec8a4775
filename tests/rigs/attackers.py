"""Attackers: bounded programs of ours that send what a hostile stranger would, at a given rate, from a host of the lab.

Messages are made beforehand, so that the rate is that of the wire and not of the attacker's cryptography. The sending
runs in a child process on the attacking host: `python -m tests.rigs.attackers KIND ...`.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Event

from coincurve import PublicKey

from meshnode.identity import Identity, PeerIdentity
from meshnode.noise import IkInitiator
from meshnode.wire.link import Msg1
from tests.rigs import processes
from tests.rigs.hosts import Host
from tests.rigs.nodes import Node, environment
from tests.rigs.waiting import wait_until

_PIECES_A_SECOND = 100


def forged(random: Random, count: int) -> list[bytes]:
    """First messages that only a Diffie-Hellman shows to be nothing: a good point and noise."""
    points = [PublicKey.from_secret(random.randbytes(32)).format() for _ in range(min(count, 2000))]
    return [
        b"\x01\x00\x6e\x00" + random.randbytes(4) + points[number % len(points)] + random.randbytes(73)
        for number in range(count)
    ]


def valid(random: Random, count: int, target: PeerIdentity, identities: Callable[[int], Identity]) -> list[bytes]:
    """First messages that are as good as any; the attacker will never go on with one."""
    epoch = random.randbytes(8)
    made = []
    for number in range(count):
        noise = IkInitiator(identities(number), target, epoch, random.randbytes(32))
        made.append(Msg1(random.getrandbits(32), noise.message1()).encode())
    return made


def first_messages(kind: str, count: int, target: PeerIdentity, seed: int) -> list[bytes]:
    """`random`, valid from `one-key`, or valid from `many-keys`."""
    random = Random(seed)
    if kind == "random":
        return forged(random, count)
    one = Identity.generate(random.randbytes)
    if kind == "one-key":
        return valid(random, count, target, lambda _: one)
    return valid(random, count, target, lambda _: Identity.generate(random.randbytes))


class Flood:
    """A flood under way; it ends by itself after its time."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def _lines(self) -> list[str]:
        return self._log.read_text().splitlines()

    def wait_begun(self, deadline: float = 60.0) -> None:
        """Making the messages takes a while."""
        wait_until(lambda: self._lines() or self._process.poll() is not None, deadline, "the flood begins")
        assert self._process.poll() is None, self._log.read_text()

    @property
    def going_on(self) -> bool:
        return self._process.poll() is None

    def finish(self, early: bool = False, deadline: float = 90.0) -> dict[str, float]:
        """Wait for the end, or bring it about `early`; what was sent and got back."""
        if early and self.going_on:
            self._process.terminate()
        wait_until(lambda: self._process.poll() is not None, deadline, "the flood is over")
        assert self._process.returncode == 0, self._log.read_text()
        return dict(json.loads(self._lines()[-1]))

    def stop(self) -> None:
        processes.end(self._process)


@contextmanager
def attack(host: Host, name: str, command: list[str]) -> Iterator[Flood]:
    """Run an attacking program on `host` from its first message to the end of the block."""
    log = host.directory / f"{name}-{time.monotonic_ns()}"
    with log.open("w") as output:
        process = host.start(command, output=output, environment=environment())
    flood = Flood(process, log)
    try:
        flood.wait_begun()
        yield flood
    finally:
        flood.stop()


@contextmanager
def flooding(
    host: Host, target: Node, address: str, kind: str, rate: int, seconds: float, sources: int = 1
) -> Iterator[Flood]:
    """Send first messages from `host` to a node's UDP port, from `sources` different ports, for `seconds`."""
    command = [sys.executable, "-m", "tests.rigs.attackers", kind, target.npub, address]
    command += ["--rate", str(rate), "--seconds", f"{seconds:g}", "--sources", str(sources)]
    with attack(host, f"flood-{kind}", command) as flood:
        yield flood


def _send(messages: list[bytes], target: tuple[str, int], rate: int, seconds: float, sources: int) -> dict[str, float]:
    """Send at an even rate; the messages are taken in turn. What comes back is counted."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(sources)]
    for one in sockets:
        one.setblocking(False)
        one.connect(target)
    begin, sent, refused, answered, answer_bytes = time.monotonic(), 0, 0, 0, 0
    enough = Event()
    signal.signal(signal.SIGTERM, lambda *_: enough.set())
    while (elapsed := time.monotonic() - begin) < seconds and not enough.is_set():
        for _ in range(int(elapsed * rate) - sent):
            try:
                sockets[sent % sources].send(messages[sent % len(messages)])
            except OSError:
                refused += 1
            sent += 1
        for one in sockets:
            count, size = _drain(one)
            answered, answer_bytes = answered + count, answer_bytes + size
        time.sleep(1 / _PIECES_A_SECOND)
    return {
        "sent": sent,
        "bytes_sent": sent * 114,
        "refused": refused,
        "answered": answered,
        "bytes_answered": answer_bytes,
        "seconds": time.monotonic() - begin,
    }


def _drain(one: socket.socket) -> tuple[int, int]:
    count = size = 0
    while True:
        try:
            size += len(one.recv(2048))
        except OSError:
            return count, size
        count += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("random", "one-key", "many-keys"))
    parser.add_argument("npub")
    parser.add_argument("address")
    parser.add_argument("--port", type=int, default=2121)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--sources", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    count = min(int(options.rate * options.seconds), 20_000)
    messages = first_messages(options.kind, count, PeerIdentity.from_npub(options.npub), options.seed)
    print("begins", flush=True)
    target = (options.address, options.port)
    print(json.dumps(_send(messages, target, options.rate, options.seconds, options.sources)), flush=True)


if __name__ == "__main__":
    main()
