"""What the link layer tells the node, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meshnode.identity import PeerIdentity

if TYPE_CHECKING:
    from .peer import PeerLink

Path = tuple[int, str]
"""Transport id and textual address: where a frame came from or goes to."""


@dataclass(slots=True, frozen=True)
class PeerUp:
    """A peer is usable: it answered our handshake, or its own handshake proved alive by a first authentic frame."""

    peer: PeerLink


@dataclass(slots=True, frozen=True)
class PeerDown:
    """A peer is gone. `redial` tells whether a configured peer should be dialled again (spec 01 section 9.4)."""

    peer: PeerLink
    reason: str
    redial: bool


@dataclass(slots=True, frozen=True)
class LinkResolved:
    """Two crossing handshakes became one epoch; announcements sent before may be lost (spec 01 section 7.5)."""

    peer: PeerLink


@dataclass(slots=True, frozen=True)
class PathChanged:
    """A peer was heard from another address (spec 01 section 9.3)."""

    peer: PeerLink
    old: Path


@dataclass(slots=True, frozen=True)
class FirstRtt:
    """A link was measured for the first time; the parent choice may change (spec 03 section 3.6)."""

    peer: PeerLink


NO_ANSWER: Final = "no answer to the handshake"
"""The reason of a dial that nobody answered."""


@dataclass(slots=True, frozen=True)
class DialFailed:
    """A dial ended without a link."""

    remote: PeerIdentity
    path: Path
    reason: str


LinkEvent = PeerUp | PeerDown | LinkResolved | PathChanged | FirstRtt | DialFailed


@dataclass(slots=True, frozen=True)
class TrustChanged:
    """`peer` became or ceased to be doubtful or distrusted: use it less, or again. The link itself stays.

    `regained` is one that was distrusted and is no longer.
    """

    peer: PeerLink
    regained: bool = False


@dataclass(slots=True, frozen=True)
class FramesLost:
    """`peer` reported losses: what was sent to it since the time `since` may be among them."""

    peer: PeerLink
    since: float


@dataclass(slots=True, frozen=True)
class MtuChanged:
    """`peer.mtu_limit` is another one now."""

    peer: PeerLink


@dataclass(slots=True, frozen=True)
class Rekeyed:
    """The link with `peer` uses new keys."""

    peer: PeerLink


LinkNotice = TrustChanged | FramesLost | MtuChanged | Rekeyed
"""What is worth knowing about a link that goes on: apart from the events, which are about who is a peer."""
