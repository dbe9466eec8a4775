"""The first handshake with a remote: from no entry to an established session (spec 02 section 6)."""

from __future__ import annotations

from meshnode.identity import PeerIdentity
from meshnode.mesh.mmp import Measurement
from meshnode.noise import NoiseError, TransportKeys, XkInitiator, XkResponder
from meshnode.wire.session import K, SessionAck, SessionMessage3, SessionSetup

from .core import Core
from .epoch import SessionEpoch
from .events import CloseReason, SessionEstablished
from .session import EarlyMessage, Opening, Session, SessionState, Unproven

RESCUE_AFTER = 2.0
RESEND_INTERVAL = 1.0  # between copies that something received gives rise to


class OpeningHandshakes:
    """The states before established. Which method serves which event is the table in `layer`."""

    __slots__ = ("_core",)

    def __init__(self, core: Core) -> None:
        self._core = core

    def initiate(self, remote: PeerIdentity, now: float, rescue_k: bool | None = None) -> None:
        """Send a SessionSetup and make the entry, in place of whatever unfinished entry there was."""
        core = self._core
        core.learn(remote, now)
        noise = XkInitiator(core.identity, remote, core.startup_epoch, core.entropy(32))
        own, theirs = core.coordinate_lists(remote.node_addr, now)
        setup = SessionSetup(own, theirs, noise.message1())
        opening = Opening(noise, setup.encode(), now, core.resend_at(0, now))
        opening.rescue_k = rescue_k
        self._enter(remote.node_addr, remote, opening, now)

    def answer(self, source: bytes, setup: SessionSetup, now: float) -> None:
        """Send the SessionAck for a stranger's Setup and make the entry."""
        core = self._core
        noise = XkResponder(core.identity, core.startup_epoch)
        try:
            noise.read_message1(setup.handshake)
        except NoiseError:
            return
        handshake = noise.write_message2(core.entropy(32))
        ack = SessionAck(core.coordinates.own_coordinates, setup.source_coordinates, handshake)
        opening = Opening(noise, ack.encode(), now, core.resend_at(0, now))
        opening.asked(len(setup.encode()))
        self._enter(source, None, opening, now)

    def contested(self, session: Session, setup: SessionSetup, now: float) -> None:
        """Both sides opened at once: the smaller address stays initiator, the larger one answers (section 6.4).

        The larger one waits for our Setup then; should it have got lost, this is the time to repeat it.
        """
        if self._core.own > session.address:
            self.answer(session.address, setup, now)
        else:
            self.press(session, RESEND_INTERVAL, now)

    def repeat_ack(self, session: Session, setup: SessionSetup, now: float) -> None:
        """Answer any further Setup with the Ack of the first; a forger gains nothing by another ephemeral key."""
        if session.opening is not None:
            session.opening.asked(len(setup.encode()))
            self._core.repeat(session, session.opening.payload, now)

    def take_ack(self, session: Session, ack: SessionAck, now: float) -> None:
        """Complete our handshake; an Ack that does not authenticate leaves it as it was."""
        opening = session.opening
        if opening is None or not isinstance(opening.noise, XkInitiator):
            return
        noise = opening.noise
        try:
            noise.read_message2(ack.handshake)
        except NoiseError:
            self._core.counters.ack_handshake_failed += 1
            return
        message3 = SessionMessage3(noise.message3()).encode()
        self._core.send(session, message3)
        session.unproven = Unproven(message3, ack.handshake, now, self._core.resend_at(0, now))
        session.k = bool(opening.rescue_k)
        self._establish(session, noise.keys, noise.remote, noise.remote_epoch, now)
        self._core.wake(session, session.unproven.due)

    def take_message3(self, session: Session, message: SessionMessage3, now: float) -> list[EarlyMessage]:
        """Complete the peer's handshake; returns what arrived ahead of this message, to be judged now.

        A message that does not authenticate leaves the entry alone, so that a forger cannot cancel a handshake.
        """
        opening = session.opening
        if opening is None or not isinstance(opening.noise, XkResponder):
            return []
        noise = opening.noise
        try:
            noise.read_message3(message.handshake)
        except NoiseError:
            return []
        if noise.remote.node_addr != session.address:
            self._core.counters.addr_mismatch += 1
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
        """Repeat our Setup out of turn, as data or a fresh path is a reason to, unless it was sent just now.

        The regular copies stop after 15 s, long before the entry dies; a peer that comes up meanwhile is to be met.
        """
        opening = session.opening
        if opening is not None and session.is_initiator and now - opening.sent_at >= interval:
            self._send_copy(session, opening, now)

    def serve(self, session: Session, now: float) -> None:
        """Give up or repeat our last message when that is due, and arm the next deadline.

        An Ack is repeated by itself only as far as the Setups it answers earned: their source may be forged.
        """
        opening, limits = session.opening, self._core.settings.rate_limit
        if opening is None:
            return
        timeout = session.last_activity + limits.handshake_timeout_secs
        if now > timeout:
            self._core.remove(session, CloseReason.HANDSHAKE_TIMEOUT)
            return
        affordable = opening.credit >= opening.cost
        if now >= opening.next_resend and session.resend_count < limits.handshake_max_resends and affordable:
            if self._send_copy(session, opening, now):
                session.resend_count += 1
                opening.credit -= opening.cost
                opening.next_resend = self._core.resend_at(session.resend_count, now)
            else:
                opening.next_resend = now + RESEND_INTERVAL
        exhausted = session.resend_count >= limits.handshake_max_resends or opening.credit < opening.cost
        self._core.wake(session, timeout + 0.001 if exhausted else opening.next_resend)

    def _send_copy(self, session: Session, opening: Opening, now: float) -> bool:
        """Send our message again; without a way for it, look for one and return False."""
        if self._core.coordinates.next_hop(session.address, now) is None:
            self._core.want_lookup(session.address)
            return False
        opening.sent_at = now
        self._core.repeat(session, opening.payload, now)
        return True

    def _repeat_message3(self, session: Session, unproven: Unproven, now: float) -> None:
        unproven.sent_at = now
        unproven.due = self._core.resend_at(unproven.copies, now)
        self._core.send(session, unproven.message3)

    def _enter(self, address: bytes, remote: PeerIdentity | None, opening: Opening, now: float) -> None:
        core = self._core
        measurement = Measurement("session", core.settings.session_mmp, remote is not None, now)
        session = Session(address, remote, opening, measurement, core.draw_jitter(), now)
        core.early.take(address)
        core.sessions[address] = session
        core.send(session, opening.payload)
        core.wake(session, opening.next_resend)

    def _establish(
        self, session: Session, keys: TransportKeys, remote: PeerIdentity, remote_epoch: bytes, now: float
    ) -> None:
        """Enter the established state; when no data is about to flow, show the peer that our keys work."""
        core = self._core
        session.state = SessionState.ESTABLISHED
        session.opening = None
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
