"""Two or more link layers on one clock, joined by a wire that the test bends as it likes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from meshnode.identity import Identity
from meshnode.mesh.link import LinkEvent, LinkLayer, PeerLink
from meshnode.mesh.settings import MeshSettings

Filter = Callable[[str, str, bytes], list[bytes]]


def deterministic_entropy(seed: int) -> Callable[[int], bytes]:
    return Random(seed).randbytes


class LinkHost:
    """One node reduced to its link layer; its address is its name."""

    def __init__(self, name: str, seed: int, settings: MeshSettings | None = None, identity: Identity | None = None):
        entropy = deterministic_entropy(seed)
        self.name = name
        self.identity = identity or Identity.generate(entropy)
        self.settings = settings or MeshSettings()
        self.layer = LinkLayer(self.identity, entropy(8), self.settings, entropy, Random(seed), now=0.0)
        self.events: list[LinkEvent] = []
        self.received: list[bytes] = []

    def peer(self, other: LinkHost) -> PeerLink:
        return self.layer.peers[other.identity.node_addr]

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


class LinkNet:
    """Delivers every frame at once unless `wire` says otherwise; `run` moves the clock in ticks."""

    def __init__(self, *hosts: LinkHost) -> None:
        self.hosts = {host.name: host for host in hosts}
        self.now = 0.0
        self.wire: Filter = lambda source, target, frame: [frame]
        self.log: list[tuple[str, str, bytes]] = []

    def dial(self, source: LinkHost, target: LinkHost) -> None:
        source.layer.dial(target.identity.peer, (1, target.name), self.now)

    def inject(self, source_name: str, target: LinkHost, frame: bytes) -> None:
        """Hand one frame to `target` as if it came from the address `source_name`."""
        for run in target.layer.receive(1, source_name, [frame], self.now):
            for plaintext in run.plaintexts:
                target.received.append(plaintext[4:])
                if plaintext[4] in (0x01, 0x02, 0x50, 0x51):
                    target.layer.message(run.peer, plaintext[4], plaintext[5:], self.now)

    def settle(self) -> None:
        """Deliver until nobody has anything to say."""
        for _ in range(1000):
            sent = [
                (host.name, address, frame)
                for host in list(self.hosts.values())
                for (_, address), frame in host.layer.drain_outbound()
            ]
            self._collect()
            if not sent:
                return
            for source, target, frame in sent:
                self.log.append((source, target, frame))
                for copy in self.wire(source, target, frame):
                    if target in self.hosts:
                        self.inject(source, self.hosts[target], copy)
        raise AssertionError("the net never falls silent")

    def _collect(self) -> None:
        for host in self.hosts.values():
            host.events.extend(host.layer.drain_events())

    def run(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass: timeouts every `step`, a tick every second."""
        for _ in range(round(seconds / step)):
            self.now += step
            for host in self.hosts.values():
                deadline = host.layer.next_deadline()
                if deadline is not None and deadline <= self.now:
                    host.layer.handle_timeout(self.now)
                if self.now % 1.0 == 0:
                    host.layer.tick(self.now)
            self.settle()
