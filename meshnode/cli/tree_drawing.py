"""The tree of the mesh, as far as one node knows it, drawn with lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Branch:
    """A node of the tree and what hangs below it, by node address."""

    node_addr: str
    children: dict[str, Branch] = field(default_factory=dict)


def forest(paths: Iterable[Sequence[str]]) -> dict[str, Branch]:
    """The trees that coordinates describe; each path goes from a node up to its root."""
    roots: dict[str, Branch] = {}
    for path in paths:
        level = roots
        for node_addr in reversed(path):
            branch = level.setdefault(node_addr, Branch(node_addr))
            level = branch.children
    return roots


def known_paths(tree: Mapping[str, Any], cache: Mapping[str, Any]) -> list[Sequence[str]]:
    """All coordinates in the answers of `show_tree` and `show_cache`."""
    peers = [row["coords"] for row in tree["peers"] if "coords" in row]
    return [tree["my_coords"], *peers, *(row["coords"] for row in cache.get("entries", ()))]


def known_labels(tree: Mapping[str, Any], cache: Mapping[str, Any]) -> dict[str, str]:
    """Names by node address, from the same answers."""
    rows = [*tree["peers"], *cache.get("entries", ())]
    labels = {row["node_addr"]: str(row["display_name"]) for row in rows}
    if tree.get("parent_display_name"):
        labels.setdefault(tree["parent"], str(tree["parent_display_name"]))
    labels[tree["my_node_addr"]] = "this node"
    return labels


def drawn(tree: Mapping[str, Any], cache: Mapping[str, Any]) -> list[str]:
    """The lines of the picture; peers are marked with a star."""
    labels = known_labels(tree, cache)
    peers = {row["node_addr"] for row in tree["peers"]}
    lines: list[str] = []
    for root in _sorted(forest(known_paths(tree, cache)), labels):
        lines.append(f"{_label(root, labels, peers)} (root)")
        _draw(root, "", labels, peers, lines)
    return lines


def _draw(branch: Branch, prefix: str, labels: Mapping[str, str], peers: set[str], lines: list[str]) -> None:
    children = _sorted(branch.children, labels)
    for number, child in enumerate(children, 1):
        is_last = number == len(children)
        lines.append(f"{prefix}{'└─ ' if is_last else '├─ '}{_label(child, labels, peers)}")
        _draw(child, prefix + ("   " if is_last else "│  "), labels, peers, lines)


def _sorted(branches: Mapping[str, Branch], labels: Mapping[str, str]) -> list[Branch]:
    return sorted(branches.values(), key=lambda branch: labels.get(branch.node_addr, branch.node_addr))


def _label(branch: Branch, labels: Mapping[str, str], peers: set[str]) -> str:
    name = labels.get(branch.node_addr, f"{branch.node_addr[:8]}...")
    return f"{name} *" if branch.node_addr in peers else name
