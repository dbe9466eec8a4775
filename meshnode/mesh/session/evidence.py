"""What silent sessions tell about the neighbours they lead through.

One silent session says little: its remote may be gone. Several at once, while nothing else is heard the same way, say
that somebody drops what is led through him. So does one whose remote answers a lookup meanwhile, or is heard and does
not hear us.
"""

from __future__ import annotations

from collections.abc import Set

from meshnode.mesh.relay_record import SILENT, SILENT_THOUGH_ALIVE, Evidence, Silence

from .core import Core
from .revival import is_mute
from .session import Session

HEARD_SECS = 3.0
FALLEN_SILENT_SECS = 2.0
TELLING_SECS = 60.0
"""A remote silent for longer is gone, which is nobody's fault."""

TELLING_COPIES = 3
UNREPORTED_SECS = 6.0
UNREPORTED_MESSAGES = 3
"""A remote that receives something says so every second or two, or after every round trip where that takes longer."""

FOUND_SECS = 15.0
"""How long ago a remote that does not answer may have answered a lookup, which shows that it is there."""


def gather(core: Core, now: float) -> Evidence:
    """What the sessions say at this moment."""
    sessions = core.sessions.values()
    silent = []
    for session in sessions:
        relays = _relays_of_silent(core, session, now)
        if relays:
            weight = SILENT_THOUGH_ALIVE if _is_alive(session, now) else SILENT
            silent.append(Silence(session.address, relays, weight))
    heard = {s.address: s.heard_through for s in sessions if s.heard_through and now - s.last_heard <= HEARD_SECS}
    return Evidence(silent, heard)


def _relays_of_silent(core: Core, session: Session, now: float) -> Set[bytes]:
    """Who carries what we send, and who brings the answers; nobody unless the session is silent against reason."""
    own = core.coordinates.own_coordinates
    if not session.established:
        suspicious, brings = _is_unanswered(session, now), own[1] if len(own) > 1 else b""
    elif _is_unreceived(session, now):
        suspicious, brings = True, b""
    else:
        # That what it sends does not arrive is certain; who drops what we send, if anybody, shows when it is heard.
        return {session.heard_through} - {b"", session.address} if _is_silent(session, now) else set()
    hop = core.coordinates.next_hop(session.address, now) if suspicious else session.address
    return set() if hop == session.address else {hop or b"", brings} - {b"", session.address}


def _is_unanswered(session: Session, now: float) -> bool:
    """Whether a remote that a lookup found does not answer our Setups."""
    opening = session.opening
    return opening is not None and opening.copies >= TELLING_COPIES and now - session.found_at <= FOUND_SECS


def _is_silent(session: Session, now: float) -> bool:
    """Whether a remote that was heard a while ago does not answer offers of fresh keys, or report any more."""
    silent = session.offers > 0 or is_mute(session, now)
    return silent and now - max(session.last_heard, session.last_activity) <= TELLING_SECS


def _is_unreceived(session: Session, now: float) -> bool:
    """Whether a remote is heard, and has ceased to tell that it receives anything: our direction alone is broken."""
    if session.reported_at is None or now - session.last_heard > HEARD_SECS:
        return False
    patience = UNREPORTED_SECS + 3 * (session.measurement.srtt_ms or 0.0) / 1000
    sent = session.measurement.sender.packets_sent - session.sent_by_report
    return now - session.reported_at >= patience and sent >= UNREPORTED_MESSAGES


def _is_alive(session: Session, now: float) -> bool:
    """Whether the remote is known to be there: it was heard, or a lookup has found it since it fell silent."""
    return now - session.last_heard <= HEARD_SECS or session.found_at > session.last_heard + FALLEN_SILENT_SECS
