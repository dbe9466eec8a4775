"""End-to-end sessions: XK handshakes, encryption in runs, rekeying, and recovery from whatever happens to a peer."""

from .core import Coordinates, Jitter
from .counters import ErrorCounters, SessionCounters
from .epoch import SessionEpoch, open_run, seal_run
from .errors import SessionError, SessionNotReady
from .events import (
    CloseReason,
    Delivery,
    LookupWanted,
    Outgoing,
    PathMtuChanged,
    PathMtuReleased,
    PendingExpired,
    PendingReady,
    Queued,
    SessionClosed,
    SessionEstablished,
    SessionEvent,
    SessionRekeyed,
)
from .identity_cache import CachedIdentity, IdentityCache
from .layer import SessionLayer
from .pending import PendingQueues
from .session import Session, SessionState

__all__ = [
    "CachedIdentity",
    "CloseReason",
    "Coordinates",
    "Delivery",
    "ErrorCounters",
    "IdentityCache",
    "Jitter",
    "LookupWanted",
    "Outgoing",
    "PathMtuChanged",
    "PathMtuReleased",
    "PendingExpired",
    "PendingQueues",
    "PendingReady",
    "Queued",
    "Session",
    "SessionClosed",
    "SessionCounters",
    "SessionEpoch",
    "SessionError",
    "SessionEstablished",
    "SessionEvent",
    "SessionLayer",
    "SessionNotReady",
    "SessionRekeyed",
    "SessionState",
    "open_run",
    "seal_run",
]
