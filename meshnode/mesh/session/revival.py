"""Noticing that a peer no longer understands us, and offering it fresh keys.

A restarted peer has no entry for us: what we send disappears there without an answer, and nothing but our next rekey,
minutes later, would heal it (spec 02 section 7.6). So when data goes out and nothing authentic comes back for much
longer than the peer's reports should take, an ordinary Setup is offered beside the session. A peer answers it in every
state: as a stranger's without an entry, as a rekey with one. While nobody answers, the same Setup is repeated, however
long: a peer whose first answer was lost holds on to it, and would not understand another Setup for 30 s.
"""

from __future__ import annotations

from .core import Core
from .rekey import Rekeying
from .session import MAX_PATIENCE, PATIENCE, PATIENCE_WITHOUT_REPORTS, Session

MIN_SENDS = 3
UNPROVEN_LIMIT = 30.0
POLL = 1.0
STEADY_OFFERS = 15
MAX_QUIET = 4
ARMED_PATIENCE = 2.0
SEEK_WITHIN, SEEK_INTERVAL = 60.0, 10.0


def is_mute(session: Session, now: float) -> bool:
    """Whether a remote that reports all the time has not done so for much longer than that takes."""
    return session.peer_reports and now - session.last_heard >= 2 * session.patience


class Revival:
    """Watches over established sessions that send and do not hear."""

    __slots__ = ("_core", "_rekeying")

    def __init__(self, core: Core, rekeying: Rekeying) -> None:
        self._core = core
        self._rekeying = rekeying

    def update_patience(self, session: Session) -> None:
        """Derive how long silence is normal: from whether the peer sends reports, and from the round-trip time."""
        base = PATIENCE if session.peer_reports else PATIENCE_WITHOUT_REPORTS
        patience: float = max(base, 4 * (session.measurement.srtt_ms or 0.0) / 1000) * 2**session.quiet
        session.patience = min(patience, MAX_PATIENCE)

    def heard(self, session: Session) -> None:
        """The peer is well after offers went unanswered; an answer still to come is an ordinary rekey's."""
        session.offers = session.unheard = session.unheard_at_offer = 0
        session.rekey.reviving = False

    def answered(self, session: Session, restarted: bool) -> None:
        """A handshake of ours was completed. A peer that had not restarted is one of few words: expect less of it."""
        offered = session.offers > 0
        self.heard(session)
        session.quiet = min(session.quiet + 1, MAX_QUIET) if offered and not restarted else 0
        self.update_patience(session)

    def seek(self, session: Session, now: float) -> None:
        """Look for a remote that was talked to lately and has ceased to report, though we have nothing to say to it.

        Whether it is gone, or somebody drops what it sends, is not for the side alone to find out that sends data.
        """
        if now - session.sought_at < SEEK_INTERVAL or now - session.last_activity > SEEK_WITHIN:
            return
        if is_mute(session, now):
            session.sought_at = now
            if self._core.coordinates.next_hop(session.address, now) != session.address:
                self._core.want_lookup(session.address)

    def hasten(self, session: Session, now: float) -> None:
        """The path to the peer is new: offer at the next occasion if it has been silent."""
        if session.offers:
            session.offers = 1
            session.offer_at = now
            self._core.wake(session, now)

    def serve(self, session: Session, now: float) -> None:
        """Offer when that is due, and arm the next look."""
        if not session.unheard:
            return
        if now >= session.offer_at:
            session.offer_at = now + self._next_wait(session, now)
        self._core.wake(session, session.offer_at)

    def _next_wait(self, session: Session, now: float) -> float:
        if not self._evident(session, now):
            return POLL
        hop = self._core.coordinates.next_hop(session.address, now)
        if hop != session.address:
            self._core.want_lookup(session.address)  # perhaps it is alive, but elsewhere
        if hop is None:
            return POLL
        if not self._offer(session, now):
            return POLL
        session.offers += 1
        session.unheard_at_offer = session.unheard
        return self._gap(session)

    def _evident(self, session: Session, now: float) -> bool:
        """Whether enough was sent in vain, or anything at all on a session that was never proven (section 6.6)."""
        if session.offers:
            return session.unheard > session.unheard_at_offer
        return session.unheard >= MIN_SENDS or (
            session.unproven is not None and now - session.session_start >= UNPROVEN_LIMIT
        )

    def _offer(self, session: Session, now: float) -> bool:
        """Put a Setup in front of the peer; not while its own rekey may still be on the way."""
        rekey = session.rekey
        if rekey.noise is not None:
            rekey.reviving = True
            self._rekeying.repeat_setup(session, now)
            return True
        if rekey.armed and now - rekey.armed_since < ARMED_PATIENCE:
            return False
        self._rekeying.start(session, now, reviving=True)
        return True

    def _gap(self, session: Session) -> float:
        """Twice the patience between offers for about a minute, then doubling to 30 s."""
        steps = min(max(session.offers - STEADY_OFFERS, 0), 4)
        factor = 1 if session.offers == 1 else 2 ** (1 + steps)
        return min(session.patience * factor, MAX_PATIENCE)
