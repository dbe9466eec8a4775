"""Meshes of real nodes on one machine: a shape is a list of edges, every edge is a cable that can be cut and mended."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise, permutations
from random import Random
from typing import Any

from tests.rigs.hosts import cable
from tests.rigs.labs import Lab
from tests.rigs.nodes import Node, Program
from tests.rigs.waiting import wait_until

Edge = tuple[int, int]
Pair = tuple[Node, Node]


def row(count: int) -> list[Edge]:
    return list(pairwise(range(count)))


def ring(count: int) -> list[Edge]:
    return [*row(count), (count - 1, 0)]


def grid(width: int, height: int) -> list[Edge]:
    across = [(y * width + x, y * width + x + 1) for y in range(height) for x in range(width - 1)]
    down = [(y * width + x, (y + 1) * width + x) for y in range(height - 1) for x in range(width)]
    return across + down


def star(count: int) -> list[Edge]:
    """Return the edges of one centre, number 0, and `count` - 1 nodes around it; all dial the centre."""
    return [(number, 0) for number in range(1, count)]


def tangle(count: int, chords: int, seed: int) -> list[Edge]:
    """Return a ring in random order with random chords: any one node may go and the others stay connected."""
    random = Random(seed)
    order = random.sample(range(count), count)
    edges = {(order[left], order[right]) for left, right in ring(count)}
    spare = [edge for edge in permutations(range(count), 2) if edge not in edges and edge[::-1] not in edges]
    random.shuffle(spare)
    for edge in spare:
        if len(edges) == count + chords:
            break
        if edge[::-1] not in edges:
            edges.add(edge)
    return sorted(edges)


@dataclass
class Cable:
    """One veth pair between two nodes' hosts; the left node dials the right one at `address`."""

    left: Node
    right: Node
    interface: str
    address: str

    def cut(self) -> None:
        """Take the left end down: the left host has no route then, the right one only silence."""
        self.left.host.ip(f"link set {self.interface} down")

    def mend(self) -> None:
        self.left.host.ip(f"link set {self.interface} up")


class Mesh:
    """Nodes n0, n1, ... and a cable per edge; the first node of an edge dials the second. Nothing runs yet."""

    def __init__(
        self,
        lab: Lab,
        edges: Iterable[Edge],
        programs: Sequence[Program | None] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        edges = list(edges)
        count = 1 + max(map(max, edges))
        chosen = [*programs, *[None] * (count - len(programs))]
        self.nodes = [
            lab.node(f"n{number}", lab.host(f"host-n{number}"), program, settings)
            for number, program in enumerate(chosen)
        ]
        self.cables = [self._lay(number, *edge) for number, edge in enumerate(edges)]

    def _lay(self, number: int, dialling: int, listening: int) -> Cable:
        left, right = self.nodes[dialling], self.nodes[listening]
        interface = f"to-{right.name}"
        ends = cable(left.host, right.host, f"10.97.{number}", interface, f"to-{left.name}")
        left.dials(right, ends[1])
        return Cable(left, right, interface, ends[1])

    def start(self) -> float:
        """Start all nodes at once; return after how many seconds the last of them was up."""
        begin = time.monotonic()
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready(60)
        return time.monotonic() - begin

    def neighbours(self, node: Node, without: Sequence[Node | Cable] = ()) -> list[Node]:
        """Return the nodes one cable away; what is in `without` is taken as absent."""
        cables = [cable for cable in self.cables if cable not in without and node in (cable.left, cable.right)]
        far = [cable.right if cable.left is node else cable.left for cable in cables]
        return [other for other in far if other not in without]

    def parts(self, without: Sequence[Node | Cable] = ()) -> list[list[Node]]:
        """Return the connected parts that remain without some nodes and cables."""
        left, found = [node for node in self.nodes if node not in without], []
        while left:
            part, fresh = [left[0]], [left[0]]
            while fresh:
                fresh = [other for node in fresh for other in self.neighbours(node, without) if other not in part]
                fresh = list(dict.fromkeys(fresh))
                part += fresh
            found.append(part)
            left = [node for node in left if node not in part]
        return found

    def pairs(self, without: Sequence[Node | Cable] = ()) -> list[Pair]:
        """Return all directed pairs between which a path of cables remains."""
        return [pair for part in self.parts(without) for pair in permutations(part, 2)]

    def wait_linked(self, deadline: float = 30.0) -> None:
        """Return once both ends of every cable show the other as connected."""
        for node in self.nodes:
            node.wait_connected(*self.neighbours(node), deadline=deadline)

    def wait_one_root(self, nodes: Sequence[Node], deadline: float) -> float:
        """Wait until these nodes agree that the smallest address among them is the root; return the seconds it took."""
        begin, root = time.monotonic(), root_of(nodes).identity.node_addr.hex()
        wait_until(lambda: roots(nodes) == {root}, deadline, f"one root among {len(nodes)} nodes", interval=0.1)
        return time.monotonic() - begin


def root_of(nodes: Sequence[Node]) -> Node:
    """Return the node that the tree rules make the root of these nodes (spec 03 section 3.5)."""
    return min(nodes, key=lambda node: node.identity.node_addr)


def roots(nodes: Iterable[Node]) -> set[str]:
    """Return the roots these nodes name; one that does not answer names none."""
    named: set[str] = set()
    for node in nodes:
        with suppress(OSError):
            named.add(str(node.ask("show_tree")["root"]))
    return named


def parent_of(node: Node, among: Sequence[Node]) -> Node | None:
    """Return which of these nodes is this one's parent in the tree, or None for a root."""
    tree = node.ask("show_tree")
    return next((other for other in among if other.identity.node_addr.hex() == tree["parent"]), None)


def forwarded(node: Node) -> int:
    """Return how many packets a node has passed on for others."""
    return int(node.status()["forwarding"]["forwarded_packets"])


def busiest(nodes: Iterable[Node]) -> Node:
    """Return the node that has passed on most packets."""
    return max(nodes, key=forwarded)
