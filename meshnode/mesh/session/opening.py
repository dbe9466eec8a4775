"""The first handshake with a remote: from no entry to an established session (spec 02 section 6)."""

from __future__ import annotations

from meshnode.identity import PeerIdentity
from meshnode.mesh.mmp import Measurement
from meshnode.noise import NoiseError, TransportKeys, XkInitiator, XkResponder
from meshnode.wire.session import K, SessionAck, SessionMessage3, SessionSetup

from .answers import crowded_out
from .core import Core
from .epoch import SessionEpoch
from .events import CloseReason, SessionEstablished
from .session import NEVER, EarlyMessage, Opening, Session, SessionState, Unproven

RESCUE_AFTER = 2.0
ANSWER_PATIENCE = 1.5
"""Seconds that an answered Setup has for its Msg3 before data that waits makes us open from our side as well."""

RESEND_INTERVAL = 1.0  # between copies that something received gives rise to


class OpeningHandshakes:
    """The states before established. Which method serves which event is the table in `layer`."""

    __slots__ = ("_core",)

    def __init__(self, core: Core) -> None:
        self._core = core

    def initiate(self, remote: PeerIdentity, now: float, rescue_k: bool | None = None) -> None:
        """Send a SessionSetup and make the entry, in place of whatever unfinished entry there was."""
        opening = self._initiation(remote, now)
        opening.rescue_k = rescue_k
        self._enter(remote.node_addr, remote, opening, now)

    def _initiation(self, remote: PeerIdentity, now: float) -> Opening:
        core = self._core
        core.learn(remote, now)
        noise = XkInitiator(core.identity, remote, core.startup_epoch, core.entropy(32))
        own, theirs = core.coordinate_lists(remote.node_addr, now)
        setup = SessionSetup(own, theirs, noise.message1())
        return Opening(noise, setup.encode(), now, core.resend_at(0, now))

    def answer(self, source: bytes, setup: SessionSetup, link_peer: bytes, now: float) -> None:
        """Send the SessionAck for a stranger's Setup and make the entry."""
        opening = self._answer(setup, link_peer, now)
        if opening is not None:
            self._enter(source, None, opening, now)

    def contested(self, session: Session, setup: SessionSetup, link_peer: bytes, now: float) -> None:
        """Both sides opened at once: the smaller address stays initiator, the larger one answers (section 6.4).

        The larger one waits for our Setup then; should it have got lost, this is the time to repeat it. If the Setup
        was a forger's, our own is answered all the same: so it is kept.
        """
        if self._core.own < session.address:
            self.press(session, RESEND_INTERVAL, now)
            return
        opening = self._answer(setup, link_peer, now)
        if opening is not None:
            self._enter(session.address, None, opening, now).ours = session.opening

    def another(self, session: Session, setup: SessionSetup, link_peer: bytes, now: float) -> None:
        """Answer a further Setup: a copy with the Ack of the first, another handshake with an Ack of its own.

        Anybody can claim a source. An entry that held on to the first who did would lock the real one out.
        """
        opening = next((known for known in session.answers if known.message1 == setup.handshake), None)
        if opening is not None:
            opening.asked(len(setup.encode()))
            self._core.repeat(session, opening.payload, now)
            return
        opening = self._answer(setup, link_peer, now)
        if opening is not None:
            crowded = crowded_out(session.answers, link_peer)
            if crowded is not None:
                self._drop(session, crowded)
            session.answers.append(opening)
            self._wait_for_proof(session, opening)
            self._core.send(session, opening.payload)

    def _wait_for_proof(self, session: Session, answer: Opening) -> None:
        """Count an answer among those nobody completed yet; one that we gave long ago may have to go for it."""
        core = self._core
        displaced = core.sessions.get(core.half_open.add(session.address, answer.link_peer) or b"")
        if displaced is None or displaced.ours is not None or core.is_waited_for(displaced.address):
            return
        core.counters.crowded_out += 1
        core.remove(displaced, CloseReason.CROWDED_OUT)

    def _answer(self, setup: SessionSetup, link_peer: bytes, now: float) -> Opening | None:
        """The handshake that answers a Setup; None when its key is no point of the curve."""
        core = self._core
        noise = XkResponder(core.identity, core.startup_epoch)
        try:
            noise.read_message1(setup.handshake)
        except NoiseError:
            return None
        handshake = noise.write_message2(core.entropy(32))
        ack = SessionAck(core.coordinates.own_coordinates, setup.source_coordinates, handshake)
        opening = Opening(noise, ack.encode(), now, core.resend_at(0, now))
        opening.message1, opening.link_peer = setup.handshake, link_peer
        opening.asked(len(setup.encode()))
        return opening

    def _drop(self, session: Session, answer: Opening) -> None:
        session.answers.remove(answer)
        if session.opening is answer and session.answers:
            session.opening = session.answers[0]

    def take_ack(self, session: Session, ack: SessionAck, now: float) -> None:
        """Complete our handshake; an Ack that does not authenticate leaves it as it was."""
        opening = session.opening if session.is_initiator else session.ours
        if opening is None or not isinstance(opening.noise, XkInitiator):
            self._core.counters.bad_state += 1
            return
        noise = opening.noise
        try:
            noise.read_message2(ack.handshake)
        except NoiseError:
            self._core.counters.ack_handshake_failed += 1
            return
        self._core.coordinates.learn_coordinates(session.address, ack.source_coordinates, now)
        message3 = SessionMessage3(noise.message3()).encode()
        self._core.send(session, message3)
        session.unproven = Unproven(message3, ack.handshake, now, self._core.resend_at(0, now))
        session.k = bool(opening.rescue_k)
        session.is_initiator = session.measurement.initiator = True
        self._establish(session, noise.keys, noise.remote, noise.remote_epoch, now)
        self._core.wake(session, session.unproven.due)

    def take_message3(self, session: Session, message: SessionMessage3, now: float) -> list[EarlyMessage]:
        """Complete the peer's handshake; returns what arrived ahead of this message, to be judged now.

        A message that does not authenticate leaves the entry alone, so that a forger cannot cancel a handshake.
        """
        for opening in session.answers:
            noise = opening.noise
            if not isinstance(noise, XkResponder):
                continue
            try:
                noise.read_message3(message.handshake)
            except NoiseError:
                continue
            return self._answered(session, opening, noise, now)
        return []

    def _answered(self, session: Session, opening: Opening, noise: XkResponder, now: float) -> list[EarlyMessage]:
        """A handshake was completed by somebody: by the node with that address, or by one that only claimed it."""
        if noise.remote.node_addr != session.address:
            self._core.counters.addr_mismatch += 1
            self._drop(session, opening)
            if not session.answers and session.ours is None:
                self._core.remove(session, CloseReason.ADDRESS_MISMATCH)
            return []
        early = self._core.early.take(session.address)
        self._establish(session, noise.keys, noise.remote, noise.remote_epoch, now)
        return early

    def repeat_message3(self, session: Session, ack: SessionAck, now: float) -> bool:
        """Send Msg3 again for a repeated Ack: the peer has not got it. False when this is no such Ack."""
        unproven = session.unproven
        if unproven is None or unproven.ack_handshake != ack.handshake:
            return False
        if now - unproven.sent_at >= RESEND_INTERVAL:
            self._repeat_message3(session, unproven, now)
        return True

    def prove(self, session: Session, now: float) -> None:
        """Repeat Msg3 while nothing authentic comes back; a peer that has it ignores the copies."""
        unproven, copies = session.unproven, self._core.settings.rate_limit.handshake_max_resends
        if unproven is None or unproven.copies >= copies:
            return
        if now >= unproven.due:
            unproven.copies += 1
            self._repeat_message3(session, unproven, now)
        if unproven.copies < copies:
            self._core.wake(session, unproven.due)

    def hold(self, session: Session, early: EarlyMessage, now: float) -> None:
        """Keep an encrypted message that overtook its Msg3; if that never comes, open from our side (section 6.6)."""
        opening = session.opening
        if opening is None:
            return
        if opening.early_since is None:
            opening.early_since = now
        elif now - opening.early_since > RESCUE_AFTER and self._rescue(session, early, now):
            return
        if not self._core.early.add(session.address, early, now):
            self._core.counters.bad_state += 1

    def press(self, session: Session, interval: float, now: float) -> None:
        """Repeat our Setup out of turn, as data is a reason to, unless it was sent just now.

        The regular copies stop after 15 s, long before the entry dies; a peer that comes up meanwhile is to be met.
        """
        opening = session.opening if session.is_initiator else session.ours
        if opening is not None:
            self._repeat(session, opening, interval, now)

    def way_lost(self, session: Session) -> None:
        """There is no way to the remote: what was sent last went nowhere."""
        for opening in (session.opening, session.ours, *session.answers):
            if opening is not None:
                opening.in_vain()

    def way_found(self, session: Session, now: float) -> None:
        """There is a new way to the remote: repeat our Setup and our Acks."""
        for opening in dict.fromkeys((session.opening, session.ours, *session.answers)):
            if opening is not None:
                self._repeat(session, opening, RESEND_INTERVAL, now)

    def serve(self, session: Session, now: float) -> None:
        """Give up or repeat our last message when that is due, and arm the next deadline."""
        if session.opening is None:
            return
        timeout = session.last_activity + self._core.settings.rate_limit.handshake_timeout_secs
        if now > timeout:
            self._core.remove(session, CloseReason.HANDSHAKE_TIMEOUT)
            return
        if session.ours is None and session.answers and self._core.is_waited_for(session.address):
            self._open_beside(session, now)
        ours = [opening for opening in (session.opening, session.ours) if opening is not None]
        hop = self._core.coordinates.next_hop(session.address, now)
        if hop is not None and any(opening.sent_by not in (hop, None) for opening in ours):
            self.way_found(session, now)  # the copies may be seconds apart by now, and the former way a dead one
        self._core.wake(session, min(timeout + 0.001, *(self._serve_copy(session, opening, now) for opening in ours)))

    def _open_beside(self, session: Session, now: float) -> None:
        """Data waits and nobody completes what we answered: perhaps that was no Setup of the remote. Send our own."""
        remote = self._core.identities.peek_exact(session.address)
        if remote is None or now - session.created < ANSWER_PATIENCE:
            return
        hop = self._core.coordinates.next_hop(session.address, now)
        if hop is not None:
            session.ours = self._initiation(remote, now)
            session.ours.sent_by = hop
            self._core.send(session, session.ours.payload)

    def _serve_copy(self, session: Session, opening: Opening, now: float) -> float:
        """Repeat a message if that is due; returns when the next copy is.

        An Ack is repeated by itself only as far as the Setups it answers earned: their source may be forged. In a storm
        it is not: most would go to nobody, and whoever is there repeats its Setup.
        """
        most = self._core.settings.rate_limit.handshake_max_resends
        if opening.copies >= most or opening.credit < opening.cost:
            return NEVER
        if now < opening.next_resend:
            return opening.next_resend
        if not self._core.half_open.busy(opening.link_peer) and self._send_copy(session, opening, now):
            opening.copies += 1
            opening.credit -= opening.cost
            opening.next_resend = self._core.resend_at(opening.copies, now)
        else:
            opening.next_resend = now + RESEND_INTERVAL
        return opening.next_resend

    def _send_copy(self, session: Session, opening: Opening, now: float) -> bool:
        """Send our message again; without a way for it, look for one and return False."""
        hop = self._core.coordinates.next_hop(session.address, now)
        if hop is None:
            self._core.want_lookup(session.address)
            return False
        opening.sent_at, opening.sent_by = now, hop
        self._core.repeat(session, opening.payload, now)
        return True

    def _repeat(self, session: Session, opening: Opening, interval: float, now: float) -> None:
        """Send our message out of turn, if that is earned and the last time is `interval` seconds ago."""
        earned = opening.credit >= opening.cost
        if earned and now - opening.sent_at >= interval and self._send_copy(session, opening, now):
            opening.credit -= opening.cost

    def _repeat_message3(self, session: Session, unproven: Unproven, now: float) -> None:
        unproven.sent_at = now
        unproven.due = self._core.resend_at(unproven.copies, now)
        self._core.send(session, unproven.message3)

    def _enter(self, address: bytes, remote: PeerIdentity | None, opening: Opening, now: float) -> Session:
        core = self._core
        measurement = Measurement("session", core.settings.session_mmp, remote is not None, now)
        session = Session(address, remote, opening, measurement, core.draw_jitter(), now)
        core.early.take(address)
        opening.sent_by = core.coordinates.next_hop(address, now)
        core.sessions[address] = session
        core.half_open.discard(address)
        if remote is None:
            self._wait_for_proof(session, opening)
        core.send(session, opening.payload)
        core.wake(session, opening.next_resend)
        return session

    def _establish(
        self, session: Session, keys: TransportKeys, remote: PeerIdentity, remote_epoch: bytes, now: float
    ) -> None:
        """Enter the established state; when no data is about to flow, show the peer that our keys work."""
        core = self._core
        session.state = SessionState.ESTABLISHED
        core.half_open.discard(session.address)
        session.opening = session.ours = None
        session.answers.clear()
        session.remote, session.remote_epoch = remote, remote_epoch
        session.current = SessionEpoch(keys)
        session.session_start = session.last_activity = session.last_heard = now
        session.warmup_remaining = core.settings.session.coords_warmup_packets
        core.learn(remote, now)
        queued = core.take_queued(session.address)
        core.events.append(SessionEstablished(remote, session.is_initiator, queued))
        if not queued:
            core.send_warmup(session, now)

    def _rescue(self, session: Session, early: EarlyMessage, now: float) -> bool:
        """The peer uses keys we lack and will not repeat its Msg3: replace its handshake by ours, if we know who it is.

        Release 0.3.0 chooses keys by the K bit alone, so ours starts opposite to the peer's (section 18.1).
        """
        remote = self._core.identities.peek_exact(session.address)
        if remote is None:
            return False
        self.initiate(remote, now, rescue_k=not early.message[1] & K)
        return True
