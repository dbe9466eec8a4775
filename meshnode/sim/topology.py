"""Who is linked to whom: the shapes of mesh one draws, and those that chance makes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import cos, hypot, pi, sin, sqrt
from random import Random

Edge = tuple[int, int]


@dataclass(slots=True)
class Graph:
    """Nodes 0 to `size - 1`, undirected edges (smaller number first, sorted), and places to draw them at if any."""

    size: int
    edges: list[Edge]
    places: list[tuple[float, float]] = field(default_factory=list)

    @classmethod
    def of(cls, size: int, edges: Iterable[Edge], places: list[tuple[float, float]] | None = None) -> Graph:
        """Make a graph of edges in any order and direction; doubles and self-loops are left out."""
        unique = {(min(edge), max(edge)) for edge in edges if edge[0] != edge[1]}
        return cls(size, sorted(unique), places or [])


def chain(size: int) -> Graph:
    return Graph.of(size, ((i, i + 1) for i in range(size - 1)))


def ring(size: int) -> Graph:
    return Graph.of(size, ((i, (i + 1) % size) for i in range(size)))


def star(size: int) -> Graph:
    """Node 0 in the middle."""
    return Graph.of(size, ((0, i) for i in range(1, size)))


def full(size: int) -> Graph:
    return Graph.of(size, ((i, j) for i in range(size) for j in range(i)))


def grid(rows: int, columns: int) -> Graph:
    """Node r * columns + c stands in row r, column c."""
    edges = [(r * columns + c, r * columns + c + 1) for r in range(rows) for c in range(columns - 1)]
    edges += [(r * columns + c, (r + 1) * columns + c) for r in range(rows - 1) for c in range(columns)]
    places = [(c / max(columns - 1, 1), r / max(rows - 1, 1)) for r in range(rows) for c in range(columns)]
    return Graph.of(rows * columns, edges, places)


def tree(size: int, arity: int) -> Graph:
    """Node i hangs below node (i - 1) // arity."""
    return Graph.of(size, ((i, (i - 1) // arity) for i in range(1, size)))


def random_geometric(size: int, degree: float, random: Random) -> Graph:
    """Places in a unit square, links between the nearest pairs, so that a node has `degree` of them on average.

    Islands are joined to the rest by the shortest bridge there is, so the graph is connected.
    """
    places = [(random.random(), random.random()) for _ in range(size)]
    radius = 1.5 * sqrt(degree / (pi * max(size - 1, 1)))
    cells: dict[tuple[int, int], list[int]] = {}
    for i, (x, y) in enumerate(places):
        cells.setdefault((int(x / radius), int(y / radius)), []).append(i)
    pairs = []
    for i, (x, y) in enumerate(places):
        column, row = int(x / radius), int(y / radius)
        near = (cells.get((column + dx, row + dy), []) for dx in (-1, 0, 1) for dy in (-1, 0, 1))
        pairs += [(_apart(places[i], places[j]), i, j) for cell in near for j in cell if j < i]
    edges = [(i, j) for _, i, j in sorted(pairs)[: round(size * degree / 2)]]
    return Graph.of(size, edges + _bridges(size, edges, places), places)


def scale_free(size: int, attach: int, random: Random) -> Graph:
    """Each new node links to `attach` others, those with many links being likelier (Barabasi and Albert)."""
    attach = max(1, min(attach, size - 1))
    edges = [(i, j) for i in range(attach + 1) for j in range(i)]
    ends = [end for edge in edges for end in edge]
    for node in range(attach + 1, size):
        chosen: dict[int, None] = {}
        while len(chosen) < attach:
            chosen[random.choice(ends)] = None
        for other in chosen:
            edges.append((node, other))
            ends += (node, other)
    return Graph.of(size, edges)


def watts_strogatz(size: int, degree: int, rewire: float, random: Random) -> Graph:
    """A ring of neighbours of neighbours where the share `rewire` of links leads anywhere; bridged if it fell apart."""
    edges: dict[Edge, None] = {}
    for i in range(size):
        for step in range(1, max(degree // 2, 1) + 1):
            j = (i + step) % size
            if random.random() < rewire:
                j = random.randrange(size)
            if i != j:
                edges[min(i, j), max(i, j)] = None
    places = _circle(size)
    return Graph.of(size, [*edges, *_bridges(size, list(edges), places)], places)


def _apart(a: tuple[float, float], b: tuple[float, float]) -> float:
    return hypot(a[0] - b[0], a[1] - b[1])


def _bridges(size: int, edges: list[Edge], places: list[tuple[float, float]]) -> list[Edge]:
    """The shortest links that join the islands, largest island first."""
    islands = components(range(size), neighbours_of(range(size), edges))
    islands.sort(key=lambda island: (-len(island), island))
    mainland = list(islands[0]) if islands else []
    bridges = []
    for island in islands[1:]:
        pairs = ((_apart(places[i], places[j]), i, j) for i in island for j in mainland)
        _, i, j = min(pairs)
        bridges.append((i, j))
        mainland += island
    return bridges


def _circle(size: int) -> list[tuple[float, float]]:
    return [(0.5 + 0.5 * cos(2 * pi * i / size), 0.5 + 0.5 * sin(2 * pi * i / size)) for i in range(size)]


def neighbours_of(nodes: Iterable[int], edges: Iterable[Edge]) -> dict[int, list[int]]:
    """Adjacency lists, sorted by the order of `edges`."""
    result: dict[int, list[int]] = {node: [] for node in nodes}
    for a, b in edges:
        result[a].append(b)
        result[b].append(a)
    return result


def components(nodes: Iterable[int], neighbours: Mapping[int, list[int]]) -> list[list[int]]:
    """The connected parts, each sorted."""
    seen: set[int] = set()
    result = []
    for node in nodes:
        if node not in seen:
            part = sorted(distances(node, neighbours))
            seen.update(part)
            result.append(part)
    return result


def distances(start: int, neighbours: Mapping[int, list[int]]) -> dict[int, int]:
    """Fewest hops from `start` to everything it reaches."""
    found = {start: 0}
    waiting = deque((start,))
    while waiting:
        node = waiting.popleft()
        for other in neighbours[node]:
            if other not in found:
                found[other] = found[node] + 1
                waiting.append(other)
    return found


def layout(graph: Graph) -> list[tuple[float, float]]:
    """Where to draw each node, in a unit square."""
    return graph.places or _circle(graph.size)


Builder = Callable[[Mapping[str, float], Random], Graph]

SHAPES: dict[str, tuple[dict[str, float | None], Builder]] = {
    # Name: parameters with their defaults (None: has to be given), and how to build it.
    "chain": ({"nodes": None}, lambda p, r: chain(int(p["nodes"]))),
    "ring": ({"nodes": None}, lambda p, r: ring(int(p["nodes"]))),
    "star": ({"nodes": None}, lambda p, r: star(int(p["nodes"]))),
    "full": ({"nodes": None}, lambda p, r: full(int(p["nodes"]))),
    "grid": ({"rows": None, "columns": None}, lambda p, r: grid(int(p["rows"]), int(p["columns"]))),
    "tree": ({"nodes": None, "arity": 2}, lambda p, r: tree(int(p["nodes"]), int(p["arity"]))),
    "random_geometric": ({"nodes": None, "degree": 8}, lambda p, r: random_geometric(int(p["nodes"]), p["degree"], r)),
    "scale_free": ({"nodes": None, "attach": 2}, lambda p, r: scale_free(int(p["nodes"]), int(p["attach"]), r)),
    "watts_strogatz": (
        {"nodes": None, "degree": 4, "rewire": 0.1},
        lambda p, r: watts_strogatz(int(p["nodes"]), int(p["degree"]), p["rewire"], r),
    ),
}
