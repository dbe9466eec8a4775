"""The link layer: Noise IK handshakes, established frames, rekey and liveness of direct neighbours (spec 01)."""

from .events import DialFailed, FirstRtt, LinkEvent, LinkResolved, Path, PathChanged, PeerDown, PeerUp
from .handshake import Handshake
from .initiator import DialRefused
from .layer import LinkLayer, LinkRun
from .peer import PeerLink
from .table import LinkCounters
from .watch import LINK_DEAD

__all__ = [
    "LINK_DEAD",
    "DialFailed",
    "DialRefused",
    "FirstRtt",
    "Handshake",
    "LinkCounters",
    "LinkEvent",
    "LinkLayer",
    "LinkResolved",
    "LinkRun",
    "Path",
    "PathChanged",
    "PeerDown",
    "PeerLink",
    "PeerUp",
]
