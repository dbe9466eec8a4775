"""The part of a simulated node that can be told to lie about its place in the tree."""

from __future__ import annotations

from meshnode.mesh.router import Router
from meshnode.mesh.tree import Tree
from meshnode.wire.tree import AncestryEntry


class WilfulTree(Tree):
    """An honest tree, unless it is made `stubborn`: then it stays as it is, whatever neighbours say."""

    stubborn = False

    def better_parent(self, now: float) -> bytes | None:
        return None if self.stubborn else super().better_parent(now)

    def escape(self, now: float) -> bytes | None:
        return None if self.stubborn else super().escape(now)

    def should_be_root(self, now: float) -> bool:
        return not self.stubborn and super().should_be_root(now)

    def set_parent(self, parent: bytes, now: float, wall: float) -> None:
        if not self.stubborn:
            super().set_parent(parent, now, wall)

    def become_root(self, wall: float) -> None:
        if not self.stubborn:
            super().become_root(wall)

    def recover(self, now: float, wall: float) -> None:
        if not self.stubborn:
            super().recover(now, wall)

    def claim(self, root: bytes, wall: float) -> None:
        """Declare to hang right below `root`, which need not exist."""
        self.parent = root
        self._ancestry = [AncestryEntry(root, 1, int(wall))]
        self.coordinates = [self.me, root]
        self.sequence += 1
        self.timestamp = int(wall)
        self._sign()


class WilfulRouter(Router):
    """A router whose tree can be made to lie."""

    tree_type = WilfulTree
