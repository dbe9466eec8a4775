"""The routing decision: which peer is strictly nearer to the destination (spec 03 sections 8 and 9.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

from meshnode.mesh.bloom import member_mask
from meshnode.mesh.coordinates import INFINITE, Coordinates, NodeAddr, distance
from meshnode.mesh.neighbour import Neighbours

UNMEASURED_COST = 1.0
STEADINESS = 0.85
"""How the cost of the hop in use is weighed: measurements waver, and packets on changing ways overtake each other."""


class RouteClass(Enum):
    """How a forwarded datagram left, relative to the tree; values as used in counters and diagnostics."""

    DIRECT_PEER = "direct_peer"
    TREE_UP = "tree_up"
    TREE_DOWN = "tree_down"
    TREE_DOWN_CROSS = "tree_down_cross"
    CROSSLINK_DESCEND = "crosslink_descend"
    CROSSLINK_ASCEND = "crosslink_ascend"


def nearest_hop(
    mine: Coordinates,
    destination: Coordinates,
    neighbours: Neighbours,
    link_cost: Callable[[NodeAddr], float | None],
    favourite: NodeAddr | None = None,
    excluded: NodeAddr | None = None,
) -> NodeAddr | None:
    """The peer to forward to, for a destination that is no reliable direct peer; never the `excluded` one.

    Only peers strictly nearer than we are come into question, which keeps a mesh free of loops. Those whose filter
    contains the destination go first, the cheapest by the cost of the link and the hops that remain; without any, the
    nearest one along the tree is taken. A
    doubtful peer is the second choice after any other, a distrusted one none as long as there are others: no way at all
    is better, as it makes us look for one. A black hole is the last choice. The `favourite`, as a rule the choice so
    far, stays until another one is clearly cheaper.
    """
    placed = {a: (n, n.position.coordinates) for a, n in neighbours.items() if n.position is not None and a != excluded}
    paths = {a: path for a, (n, path) in placed.items() if not (n.doubtful or n.black_hole)}
    hop = _nearest_hop(mine, destination, neighbours, paths, link_cost, favourite)
    if hop is not None or len(paths) == len(placed):
        return hop
    alone = not any(neighbour.trusted for neighbour in neighbours.values())
    usable = {a: (n, path) for a, (n, path) in placed.items() if n.trusted or alone}
    relays = {a: path for a, (n, path) in usable.items() if not n.black_hole}
    hop = _nearest_hop(mine, destination, neighbours, relays, link_cost, favourite)
    if hop is not None or len(relays) == len(usable):
        return hop
    paths = {a: path for a, (_, path) in usable.items()}
    return _nearest_hop(mine, destination, neighbours, paths, link_cost, favourite)


def _nearest_hop(
    mine: Coordinates,
    destination: Coordinates,
    neighbours: Neighbours,
    paths: Mapping[NodeAddr, Coordinates],
    link_cost: Callable[[NodeAddr], float | None],
    favourite: NodeAddr | None,
) -> NodeAddr | None:
    limit = distance(mine, destination)
    mask = member_mask(destination[0])
    candidates = []
    for address, path in paths.items():
        bits = neighbours[address].filter
        if bits is None or bits & mask != mask:
            continue
        hops = distance(path, destination)
        if hops < limit:
            cost = link_cost(address)
            cost = UNMEASURED_COST if cost is None else cost
            candidates.append((hops + (cost * STEADINESS if address == favourite else cost), hops, address))
    if candidates:
        return min(candidates)[2]
    return greedy_hop(mine, destination, paths)


def greedy_hop(mine: Coordinates, destination: Coordinates, paths: Mapping[NodeAddr, Coordinates]) -> NodeAddr | None:
    """The peer nearest to the destination along the tree, if nearer than we are; ties go to the smaller address."""
    limit = distance(mine, destination)
    if limit == INFINITE:
        return None
    nearest = min(((distance(path, destination), address) for address, path in paths.items()), default=None)
    return nearest[1] if nearest is not None and nearest[0] < limit else None


def classify(
    mine: Coordinates,
    destination: NodeAddr,
    destination_path: Coordinates | None,
    hop: NodeAddr,
    hop_path: Coordinates | None,
) -> RouteClass:
    """Name the way a datagram for `destination` took through `hop`; unknown coordinates are None."""
    if hop == destination:
        return RouteClass.DIRECT_PEER
    if hop in mine[1:]:
        return RouteClass.TREE_UP
    inside = destination_path is not None and hop in destination_path[1:]
    if hop_path is not None and mine[0] in hop_path[1:]:
        return RouteClass.TREE_DOWN if inside else RouteClass.TREE_DOWN_CROSS
    return RouteClass.CROSSLINK_DESCEND if inside else RouteClass.CROSSLINK_ASCEND
