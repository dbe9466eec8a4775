"""Inputs for targets: those that were worth keeping, and what becomes of them by accident."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

CORPUS = Path(__file__).parent / "corpus"
LONGEST = 8192
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 64) - 1)


def seeds(target: str) -> list[bytes]:
    """What is kept in the tree for a target, in a fixed order."""
    return [file.read_bytes() for file in sorted((CORPUS / target).iterdir())]


class Mutator:
    """Makes new inputs of old ones; the same dice make the same inputs."""

    def __init__(self, corpus: list[bytes], dice: Random) -> None:
        self.corpus = corpus or [b""]
        self.dice = dice
        self._ways: list[Callable[[bytes], bytes]] = [
            self._flip,
            self._number,
            self._cut,
            self._insert,
            self._repeat,
            self._splice,
        ]

    def next(self) -> bytes:
        """One more input of at most `LONGEST` bytes."""
        dice = self.dice
        if not dice.randrange(8):
            return dice.randbytes(dice.choice((0, 1, 4, 16, 100, 1000, 3000)))
        data = dice.choice(self.corpus)
        for _ in range(dice.choice((1, 1, 2, 4, 8))):
            data = dice.choice(self._ways)(data)
        return data[:LONGEST]

    def _place(self, data: bytes) -> int:
        return self.dice.randrange(len(data) + 1)

    def _flip(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + bytes(b ^ 1 << self.dice.randrange(8) for b in data[at : at + 1]) + data[at + 1 :]

    def _number(self, data: bytes) -> bytes:
        at, size = self._place(data), self.dice.choice((1, 2, 4, 8))
        number = self.dice.choice(_NUMBERS) & ((1 << 8 * size) - 1)
        return data[:at] + number.to_bytes(size, self.dice.choice(("little", "big"))) + data[at + size :]

    def _cut(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + data[at + self.dice.choice((1, 2, 16, 64)) :]

    def _insert(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + self.dice.randbytes(self.dice.choice((1, 2, 16, 64))) + data[at:]

    def _repeat(self, data: bytes) -> bytes:
        at, size = self._place(data), self.dice.choice((1, 4, 32))
        return data[:at] + data[at : at + size] * self.dice.choice((2, 3, 40)) + data[at + size :]

    def _splice(self, data: bytes) -> bytes:
        other = self.dice.choice(self.corpus)
        return data[: self._place(data)] + other[self._place(other) :]
