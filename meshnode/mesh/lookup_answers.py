"""Whose answer to a relayed request goes back, where several neighbours were asked.

A relay passes one answer on, and cannot check it: only the origin is sure to know the key of the target. So whoever
answers first decides, and nobody is as fast as a neighbour that makes its answer up. But an origin that asks again was
not served. Then the neighbours whose answers went back before have to wait for a moment, in which another may answer.
"""

from __future__ import annotations

from typing import NamedTuple

from meshnode.mesh.coordinates import NodeAddr
from meshnode.wire.lookup import LookupResponse

HOLD_SECS = 0.25
MEMORY_SECS = 20.0
"""How long after an answer the same question counts as asked again; origins repeat theirs for 15 s."""

MAX_QUESTIONS = 4096
MAX_DOUBTED = 8

Question = tuple[NodeAddr, NodeAddr, NodeAddr]
"""Who passed it to us, what is looked for, who claims to look."""


class HeldBack(NamedTuple):
    """An answer that goes back at `due`, unless another one comes before."""

    due: float
    request_id: int
    peer: NodeAddr
    response: LookupResponse


class RelayedAnswers:
    """What became of questions we relayed, and answers that wait."""

    __slots__ = ("_given", "_held_back")

    def __init__(self) -> None:
        self._given: dict[Question, tuple[float, tuple[NodeAddr, ...]]] = {}  # oldest first
        self._held_back: dict[int, HeldBack] = {}  # oldest first

    def doubted(self, question: Question, asked: list[NodeAddr], now: float) -> tuple[NodeAddr, ...]:
        """Which of the neighbours asked now answered this question before, in vain. None when all of them did."""
        at, givers = self._given.get(question, (0.0, ()))
        if now - at > MEMORY_SECS or set(asked) <= set(givers):
            self._given.pop(question, None)
            return ()
        return tuple(peer for peer in givers if peer in asked)

    def given(self, question: Question, peer: NodeAddr, now: float) -> None:
        """The answer of `peer` goes back."""
        _, givers = self._given.pop(question, (0.0, ()))
        if len(self._given) >= MAX_QUESTIONS:
            del self._given[next(iter(self._given))]
        self._given[question] = now, (*(giver for giver in givers if giver != peer), peer)[-MAX_DOUBTED:]

    def hold_back(self, request_id: int, peer: NodeAddr, response: LookupResponse, now: float) -> None:
        """Keep the first answer of a doubted neighbour."""
        self._held_back.setdefault(request_id, HeldBack(now + HOLD_SECS, request_id, peer, response))

    def forget(self, request_id: int) -> None:
        """The request had its answer, or is remembered no more."""
        self._held_back.pop(request_id, None)

    def take_due(self, now: float) -> list[HeldBack]:
        """Remove and return the answers that nobody else bettered."""
        due = [held for held in self._held_back.values() if held.due <= now]
        for held in due:
            del self._held_back[held.request_id]
        return due

    def next_deadline(self) -> float:
        """When the first is due; infinity for never."""
        return next(iter(self._held_back.values())).due if self._held_back else float("inf")
