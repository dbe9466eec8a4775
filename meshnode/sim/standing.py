"""How the mesh stands at one moment: the parts physics allows, and whether the nodes of each agree."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from .machine import Machine, SimNode
from .medium import Medium
from .topology import Edge, components


@dataclass(frozen=True, slots=True)
class Standing:
    """`problems` names what a settled tree would not show; empty means: one tree per part, known to all its nodes."""

    parts: list[list[int]]
    roots: int
    depth: int
    problems: list[str]

    @property
    def settled(self) -> bool:
        return not self.problems


def physical_parts(machines: list[Machine], edges: Iterable[Edge], medium: Medium) -> list[list[int]]:
    """Machines that run, grouped by who can reach whom over links that work both ways."""
    neighbours: dict[int, list[int]] = {i: [] for i, machine in enumerate(machines) if machine.running}
    for a, b in edges:
        if a in neighbours and b in neighbours and medium.joined(machines[a].name, machines[b].name):
            neighbours[a].append(b)
            neighbours[b].append(a)
    return components(neighbours, neighbours)


def stand(machines: list[Machine], parts: list[list[int]], medium: Medium, dishonest: Collection[str] = ()) -> Standing:
    """Judge the trees of all parts; where a dishonest node says it is, is nobody's fault."""
    problems: list[str] = []
    depth = 0
    everybody = {machine.address for machine in machines}
    all_roots: set[bytes] = set()
    for part in parts:
        members = {machines[i].address: node for i in part if (node := machines[i].node) is not None}
        roots = {node.router.tree.root for node in members.values()}
        all_roots |= roots
        depth = max([depth, *(len(node.router.tree.coordinates) - 1 for node in members.values())])
        if len(roots) > 1:
            problems.append(f"{len(roots)} roots in a part of {len(part)} nodes")
        elif not roots & members.keys() and roots & everybody:
            problems.append(f"the root of a part of {len(part)} nodes is gone")
        else:
            honest = (node for node in members.values() if node.label not in dishonest)
            problems += [text for node in honest if (text := _misplaced(node, members, everybody, medium))]
    return Standing(parts, len(all_roots), depth, problems)


def _misplaced(node: SimNode, members: dict[bytes, SimNode], everybody: set[bytes], medium: Medium) -> str | None:
    """What is wrong with a node's place in the tree of its part, judged by where its parent really is."""
    tree = node.router.tree
    if tree.is_root:
        return None
    parent = members.get(tree.parent)
    if parent is None:
        return f"the parent of {node.label} is out of reach" if tree.parent in everybody else None
    linked = node.identity.node_addr in parent.links.peers and tree.parent in node.links.peers
    if not linked or not medium.joined(node.label, parent.label):
        return f"{node.label} and its parent {parent.label} are not linked"
    if tree.coordinates[1:] != parent.router.tree.coordinates:
        return f"{node.label} takes its parent {parent.label} to be elsewhere"
    return None


def cycle(machines: list[Machine]) -> list[str]:
    """The names along a circle of parents, empty when there is none."""
    parents = {machine.address: machine.node.router.tree.parent for machine in machines if machine.node is not None}
    sound: set[bytes] = set()
    for start in parents:
        path: dict[bytes, None] = {}
        at = start
        while at in parents and at not in sound and at not in path and parents[at] != at:
            path[at] = None
            at = parents[at]
        if at in path:
            names = {machine.address: machine.name for machine in machines}
            return [names[a] for a in list(path)[list(path).index(at) :]]
        sound.update(path)
    return []


def filters_settled(machines: list[Machine], medium: Medium) -> bool:
    """Whether every node holds, of each tree neighbour it can hear, the filter that neighbour would send now."""
    running = {machine.address: machine.node for machine in machines if machine.node is not None}
    for address, node in running.items():
        router = node.router
        if any(neighbour.filter_announce.pending for neighbour in router.neighbours.values()):
            return False
        for peer, bits in router.filters.outgoing().items():
            other = running.get(peer)
            if other is None or not router.is_tree_peer(peer) or not medium.joined(node.label, other.label):
                continue
            seen = other.router.neighbours.get(address)
            if seen is None or seen.filter != bits:
                return False
    return True
