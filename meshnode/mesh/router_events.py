"""What a Router tells its owner."""

from __future__ import annotations

from dataclasses import dataclass

from meshnode.identity import PeerIdentity
from meshnode.mesh.coordinates import NodeAddr


@dataclass(frozen=True, slots=True)
class CoordinatesLearned:
    """A lookup of ours was answered; `path_mtu` is the smallest link MTU on the answer's way, None when unusable."""

    target: NodeAddr
    path_mtu: int | None


@dataclass(frozen=True, slots=True)
class LookupFailed:
    """All attempts to look `target` up went unanswered."""

    target: NodeAddr


@dataclass(frozen=True, slots=True)
class CoordinatesChanged:
    """Our own coordinates are different now; whoever caches them should be told (spec 02 section 8)."""


@dataclass(frozen=True, slots=True)
class ParentChanged:
    """We hang below another node now; our own address stands for being root."""

    old: NodeAddr
    new: NodeAddr


@dataclass(frozen=True, slots=True)
class RelayJudged:
    """A peer is `given_up` as a relay, since it drops what is led through it, or relied on again."""

    peer: PeerIdentity
    given_up: bool


RouterEvent = CoordinatesLearned | LookupFailed | CoordinatesChanged | ParentChanged | RelayJudged
