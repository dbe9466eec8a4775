"""The link layer: Noise IK handshakes, established frames, rekey and liveness of direct neighbours (spec 01)."""

from .events import (
    NO_ANSWER,
    DialFailed,
    FirstRtt,
    FramesLost,
    LinkEvent,
    LinkNotice,
    LinkResolved,
    MtuChanged,
    Path,
    PathChanged,
    PeerDown,
    PeerUp,
    Rekeyed,
    TrustChanged,
)
from .handshake import Handshake
from .initiator import DialDenied, DialRefused
from .layer import LinkLayer, LinkRun
from .peer import PeerLink, Stray
from .table import LinkCounters
from .watch import LINK_DEAD

__all__ = [
    "LINK_DEAD",
    "NO_ANSWER",
    "DialDenied",
    "DialFailed",
    "DialRefused",
    "FirstRtt",
    "FramesLost",
    "Handshake",
    "LinkCounters",
    "LinkEvent",
    "LinkLayer",
    "LinkNotice",
    "LinkResolved",
    "LinkRun",
    "MtuChanged",
    "Path",
    "PathChanged",
    "PeerDown",
    "PeerLink",
    "PeerUp",
    "Rekeyed",
    "Stray",
    "TrustChanged",
]
