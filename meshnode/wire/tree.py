"""Spanning tree announcements (spec 03 sections 3.1 to 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar

from .errors import WireError, need
from .link import TREE_ANNOUNCE

VERSION = 1
_HEADER = Struct("<BQQ16sH")
_ENTRY = Struct("<16sQQ")
_SIGNED = Struct("<16s16sQQ")
_SIGNATURE_SIZE = 64


@dataclass(slots=True)
class AncestryEntry:
    """One node on the way to the root; sequence and Unix timestamp are carried along and never checked."""

    node_addr: bytes
    sequence: int
    timestamp: int


@dataclass(slots=True)
class TreeAnnounce:
    """A node's signed choice of parent with the path from itself (first) to the root (last)."""

    TYPE: ClassVar[int] = TREE_ANNOUNCE
    sequence: int
    timestamp: int
    parent: bytes
    ancestry: list[AncestryEntry]
    signature: bytes

    @classmethod
    def parse(cls, body: bytes) -> TreeAnnounce:
        """Read what follows the type byte; raise `WireError` when its structure is wrong.

        Signature and meaning of the path are left to the caller and to `ancestry_error`.
        """
        need(body, _HEADER.size + _SIGNATURE_SIZE, "a TreeAnnounce")
        version, sequence, timestamp, parent, count = _HEADER.unpack_from(body)
        if version != VERSION:
            raise WireError(f"a TreeAnnounce of version {version}")
        path_end = _HEADER.size + _ENTRY.size * count
        need(body, path_end + _SIGNATURE_SIZE, f"a TreeAnnounce with {count} entries")
        if not count:
            raise WireError("a TreeAnnounce without its sender")
        path = [AncestryEntry(*entry) for entry in _ENTRY.iter_unpack(body[_HEADER.size : path_end])]
        return cls(sequence, timestamp, parent, path, body[path_end : path_end + _SIGNATURE_SIZE])

    def encode(self) -> bytes:
        """Return the message with its type byte."""
        header = _HEADER.pack(VERSION, self.sequence, self.timestamp, self.parent, len(self.ancestry))
        path = [_ENTRY.pack(entry.node_addr, entry.sequence, entry.timestamp) for entry in self.ancestry]
        return b"".join((bytes((TREE_ANNOUNCE,)), header, *path, self.signature))

    @property
    def node_addr(self) -> bytes:
        """The node that announces."""
        return self.ancestry[0].node_addr

    @property
    def is_root(self) -> bool:
        """Whether the node declares itself the root."""
        return self.parent == self.node_addr

    def signing_bytes(self) -> bytes:
        """Return the 48 bytes the signature covers; the path above the parent is not among them."""
        return declaration_bytes(self.node_addr, self.parent, self.sequence, self.timestamp)

    def ancestry_error(self) -> str | None:
        """Return what is wrong with the path (spec 03 section 3.3 step 5), or None."""
        path = self.ancestry
        if self.is_root:
            if len(path) != 1:
                return "a root has a parent"
        elif len(path) < 2:
            return "the parent is missing"
        elif path[1].node_addr != self.parent:
            return "the second entry is not the parent"
        if path[-1].node_addr != min(entry.node_addr for entry in path):
            return "the root is not the smallest address"
        return None


def declaration_bytes(node_addr: bytes, parent: bytes, sequence: int, timestamp: int) -> bytes:
    """Return the 48 bytes that are signed for a choice of parent (spec 03 section 3.2)."""
    return _SIGNED.pack(node_addr, parent, sequence, timestamp)


def longest_path(size: int) -> int:
    """Return how many entries fit into a TreeAnnounce of `size` bytes, type byte included (spec 03 section 3.1)."""
    return max(size - 1 - _HEADER.size - _SIGNATURE_SIZE, 0) // _ENTRY.size
