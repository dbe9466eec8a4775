"""Nodes with nothing but a session layer, on one virtual clock, joined by a network that can delay and lose."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

from meshnode.identity import Identity
from meshnode.mesh.session import (
    Delivery,
    PendingReady,
    Queued,
    Session,
    SessionEstablished,
    SessionEvent,
    SessionLayer,
    SessionNotReady,
)
from meshnode.mesh.settings import MeshSettings

SETUP, ACK, MSG3 = 1, 2, 3
A_SECRET = bytes(range(1, 33))
B_SECRET = bytes([1]) * 32
"""Of the two identities of spec 02 section 21, A has the smaller address."""
PORT = 2000


class FakeRouter:
    """What the session layer asks of the router, as plain attributes."""

    def __init__(self, own: bytes) -> None:
        self.own_coordinates = [own, bytes(16)]
        self.cache: dict[bytes, list[bytes]] = {}
        self.routed = True
        self.hop: bytes | None = None

    def coordinates_for(self, destination: bytes, now: float) -> list[bytes] | None:
        return self.cache.get(destination)

    def learn_coordinates(self, owner: bytes, coordinates: list[bytes], now: float) -> None:
        if coordinates:
            self.cache[owner] = coordinates

    def forget_coordinates(self, destination: bytes) -> None:
        self.cache.pop(destination, None)

    def next_hop(self, destination: bytes, now: float) -> bytes | None:
        return (self.hop or destination) if self.routed else None


class Node:
    """One session layer with the few things its driver does."""

    def __init__(self, net: Net, secret: bytes, seed: int, settings: MeshSettings | None = None) -> None:
        self.net = net
        self.identity = Identity(secret)
        self.address = self.identity.node_addr
        self.settings = settings or MeshSettings()
        self.random = Random(seed)
        self.alive = True
        self.router = FakeRouter(self.address)
        self.restart()

    def restart(self) -> None:
        """Come back with the same identity and nothing else."""
        self.alive = True
        self.epoch = self.random.randbytes(8)
        self.layer = SessionLayer(
            self.identity, self.epoch, self.settings, self.random.randbytes, self.random, self.router
        )
        self.events: list[SessionEvent] = []
        self.received: list[bytes] = []
        self.sent: list[tuple[bytes, bytes]] = []

    def session(self, other: Node) -> Session:
        return self.layer.sessions[other.address]

    def open(self, other: Node) -> None:
        self.layer.open(other.identity.peer, self.net.now)
        self.drain()

    def send(self, other: Node, *payloads: bytes) -> None:
        """As the node does it: seal, or queue and open."""
        try:
            messages = self.layer.seal(other.address, PORT, PORT, list(payloads), self.net.now)
        except SessionNotReady:
            for payload in payloads:
                self.layer.queue(other.address, Queued(PORT, PORT, payload), self.net.now)
            self.open(other)
            return
        for message in messages:
            self._originate(other.address, message)

    def receive(self, source: bytes, message: bytes, path_mtu: int = 1400, ce: bool = False) -> list[Delivery]:
        """Take one message from any claimed source."""
        deliveries = self.layer.receive(source, source, [message], 0, path_mtu, ce, self.net.now)
        for delivery in deliveries:
            self.received += [buffer[delivery.offset :] for buffer in delivery.buffers]
        self.drain()
        return deliveries

    def drain(self) -> None:
        out, self.layer.outbound = self.layer.outbound, []
        for message in out:
            self._originate(message.destination, message.payload)
        events, self.layer.events = self.layer.events, []
        self.events += events
        for event in events:
            if isinstance(event, SessionEstablished):
                self._flush(event.remote.node_addr, event.queued)
            elif isinstance(event, PendingReady):
                self._flush(event.remote, event.queued)

    def _flush(self, remote: bytes, queued: list[Queued]) -> None:
        for item in queued:
            for message in self.layer.seal(
                remote, item.source_port, item.destination_port, [item.payload], self.net.now
            ):
                self._originate(remote, message)

    def _originate(self, destination: bytes, message: bytes) -> None:
        self.sent.append((destination, message))
        self.net.carry(self, destination, message)

    def phases(self) -> list[int]:
        """The phases of everything sent so far."""
        return [message[0] & 15 for _destination, message in self.sent]

    def handshakes(self) -> list[int]:
        return [phase for phase in self.phases() if phase]


class Net:
    """Carries messages after `latency` seconds; `lose` decides which never arrive."""

    def __init__(self, latency: float = 0.01, seed: int = 1) -> None:
        self.now = 1000.0
        self.latency = latency
        self.seed = seed
        self.nodes: dict[bytes, Node] = {}
        self.lose: Callable[[Node, bytes], bool] = lambda source, message: False
        self._flight: list[tuple[float, int, bytes, bytes, bytes]] = []
        self._serial = 0
        self._next_tick = self.now + 1

    def node(self, secret: bytes, settings: MeshSettings | None = None) -> Node:
        node = Node(self, secret, self.seed + len(self.nodes), settings)
        self.nodes[node.address] = node
        return node

    def carry(self, source: Node, destination: bytes, message: bytes) -> None:
        if not self.lose(source, message):
            self.hold(self.latency, source.address, destination, message)

    def hold(self, delay: float, source: bytes, destination: bytes, message: bytes) -> None:
        """Deliver a message later, whatever becomes of the original."""
        self._serial += 1
        heapq.heappush(self._flight, (self.now + delay, self._serial, source, destination, message))

    def run(self, seconds: float) -> None:
        """Let time pass: messages arrive, deadlines and ticks come."""
        end = self.now + seconds
        while True:
            when = min([self._next_tick, *self._deadlines(), *[item[0] for item in self._flight[:1]]])
            if when > end:
                break
            self.now = max(self.now, when)
            self._happen()
        self.now = end

    def _deadlines(self) -> list[float]:
        alive = [node for node in self.nodes.values() if node.alive]
        return [when for node in alive if (when := node.layer.next_deadline()) is not None]

    def _happen(self) -> None:
        while self._flight and self._flight[0][0] <= self.now:
            _when, _serial, source, destination, message = heapq.heappop(self._flight)
            node = self.nodes.get(destination)
            if node is not None and node.alive:
                node.receive(source, message)
        for node in self.nodes.values():
            if node.alive:
                node.layer.handle_timeout(self.now)
                deadline = node.layer.next_deadline()
                assert deadline is None or deadline > self.now, "a served deadline must not come back at once"
                node.drain()
        if self.now >= self._next_tick:
            self._next_tick += 1
            for node in self.nodes.values():
                if node.alive:
                    node.layer.tick(self.now)
                    node.drain()


def pair(settings: MeshSettings | None = None, latency: float = 0.01, seed: int = 1) -> tuple[Net, Node, Node]:
    """A network with A (smaller address) and B."""
    net = Net(latency, seed)
    return net, net.node(A_SECRET, settings), net.node(B_SECRET, settings)


def established(settings: MeshSettings | None = None, latency: float = 0.01, seed: int = 1) -> tuple[Net, Node, Node]:
    """The same with a session that A opened, used in both directions and past its warm-up."""
    net, a, b = pair(settings, latency, seed)
    a.send(b, b"hello")
    net.run(0.1 + 4 * latency)
    for _ in range(6):
        a.send(b, b"ping")
        b.send(a, b"pong")
    net.run(0.1 + 2 * latency)
    assert a.session(b).established
    assert b.session(a).established
    a.received.clear()
    b.received.clear()
    a.sent.clear()
    b.sent.clear()
    return net, a, b


def lose_first(*phases: int) -> Callable[[Node, bytes], bool]:
    """Lose the first message of each phase given."""
    waiting = list(phases)

    def lose(source: Node, message: bytes) -> bool:
        phase = message[0] & 15
        if phase in waiting:
            waiting.remove(phase)
            return True
        return False

    return lose


def exchange(net: Net, a: Node, b: Node) -> bool:
    """Whether data passes in both directions now."""
    a.received.clear()
    b.received.clear()
    a.send(b, b"there")
    b.send(a, b"and back")
    net.run(max(0.1, 3 * net.latency))
    return b.received == [b"there"] and a.received == [b"and back"]
