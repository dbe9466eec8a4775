"""What a fuzzer's bytes become: dice that show what they say, so that they steer every choice; and pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

Target = Callable[[bytes], None]
"""Takes any bytes, and fails by raising."""


def pieces(data: bytes) -> Iterator[bytes]:
    """Several byte strings out of one: before each stands a byte that says how long it is, in steps of four."""
    while data:
        size = 1 + data[0] * 4
        yield data[1:size]
        data = data[size:]


class Tape(Random):
    """Reads its numbers from `data`; when that is used up, every further one is zero."""

    def __new__(cls, data: bytes) -> Tape:
        return super().__new__(cls)

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data = data
        self._at = 0

    @property
    def over(self) -> bool:
        """Whether all of the input was used."""
        return self._at >= len(self._data)

    def getrandbits(self, k: int, /) -> int:
        size = (k + 7) // 8
        piece = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(piece, "little") & ((1 << k) - 1)

    def random(self) -> float:
        return self.getrandbits(16) / 65536
