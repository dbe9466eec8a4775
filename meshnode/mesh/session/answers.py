"""Setups answered and not completed: several beside each other, because anybody can claim to be their source.

Only the Msg3 that authenticates tells which of them was the remote's. Where there are too many, those that came through
the neighbour with the most give way first, so that a forger crowds out itself and not others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from meshnode.noise import XkResponder

MAX_ANSWERS, ANSWERS_PER_LINK = 8, 3


class Answered(Protocol):
    """What came through which neighbour."""

    link_peer: bytes


Item = TypeVar("Item", bound=Answered)


class ArmedAnswer:
    """An Ack beside an established session, sent at `at`, waiting for its Msg3; at `due` it is sent again."""

    __slots__ = ("at", "due", "link_peer", "message1", "noise", "payload")

    def __init__(
        self, noise: XkResponder, payload: bytes, message1: bytes, link_peer: bytes, at: float, due: float
    ) -> None:
        self.noise = noise
        self.payload = payload
        self.message1 = message1
        self.link_peer = link_peer
        self.at = at
        self.due = due


def crowded_out(answers: Sequence[Item], link_peer: bytes) -> Item | None:
    """Which of `answers`, oldest first, has to go before another one through `link_peer` is added; None for none."""
    links = [answer.link_peer for answer in answers]
    if links.count(link_peer) < ANSWERS_PER_LINK:
        if len(answers) < MAX_ANSWERS:
            return None
        link_peer = max(links, key=links.count)
    return answers[links.index(link_peer)]
