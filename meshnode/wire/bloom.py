"""Filter announcements (spec 03 section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar

from .errors import WireError, need
from .link import FILTER_ANNOUNCE

HASH_COUNT = 5
SIZE_CLASS = 1
FILTER_SIZE = 512 << SIZE_CLASS
_HEADER = Struct("<QBB")


@dataclass(slots=True)
class FilterAnnounce:
    """The set of nodes a neighbour reaches, as a Bloom filter of 1,024 bytes."""

    TYPE: ClassVar[int] = FILTER_ANNOUNCE
    sequence: int
    hash_count: int
    size_class: int
    bits: bytes

    @classmethod
    def parse(cls, body: bytes) -> FilterAnnounce:
        """Read what follows the type byte; the length must be exact.

        Raises `WireError` for every size class but 1 and for a hash count of 0. Other hash counts pass, as in the
        reference; whoever uses the filter may be stricter.
        """
        need(body, _HEADER.size, "a FilterAnnounce")
        sequence, hash_count, size_class = _HEADER.unpack_from(body)
        if size_class != SIZE_CLASS:
            raise WireError(f"a filter of size class {size_class}")
        if len(body) != _HEADER.size + FILTER_SIZE:
            raise WireError(f"a FilterAnnounce of {len(body)} bytes, it takes {_HEADER.size + FILTER_SIZE}")
        if not hash_count:
            raise WireError("a filter without hash functions")
        return cls(sequence, hash_count, size_class, body[_HEADER.size :])

    def encode(self) -> bytes:
        """Return the message with its type byte."""
        return bytes((FILTER_ANNOUNCE,)) + _HEADER.pack(self.sequence, self.hash_count, self.size_class) + self.bits
