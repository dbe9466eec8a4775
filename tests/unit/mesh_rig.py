"""What the tests of the mesh machines share: vectors, addresses, and a whole mesh of Routers on one virtual clock."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from meshnode.identity import Identity, PeerIdentity
from meshnode.mesh.router import Router, RouterEvent
from meshnode.mesh.settings import MeshSettings

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "mesh.json").read_text())
WALL = 1_700_000_000.0


def addr(value: int | str) -> bytes:
    """The address a vector means: a small integer is its first byte, text is hex."""
    return bytes([value]) + bytes(15) if isinstance(value, int) else bytes.fromhex(value)


def path(values: list[int] | list[str]) -> list[bytes]:
    return [addr(value) for value in values]


def identity(number: int) -> Identity:
    return Identity(number.to_bytes(32, "big"))


def sorted_identities(count: int) -> list[Identity]:
    """Identities in ascending order of address, so that index 0 becomes root."""
    return sorted((identity(n + 1) for n in range(count)), key=lambda i: i.node_addr)


class MeshNet:
    """Routers joined by links without loss and with no delay but the order of sending; time moves only when told.

    Nodes are named by their index; a smaller index is a smaller address. `lost` may refuse messages.
    Nobody relays datagrams but to send them back to where they come from, and without `relaying` not even that.
    """

    def __init__(self, count: int, seed: int = 1, settings: MeshSettings | None = None) -> None:
        self.now = 1000.0
        self.clock_is_off = 0.0
        self.random = Random(seed)
        self.identities = sorted_identities(count)
        self.index = {i.node_addr: n for n, i in enumerate(self.identities)}
        self.costs: dict[tuple[int, int], float] = {}
        self.links: set[tuple[int, int]] = set()
        self.queue: deque[tuple[int, int, bytes]] = deque()
        self.delivered: list[tuple[int, int, bytes]] = []
        self.events: list[list[RouterEvent]] = [[] for _ in range(count)]
        self.lost: Callable[[int, int, bytes], bool] = lambda sender, receiver, message: False
        self.relaying = True
        self.routers = [self._make(n, settings or MeshSettings()) for n in range(count)]
        self._next_tick = self.now + 1

    def _make(self, n: int, settings: MeshSettings) -> Router:
        return Router(
            self.identities[n],
            settings,
            self.random.randbytes,
            self.now,
            self.wall,
            lambda peer: self.costs.get((n, self.index[peer])),
            self._identity_of,
        )

    def _identity_of(self, target: bytes) -> PeerIdentity | None:
        return self.identities[self.index[target]].peer if target in self.index else None

    @property
    def wall(self) -> float:
        return WALL + self.now + self.clock_is_off

    def link(self, a: int, b: int, mtu: int = 1472) -> None:
        self.links |= {(a, b), (b, a)}
        for here, there in ((a, b), (b, a)):
            self.routers[here].peer_up(self.identities[there].peer, mtu, self.now, self.wall)
        self.settle()

    def unlink(self, a: int, b: int) -> None:
        self.links -= {(a, b), (b, a)}
        for here, there in ((a, b), (b, a)):
            self.routers[here].peer_down(self.identities[there].node_addr, self.now, self.wall)
        self.settle()

    def settle(self) -> None:
        """Deliver everything that can be delivered without time passing."""
        for _ in range(100_000):
            self._collect()
            if not self.queue:
                return
            sender, receiver, message = self.queue.popleft()
            if (sender, receiver) not in self.links or self.lost(sender, receiver, message):
                continue
            if message[0] == 0:
                self._send_back(sender, receiver, message)
                continue
            self.delivered.append((sender, receiver, message))
            source = self.identities[sender].node_addr
            self.routers[receiver].message(source, message[0], message[1:], self.now, self.wall)
        raise AssertionError("the mesh never falls silent")

    def _send_back(self, sender: int, receiver: int, message: bytes) -> None:
        """What a relay does with a datagram from its neighbour to its neighbour."""
        if self.relaying:
            self.routers[sender].black_holes.returned([message[40:]], self.now)

    def _collect(self) -> None:
        for n, router in enumerate(self.routers):
            sent, router.outbound = router.outbound, []
            self.queue.extend((n, self.index[peer], message) for peer, message in sent)
            happened, router.events = router.events, []
            self.events[n].extend(happened)

    def run(self, seconds: float) -> None:
        """Let time pass, firing every router's deadlines and ticks in order."""
        end = self.now + seconds
        while True:
            self.settle()
            deadlines = [max(d, self.now) for d in (r.next_deadline() for r in self.routers) if d is not None]
            moment = min([*deadlines, self._next_tick])
            if moment > end:
                self.now = end
                return
            self.now = moment
            self._fire(moment)

    def _fire(self, moment: float) -> None:
        if moment >= self._next_tick:
            self._next_tick += 1
            for router in self.routers:
                router.tick(self.now, self.wall)
            return
        for router in self.routers:
            deadline = router.next_deadline()
            if deadline is not None and deadline <= moment:
                router.handle_timeout(self.now, self.wall)

    def address(self, n: int) -> bytes:
        return self.identities[n].node_addr

    def parents(self) -> list[int]:
        """Parent of every node; a root is its own."""
        return [self.index[router.tree.parent] for router in self.routers]

    def coordinates(self, n: int) -> list[int]:
        return [self.index[a] for a in self.routers[n].own_coordinates]

    def teach(self, at: int, target: int) -> None:
        """Let a node know where another is, as session traffic would."""
        coordinates = self.routers[target].own_coordinates
        self.routers[at].coordinate_cache.insert(self.address(target), coordinates, self.now)

    def route(self, source: int, destination: int) -> list[int]:
        """The nodes a datagram visits; ends early where no next hop is known. Fails on a loop."""
        visited = [source]
        while visited[-1] != destination:
            hop = self.routers[visited[-1]].next_hop(self.address(destination), self.now)
            if hop is None:
                return visited
            assert self.index[hop] not in visited, f"loop: {visited} -> {self.index[hop]}"
            visited.append(self.index[hop])
        return visited
