"""Peers without a node behind them: real links over UDP, made of our own link layer, that say what we want.

They run in a child process on a host of the lab: `python -m tests.rigs.puppets swarm|liar ...`.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

from meshnode.identity import Identity, PeerIdentity
from meshnode.mesh.link import LinkLayer, PeerLink
from meshnode.mesh.settings import MeshSettings
from meshnode.sim.hostile import Liar
from meshnode.wire.bloom import FilterAnnounce
from meshnode.wire.tree import AncestryEntry, TreeAnnounce, declaration_bytes
from tests.rigs import processes
from tests.rigs.hosts import Host
from tests.rigs.nodes import Node, environment
from tests.rigs.waiting import wait_until

_LINK_MESSAGES = frozenset((0x01, 0x02, 0x50, 0x51))
_JUMPS = (0, 0, 0, 1, 2047, 2048, 1 << 20)
Target = tuple[PeerIdentity, str]


class Puppet:
    """One identity, one socket, any number of links."""

    def __init__(self, identity: Identity, targets: Sequence[Target], now: float) -> None:
        self.identity = identity
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.layer = LinkLayer(identity, os.urandom(8), MeshSettings(), os.urandom, Random(), now)
        self.settled: set[bytes] = set()
        self._ticked = now
        for remote, address in targets:
            self.layer.dial(remote, (1, f"{address}:2121"), now)
        self.flush(now)

    def flush(self, now: float) -> None:
        """Send what the link layer wants to, and greet whoever became a peer as a lone root would."""
        for address, peer in self.layer.peers.items():
            if address not in self.settled:
                self.settled.add(address)
                self._greet(peer, now)
        for (_, address), frame in self.layer.drain_outbound():
            self.throw(address, [frame])
        self.layer.drain_events()
        self.layer.drain_notices()

    def throw(self, address: str, frames: list[bytes]) -> None:
        host, _, port = address.rpartition(":")
        for frame in frames:
            with suppress(OSError):
                self.socket.sendto(frame, (host, int(port)))

    def _greet(self, peer: PeerLink, now: float) -> None:
        me, moment = self.identity.node_addr, int(time.time())
        signature = self.identity.sign(declaration_bytes(me, me, moment, moment), bytes(32))
        announce = TreeAnnounce(moment, moment, me, [AncestryEntry(me, moment, moment)], signature)
        self.layer.send(peer, announce.encode(), now)
        self.layer.send(peer, FilterAnnounce(moment, 5, 1, bytes(1024)).encode(), now)

    def receive(self, now: float) -> None:
        with suppress(OSError):
            while True:
                frame, (host, port) = self.socket.recvfrom(65535)
                for run in self.layer.receive(1, f"{host}:{port}", [frame], now):
                    for plaintext in run.plaintexts:
                        if plaintext[4] in _LINK_MESSAGES:
                            self.layer.message(run.peer, plaintext[4], plaintext[5:], now)
        self.flush(now)

    def keep_time(self, now: float) -> None:
        deadline = self.layer.next_deadline()
        if deadline is not None and deadline <= now:
            self.layer.handle_timeout(now)
        if now - self._ticked >= 1.0:
            self._ticked = now
            self.layer.tick(now)
        self.flush(now)


def play(puppets: list[Puppet], seconds: float, act: float = 0.1) -> Iterator[float]:
    """Let puppets live; yields the time, `act` seconds apart."""
    with selectors.DefaultSelector() as selector:
        for puppet in puppets:
            selector.register(puppet.socket, selectors.EVENT_READ, puppet)
        end = time.monotonic() + seconds
        next_act = 0.0
        while (now := time.monotonic()) < end:
            for key, _ in selector.select(min(0.02, act)):
                key.data.receive(time.monotonic())
            if now >= next_act:
                next_act = now + act
                for puppet in puppets:
                    puppet.keep_time(now)
                yield now


def swarm(targets: list[Target], count: int, seconds: float) -> dict[str, float]:
    """So many newcomers at once; how many got in, and how long the last of them took."""
    begin = time.monotonic()
    puppets = [Puppet(Identity.generate(os.urandom), targets, begin) for _ in range(count)]
    all_in = float("inf")
    for now in play(puppets, seconds):
        connected = sum(bool(puppet.layer.peers) for puppet in puppets)
        if connected == count and all_in == float("inf"):
            all_in = now - begin
            print(f"all {count} are in after {all_in:.2f} s", flush=True)
    return {"connected": connected, "seconds": min(all_in, seconds)}


def lie(targets: list[Target], addresses: list[bytes], rate: int, seconds: float, seed: int) -> dict[str, float]:
    """Be a peer of all targets and say anything, `rate` messages a second to each."""
    dice = Random(seed)
    identity = Identity.generate(dice.randbytes)
    puppet, said, redialled = Puppet(identity, targets, time.monotonic()), 0, 0
    lies = Liar(identity, addresses, dice)
    for now in play([puppet], seconds, act=0.02):
        for peer in list(puppet.layer.peers.values()):
            messages = [lies.message() for _ in range(max(rate // 50, 1))]
            if not dice.randrange(20):
                peer.current.send_counter += dice.choice(_JUMPS)
            frames = puppet.layer.seal(peer, b"", messages, 0, dice.choice((0, 2)), now)
            puppet.throw(peer.path[1], [frame for frame in frames if len(frame) <= 1472][:: dice.choice((1, -1))])
            said += len(messages)
        for remote, address in targets:
            if remote.node_addr not in puppet.layer.peers and not puppet.layer.handshakes:
                puppet.layer.dial(remote, (1, f"{address}:2121"), now)
                puppet.settled.discard(remote.node_addr)
                redialled += 1
        if said and said % 5000 < rate:
            print(f"said {said}", flush=True)
    return {"said": said, "peers": len(puppet.layer.peers), "redialled": redialled}


class Show:
    """Puppets at work in a child process."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def lines(self) -> list[str]:
        return self._log.read_text().splitlines()

    @property
    def going_on(self) -> bool:
        return self._process.poll() is None

    def finish(self, deadline: float) -> dict[str, float]:
        wait_until(lambda: self._process.poll() is not None, deadline, "the puppets are done")
        assert self._process.returncode == 0, self._log.read_text()
        return dict(json.loads(self.lines()[-1]))


@contextmanager
def show(host: Host, kind: str, targets: Sequence[tuple[Node, str]], *options: str) -> Iterator[Show]:
    """Run puppets on `host` against nodes at their underlay addresses."""
    log = host.directory / f"{kind}-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "tests.rigs.puppets", kind, *options]
    command += [f"{node.npub}@{address}" for node, address in targets]
    with log.open("w") as output:
        process = host.start(command, output=output, environment=environment())
    try:
        yield Show(process, log)
    finally:
        processes.end(process)


def _target(text: str) -> Target:
    npub, _, address = text.partition("@")
    return PeerIdentity.from_npub(npub), address


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("swarm", "liar"))
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--about", type=PeerIdentity.from_npub, action="append", default=[], help="other nodes it names"
    )
    parser.add_argument("targets", nargs="+", type=_target)
    options = parser.parse_args()
    if options.kind == "swarm":
        result = swarm(options.targets, min(options.count, 500), options.seconds)
    else:
        addresses = [remote.node_addr for remote in (*options.about, *(target for target, _ in options.targets))]
        result = lie(options.targets, addresses, min(options.rate, 2000), options.seconds, options.seed)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
