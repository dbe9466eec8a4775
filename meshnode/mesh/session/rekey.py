"""Fresh keys for an established session (spec 02 section 7).

Handshakes run beside the session. A Setup is not authentic, so it can do no more than arm an answer; only a completed
handshake makes new keys, and only a cutover makes them the ones we send with.

Some deductions go beyond the specification's rules. A completed handshake carries the peer's startup epoch; when that
differs from the one we knew, the peer has lost every key we share, and waiting with the cutover would only lose frames.
And a handshake offered because the peer fell silent (see `revival`) is cut over at once for the same reason.

A peer that is heard, but does not answer our Setup, lost it, or we its Ack. The same Setup must not be repeated: a peer
that arms another answer for it could not use the Msg3 that goes with the first (section 7.5). A new one may follow: an
Ack of the former, however late, does not fit it. Nor does the reference repeat a Setup; so its Ack is sent twice.
"""

from __future__ import annotations

from meshnode.identity import PeerIdentity
from meshnode.noise import NoiseError, XkInitiator, XkResponder
from meshnode.wire.session import SessionAck, SessionMessage3, SessionSetup

from .answers import ArmedAnswer, crowded_out
from .core import Core
from .epoch import SessionEpoch
from .events import SessionRekeyed
from .session import LONG_AGO, NEVER, Session

CUTOVER_DELAY = 2.0
DRAIN_WINDOW = 10.0
DAMPENING = 30.0
MIN_AGE = 30.0
PENDING_SILENCE = 5.0
COLLISION_PATIENCE = 1.0
SETUP_PATIENCE = 1.0
ACK_PATIENCE = 0.5
EAGER_GAP = 0.4


class Rekeying:
    """Handshakes and cutovers of established sessions."""

    __slots__ = ("_core",)

    def __init__(self, core: Core) -> None:
        self._core = core

    # Handshakes

    def start(self, session: Session, now: float, reviving: bool = False) -> None:
        """Send a Setup of our own beside the session."""
        if session.remote is None:
            return
        session.rekey.reviving = reviving
        session.rekey.setups = 0
        self._send_setup(session, session.remote, now)

    def _send_setup(self, session: Session, remote: PeerIdentity, now: float) -> None:
        core, rekey = self._core, session.rekey
        rekey.noise = noise = XkInitiator(core.identity, remote, core.startup_epoch, core.entropy(32))
        own, theirs = core.coordinate_lists(session.address, now)
        rekey.payload = SessionSetup(own, theirs, noise.message1()).encode()
        rekey.setup_due = now + self._patience(session, SETUP_PATIENCE) * 2**rekey.setups
        self.repeat_setup(session, now)
        self.arm_deadline(session)

    def repeat_setup(self, session: Session, now: float) -> None:
        """Send our Setup in flight, again with the same handshake: a peer that answered it answers the same."""
        session.rekey.sent_at = now
        self._core.repeat(session, session.rekey.payload, now)

    @staticmethod
    def _patience(session: Session, shortest: float) -> float:
        """Seconds in which an answer should have come."""
        return max(shortest, 2 * (session.measurement.srtt_ms or 0.0) / 1000)

    def take_setup(self, session: Session, setup: SessionSetup, link_peer: bytes, now: float) -> None:
        """Decide whether a Setup may arm an answer (section 7.2). Nothing else depends on it: it may be forged.

        Where the specification lets the larger address drop its own handshake, ours is kept beside the answer: had the
        Setup been forged, the peer would still answer ours.
        """
        counters, rekey = self._core.counters, session.rekey
        known = next((answer for answer in rekey.armed if answer.message1 == setup.handshake), None)
        if known is not None:
            self._core.repeat(session, known.payload, now)  # our Ack got lost
        elif rekey.noise is not None and self._core.own < session.address:
            counters.rekey_tiebreak += 1
            self._insist(session, now)
        elif self._pending_outranks(session, now):
            counters.rekey_pending += 1
        else:
            counters.rekey_yielded += rekey.noise is not None
            self._arm(session, setup, link_peer, now)

    def take_ack(self, session: Session, ack: SessionAck, now: float) -> bool | None:
        """Complete our handshake; True when the peer turned out to have restarted, None when nothing was completed."""
        rekey, counters = session.rekey, self._core.counters
        noise = rekey.noise
        if noise is None:
            counters.bad_state += 1
            return None
        try:
            noise.read_message2(ack.handshake)
        except NoiseError:
            counters.ack_handshake_failed += 1
            return None
        self._core.coordinates.learn_coordinates(session.address, ack.source_coordinates, now)
        rekey.message3 = SessionMessage3(noise.message3()).encode()
        rekey.message3_sent = 0
        rekey.message3_due = now + EAGER_GAP
        self._core.send(session, rekey.message3)
        restarted = self._negotiated(session, noise, now)
        if restarted or rekey.reviving:
            self._cut_over(session, now)
        else:
            rekey.clear_handshake()
        self.arm_deadline(session)
        return restarted

    def take_message3(self, session: Session, message: SessionMessage3, now: float) -> None:
        """Complete the peer's handshake; one that does not authenticate changes nothing."""
        if not session.rekey.armed:
            self._core.counters.bad_state += 1
        for answer in session.rekey.armed:
            try:
                answer.noise.read_message3(message.handshake)
            except NoiseError:
                continue
            self._answered(session, answer, now)
            return

    def _answered(self, session: Session, answer: ArmedAnswer, now: float) -> None:
        """Somebody completed a handshake we answered: the peer, or whoever claimed to be it."""
        rekey, counters = session.rekey, self._core.counters
        if answer.noise.remote != session.remote:
            counters.rekey_key_mismatch += 1
            rekey.armed.remove(answer)
            return
        if session.pending is not None:
            counters.pending_replaced += 1
        rekey.clear_message3()
        restarted = self._negotiated(session, answer.noise, now)
        rekey.last_peer_rekey = now
        rekey.clear_handshake()
        if restarted:
            self._cut_over(session, now)

    def _negotiated(self, session: Session, noise: XkInitiator | XkResponder, now: float) -> bool:
        """Keep the new keys aside; True when the peer restarted since the last handshake."""
        session.pending = SessionEpoch(noise.keys)
        session.rekey.completed = now
        restarted = session.remote_epoch != noise.remote_epoch
        session.remote_epoch = noise.remote_epoch
        if restarted:
            session.warmup_remaining = self._core.settings.session.coords_warmup_packets
        return restarted

    def _arm(self, session: Session, setup: SessionSetup, link_peer: bytes, now: float) -> None:
        core, rekey = self._core, session.rekey
        noise = XkResponder(core.identity, core.startup_epoch)
        try:
            noise.read_message1(setup.handshake)
        except NoiseError:
            return
        handshake = noise.write_message2(core.entropy(32))
        ack = SessionAck(core.coordinates.own_coordinates, setup.source_coordinates, handshake)
        crowded = crowded_out(rekey.armed, link_peer)
        if crowded is not None:
            rekey.armed.remove(crowded)
        if not rekey.armed:
            rekey.armed_since = now
        due = now + self._patience(session, ACK_PATIENCE)
        rekey.armed.append(ArmedAnswer(noise, ack.encode(), setup.handshake, link_peer, now, due))
        core.counters.rekey_armed += 1
        core.send(session, rekey.armed[-1].payload)
        core.wake(session, due)

    def _insist(self, session: Session, now: float) -> None:
        """Our Setup wins the tie, so the peer waits for it: repeat it if it seems lost, or both wait for nothing."""
        patience = self._patience(session, COLLISION_PATIENCE)
        if session.rekey.noise is not None and now - session.rekey.sent_at >= patience:
            self.repeat_setup(session, now)

    def _pending_outranks(self, session: Session, now: float) -> bool:
        """Whether keys already negotiated keep a new handshake away.

        A peer that has not been heard since may have lost them: then they do not.
        """
        if session.pending is None:
            return False
        last_sign = max(session.rekey.completed, session.last_heard)
        waited = now - session.rekey.completed
        return now - last_sign <= PENDING_SILENCE and waited <= self._core.settings.session.idle_timeout_secs

    # Cutover

    def promote(self, session: Session, now: float) -> None:
        """Send with the pending keys from now on; the old ones keep opening for a while (section 7.4)."""
        rekey = session.rekey
        session.previous, session.current, session.pending = session.current, session.pending, None
        session.k = not session.k
        session.session_start = now
        session.unproven = None
        rekey.drain_started, rekey.previous_last_used = now, LONG_AGO
        rekey.completed = LONG_AGO
        rekey.clear_handshake()
        rekey.jitter = self._core.draw_jitter()
        session.measurement.rekeyed(now)
        self._core.events.append(SessionRekeyed(session.address))

    def _cut_over(self, session: Session, now: float) -> None:
        """Promote without having heard the peer use the new keys; it follows when it hears us use them."""
        self.promote(session, now)
        self._core.send_warmup(session, now)

    def authenticated(self, session: Session, epoch: SessionEpoch, now: float) -> None:
        """React to a message that opened under `epoch` (section 7.4)."""
        rekey = session.rekey
        if epoch is session.previous:
            rekey.previous_last_used = now
            return
        session.unproven = None
        if epoch is session.pending:
            rekey.clear_message3()
            self.promote(session, now)
        elif session.pending is None:
            rekey.clear_message3()

    # Time

    def serve(self, session: Session, now: float) -> None:
        """Cutover and resends; these keep their times, everything else waits for the tick."""
        rekey = session.rekey
        if self._may_cut_over(session) and now >= rekey.completed + CUTOVER_DELAY:
            self._cut_over(session, now)
        if rekey.message3 is not None and now >= rekey.message3_due:
            self._repeat_message3(session, rekey.message3, now)
        if now >= rekey.setup_due:
            self._ask_anew(session, now)
        for answer in rekey.armed:
            if now >= answer.due:
                self._answer_again(session, answer, now)
        self.arm_deadline(session)

    def arm_deadline(self, session: Session) -> None:
        """Ask to be served at the next cutover or resend."""
        rekey = session.rekey
        if rekey.message3 is not None:
            self._core.wake(session, rekey.message3_due)
            if self._may_cut_over(session):
                self._core.wake(session, rekey.completed + CUTOVER_DELAY)
        self._core.wake(session, min((answer.due for answer in rekey.armed), default=rekey.setup_due))
        self._core.wake(session, rekey.setup_due)

    def _ask_anew(self, session: Session, now: float) -> None:
        """Send another Setup to a peer that was heard since the last one; one that was not is `revival`'s matter."""
        rekey = session.rekey
        if rekey.reviving or session.remote is None:
            rekey.setup_due = NEVER
        elif session.last_heard <= rekey.sent_at:
            rekey.setup_due = now + SETUP_PATIENCE
        elif rekey.setups < self._core.settings.rate_limit.handshake_max_resends:
            rekey.setups += 1
            self._send_setup(session, session.remote, now)
        else:
            rekey.setup_due = NEVER

    def _answer_again(self, session: Session, answer: ArmedAnswer, now: float) -> None:
        """Repeat an Ack, once since its Setup may be forged, if the peer is there to take it."""
        answer.due = NEVER
        if session.last_heard > answer.at:
            self._core.repeat(session, answer.payload, now)

    def tick(self, session: Session, now: float) -> None:
        """Expire what is over, start what is due (section 7.5)."""
        rekey = session.rekey
        if now - max(rekey.drain_started, rekey.previous_last_used) >= DRAIN_WINDOW:
            session.previous = None
        timeout = self._core.settings.rate_limit.handshake_timeout_secs
        if rekey.idle:
            if self._due(session, now) and self._core.coordinates.next_hop(session.address, now) is not None:
                self.start(session, now)
            return
        if rekey.noise is not None and not session.offers and now - rekey.sent_at > timeout:
            rekey.clear_own()
        for answer in [answer for answer in rekey.armed if now - answer.at > timeout]:
            self._core.counters.rekey_expired += 1
            rekey.armed.remove(answer)

    def _may_cut_over(self, session: Session) -> bool:
        rekey = session.rekey
        return session.pending is not None and rekey.message3 is not None and rekey.idle

    def _repeat_message3(self, session: Session, message3: bytes, now: float) -> None:
        """Send a copy. The first come soon, and are not counted: all that we send is lost on a peer that has none."""
        rekey, limits = session.rekey, self._core.settings.rate_limit
        regular = rekey.completed + limits.handshake_resend_interval_ms / 1000
        if now < regular:
            rekey.message3_due = min(now + EAGER_GAP, regular)
        elif rekey.message3_sent < limits.handshake_max_resends:
            rekey.message3_sent += 1
            rekey.message3_due = self._core.resend_at(rekey.message3_sent, now)
        else:
            session.pending = None
            rekey.clear_handshake()
            rekey.clear_message3()
            return
        self._core.send(session, message3)

    def _due(self, session: Session, now: float) -> bool:
        """Whether the routine rekey of this session should start (section 7.1); never on one younger than 30 s."""
        settings, rekey, epoch = self._core.settings.rekey, session.rekey, session.current
        if not settings.enabled or epoch is None or session.pending is not None or rekey.message3 is not None:
            return False
        age = now - session.session_start
        if now - rekey.last_peer_rekey < DAMPENING or age < MIN_AGE:
            return False
        return age >= settings.after_secs + rekey.jitter or epoch.send_counter >= settings.after_messages
