"""The session layer as its driver sees it (spec 02 sections 2 to 10).

Sans-IO: messages and time go in; messages, events and the next deadline come out. After every call the driver drains
`outbound`, then `events`: a session is announced in `events` after the handshake message in `outbound` that makes it.
"""

from __future__ import annotations

from collections.abc import Callable

from meshnode.identity import Identity, PeerIdentity
from meshnode.mesh.relay_record import Evidence
from meshnode.mesh.settings import MeshSettings
from meshnode.wire import PathMtuNotification, SessionAck, SessionMessage3, SessionSetup, WireError
from meshnode.wire.session import (
    PATH_MTU_NOTIFICATION,
    PHASE_ACK,
    PHASE_ENCRYPTED,
    PHASE_MSG3,
    PHASE_SETUP,
    PREFIX,
    EncryptedMessage,
    U,
)

from .core import Coordinates, Core, Jitter
from .counters import ErrorCounters, SessionCounters
from .errors import SessionNotReady
from .events import (
    CloseReason,
    Delivery,
    Outgoing,
    PathMtuChanged,
    PendingExpired,
    PendingReady,
    Queued,
    SessionEvent,
)
from .evidence import gather
from .identity_cache import IdentityCache
from .opening import OpeningHandshakes
from .receiving import Arrival, Receiving
from .rekey import Rekeying
from .revival import Revival
from .sending import Sending
from .session import EarlyMessage, Session, SessionState
from .setup_limiter import SetupLimiter, Source
from .signals import Signals

PRESS_INTERVAL = 4.0
POSITION_INTERVAL = 0.5
IN_USE = 3.0
"""Seconds since the last data for which a session is in use, and nobody waits for routes to settle."""

MAX_SESSIONS = 16384
"""Sessions beyond which no stranger's request is answered."""

_HANDSHAKE_SIZES = {PHASE_SETUP: 33, PHASE_ACK: 57, PHASE_MSG3: 73}


class SessionLayer:
    """All end-to-end sessions of one node.

    `identities` may be shared with the node; without it the layer keeps its own. `transport_mtu` is the smallest MTU
    of any operational transport, for the node to keep up to date (section 10.1).
    """

    def __init__(
        self,
        identity: Identity,
        startup_epoch: bytes,
        settings: MeshSettings,
        entropy: Callable[[int], bytes],
        random: Jitter,
        coordinates: Coordinates,
        identities: IdentityCache | None = None,
    ) -> None:
        if identities is None:
            identities = IdentityCache(settings.cache.identity_size)
        core = self._core = Core(identity, startup_epoch, settings, entropy, random, coordinates, identities)
        self.stirred = core.stirred
        self._limiter = SetupLimiter(settings)
        self._opening = OpeningHandshakes(core)
        self._rekeying = Rekeying(core)
        self._revival = Revival(core, self._rekeying)
        self._signals = Signals(core)
        self._sending = Sending(core)
        self.seal_with = self._sending.seal
        self._receiving = Receiving(core, self._rekeying, self._revival)
        # Which handshake message is legal in which state; what is missing here is counted as bad_state (section 6.2).
        self._on_setup: dict[SessionState, Callable[[Session, SessionSetup, bytes, float], None]] = {
            SessionState.INITIATING: self._opening.contested,
            SessionState.AWAITING_MESSAGE3: self._opening.another,
            SessionState.ESTABLISHED: self._rekeying.take_setup,
        }
        self._on_ack: dict[SessionState, Callable[[Session, SessionAck, float], None]] = {
            SessionState.INITIATING: self._opening.take_ack,
            SessionState.AWAITING_MESSAGE3: self._opening.take_ack,
            SessionState.ESTABLISHED: self._take_rekey_ack,
        }

    @property
    def sessions(self) -> dict[bytes, Session]:
        """The session table by remote NodeAddr; read only."""
        return self._core.sessions

    @property
    def identities(self) -> IdentityCache:
        """Who is behind which address."""
        return self._core.identities

    @property
    def waiting_packets(self) -> tuple[int, int]:
        """For how many destinations IPv6 packets wait, and how many packets."""
        packets = self._core.packets
        return len(packets), packets.total

    @property
    def counters(self) -> SessionCounters:
        """The session family of counters."""
        return self._core.counters

    @property
    def errors(self) -> ErrorCounters:
        """The error-signal family of counters."""
        return self._core.errors

    @property
    def outbound(self) -> list[Outgoing]:
        """Messages to originate; the driver swaps the list."""
        return self._core.outbound

    @outbound.setter
    def outbound(self, messages: list[Outgoing]) -> None:
        self._core.outbound = messages

    @property
    def events(self) -> list[SessionEvent]:
        """What happened; the driver swaps the list."""
        return self._core.events

    @events.setter
    def events(self, events: list[SessionEvent]) -> None:
        self._core.events = events

    @property
    def transport_mtu(self) -> int:
        """Bytes of link frame that fit through any of our transports."""
        return self._core.transport_mtu

    @transport_mtu.setter
    def transport_mtu(self, mtu: int) -> None:
        self._core.transport_mtu = mtu

    # Data

    def open(self, remote: PeerIdentity, now: float) -> None:
        """Start a session; call it for data that finds none, while there is a route to `remote`.

        Where an entry exists already, this does no more than to repeat an old Setup of ours every few seconds.
        """
        session = self._core.sessions.get(remote.node_addr)
        if session is not None:
            self._opening.press(session, PRESS_INTERVAL, now)
        elif remote.node_addr != self._core.own:
            self._opening.initiate(remote, now)

    def seal(
        self, remote: bytes, source_port: int, destination_port: int, payloads: list[bytes], now: float
    ) -> list[bytes]:
        """Whole session messages carrying `payloads`, to be originated in this order.

        There can be more messages than payloads (CoordsWarmup). Raises SessionNotReady without an established session
        and SessionError when a payload can never be carried.
        """
        session = self.established(remote)
        if session is None:
            raise SessionNotReady(f"no session with {remote.hex()}")
        return self.seal_with(session, source_port, destination_port, payloads, now)

    def established(self, remote: bytes) -> Session | None:
        """The session with `remote`, if it can carry data; `seal_with` takes it in place of the address."""
        session = self._core.sessions.get(remote)
        return None if session is None or session.current is None else session

    def receive(
        self, source: bytes, link_peer: bytes, messages: list[bytes], offset: int, path_mtu: int, ce: bool, now: float
    ) -> list[Delivery]:
        """Take a run of session messages that came for us, each at `offset` of its buffer.

        One run has one claimed source, link peer, envelope path MTU and congestion mark.
        """
        core = self._core
        if source == core.own:
            return []
        arrival = Arrival(source, link_peer, path_mtu, ce, now)
        index, count = 0, len(messages)
        while index < count:
            session = core.sessions.get(source)
            if session is not None and session.current is not None:
                epoch = session.current
                index = self._receiving.open_in_order(session, epoch, messages, index, offset, arrival)
                if index >= count:
                    break
            self._receive_one(messages[index][offset:], arrival)
            index += 1
        if core.packets.queues or core.datagrams.queues:
            self._flush_queued(source, now)
        return arrival.deliveries

    def queue(self, remote: bytes, item: Queued, now: float) -> bool:
        """Keep a payload until the session with `remote` is there; False when it was refused for want of room."""
        queues = self._core.datagrams if item.packet is None else self._core.packets
        return queues.add(remote, item, now)

    def take(self, remote: bytes) -> list[Queued]:
        """Remove and return what waits for `remote`, as when a lookup failed for good."""
        return self._core.take_queued(remote)

    # What the node knows better

    def first_hop_mtu(self, remote: bytes, mtu: int) -> None:
        """Fold in the MTU of the link that messages to `remote` leave by; on every origination (section 2.2)."""
        session = self._core.sessions.get(remote)
        if session is not None:
            session.path_mtu.seed(mtu)

    def coordinates_changed(self, now: float) -> None:
        """Our place in the tree is another: tell every remote before the old one leads traffic astray (section 8)."""
        for session in self._core.sessions.values():
            if session.established:
                session.warmup_owed = True
                if now - session.last_activity > IN_USE and session.lookup_due <= now:
                    session.lookup_due = now + self._patience()
                self._tell_position(session, now)

    def _patience(self) -> float:
        """Seconds a session without data waits before it looks for its remote.

        When a root dies, everybody loses all routes at once. While the tree is moving requests are flooded, and each
        costs as much as hundreds later; a deeper tree moves for longer.
        """
        depth = len(self._core.coordinates.own_coordinates)
        return self._core.random.randint(1000, 2000) / 1000 * (1 + depth / 10)

    def _tell_position(self, session: Session, now: float) -> None:
        """Send the warmup that is owed, as soon as there is a way for it and the last one is some time ago."""
        if not session.warmup_owed:
            return
        due = session.last_position_told + POSITION_INTERVAL
        if now < due:
            self._core.wake(session, due)
        elif self._core.coordinates.next_hop(session.address, now) is None:
            if now < session.lookup_due:
                self._core.wake(session, session.lookup_due)
            else:
                self._core.want_lookup(session.address)
        else:
            session.warmup_owed = False
            session.last_position_told = now
            self._core.send_warmup(session, now)

    def warm(self, remote: bytes, now: float) -> None:
        """Send a CoordsWarmup on an established session, as to have its quality measured; others are left alone."""
        session = self._core.sessions.get(remote)
        if session is not None and session.established:
            self._core.send_warmup(session, now)

    def lookup_succeeded(self, remote: bytes, now: float) -> None:
        """Fresh coordinates of `remote` are cached: warm the path, or open the session something waits for."""
        core = self._core
        session = core.sessions.get(remote)
        if session is None:
            self._open_waited_for(remote, now)
            return
        session.found_at = now
        if session.established:
            session.warmup_remaining = core.settings.session.coords_warmup_packets
            self._tell_position(session, now)
            self._revival.hasten(session, now)
        else:
            self._opening.way_found(session, now)

    def _open_waited_for(self, remote: bytes, now: float) -> None:
        """Open the session that packets wait for; a place in a tree that is not ours yet is asked for again."""
        core = self._core
        identity = core.identities.peek_exact(remote)
        if identity is None or remote not in core.packets:
            return
        if core.coordinates.next_hop(remote, now) is None:
            core.want_lookup(remote)
        else:
            self.open(identity, now)

    def route_lost(self, remote: bytes, now: float) -> None:
        """There is no next hop for a session, established or on the way to it: look for another path (section 5.7).

        Call it for each refused run; it acts at most once per response interval. Queue the payloads meanwhile.
        """
        session = self._core.sessions.get(remote)
        interval = self._core.settings.session.coords_response_interval_ms / 1000
        if session is None or now - session.last_route_lost < interval:
            return
        session.last_route_lost = now
        self._opening.way_lost(session)
        self._core.coordinates.forget_coordinates(remote)
        self._core.want_lookup(remote)
        session.warmup_remaining = self._core.settings.session.coords_warmup_packets

    def remove(self, remote: bytes, reason: CloseReason) -> None:
        """Forget the session, as when the link layer saw the direct peer go or restart; unknown remotes are fine."""
        session = self._core.sessions.get(remote)
        if session is not None:
            self._core.remove(session, reason)

    # Time

    def next_deadline(self) -> float | None:
        """When `handle_timeout` wants to be called, None for never; possibly too early, never too late."""
        return self._core.next_deadline()

    def handle_timeout(self, now: float) -> None:
        """Serve what is due: resends, cutovers, offers to silent peers."""
        for session in self._core.due(now):
            self._serve(session, now)

    def pace_reports(self, destination: bytes, sent: bool) -> None:
        """Reports to a destination without a route slow down until one gets through (spec 03 section 11.7)."""
        session = self.sessions.get(destination)
        if session is None:
            return
        if sent:
            session.measurement.sending_succeeded()
        else:
            session.measurement.sending_failed()

    def evidence(self, now: float) -> Evidence:
        """What silent sessions tell about the neighbours they lead through; once a second."""
        return gather(self._core, now)

    def tick(self, now: float) -> None:
        """The slow work of every second: reports, expiries, routine rekeys, ageing queues."""
        core = self._core
        for session in list(core.sessions.values()):
            if session.established:
                self._tick_established(session, now)
            else:
                self._opening.serve(session, now)
        self._limiter.prune(now)
        core.early.expire(now)
        for queues in (core.packets, core.datagrams):
            core.events += [PendingExpired(remote, items) for remote, items in queues.expire(now)]

    def _serve(self, session: Session, now: float) -> None:
        if session.established:
            self._opening.prove(session, now)
            self._rekeying.serve(session, now)
            self._revival.serve(session, now)
            self._tell_position(session, now)
        else:
            self._opening.serve(session, now)

    def _tick_established(self, session: Session, now: float) -> None:
        idle_timeout = self._core.settings.session.idle_timeout_secs
        if idle_timeout > 0 and now - session.last_activity > idle_timeout:
            self._core.remove(session, CloseReason.IDLE)
            return
        self._serve(session, now)
        self._revival.seek(session, now)
        self._rekeying.tick(session, now)
        if session.path_mtu.expire(now):
            self._core.events.append(PathMtuChanged(session.address, session.path_mtu.current))
        self._report(session, now)

    def _report(self, session: Session, now: float) -> None:
        for report in session.measurement.reports_due(now):
            self._core.send_inner(session, report[0], report[1:], now)
        if session.path_mtu.due(now):
            notification = PathMtuNotification(session.path_mtu.build(now))
            self._core.send_inner(session, PATH_MTU_NOTIFICATION, notification.encode_session(), now)

    # Messages one by one

    def _receive_one(self, message: bytes, arrival: Arrival) -> None:
        if len(message) < PREFIX.size:
            self._core.counters.malformed += 1
            return
        phase, body = message[0] & 0x0F, message[PREFIX.size :]
        try:
            if phase != PHASE_ENCRYPTED:
                self._handshake(phase, body, arrival)
            elif message[1] & U:
                self._signals.receive(arrival.source, body, arrival.now)
            else:
                self._encrypted(message, arrival)
        except WireError:
            self._core.counters.malformed += 1

    def _encrypted(self, raw: bytes, arrival: Arrival) -> None:
        message = EncryptedMessage.parse(raw)
        session = self._session_of(arrival)
        if session is None:
            return
        if session.established:
            self._receiving.open_one(session, raw, message, arrival)
        elif session.state is SessionState.AWAITING_MESSAGE3:
            self._opening.hold(session, EarlyMessage(raw, arrival.path_mtu, arrival.ce), arrival.now)
        else:
            self._core.counters.bad_state += 1

    def _handshake(self, phase: int, body: bytes, arrival: Arrival) -> None:
        if phase == PHASE_SETUP:
            self._setup(SessionSetup.parse(body), arrival)
        elif phase == PHASE_ACK:
            self._ack(SessionAck.parse(body), arrival)
        elif phase == PHASE_MSG3:
            self._message3(SessionMessage3.parse(body), arrival)

    def _setup(self, setup: SessionSetup, arrival: Arrival) -> None:
        if len(setup.handshake) != _HANDSHAKE_SIZES[PHASE_SETUP]:
            raise WireError(f"a Setup with a handshake of {len(setup.handshake)} bytes")
        session = self._core.sessions.get(arrival.source)
        if not self._may_answer(session, arrival):
            self._core.counters.setup_rate_limited += 1
        elif session is None:
            self._opening.answer(arrival.source, setup, arrival.link_peer, arrival.now)
        else:
            self._on_setup[session.state](session, setup, arrival.link_peer, arrival.now)

    def _may_answer(self, session: Session | None, arrival: Arrival) -> bool:
        """Whether there is room for a Setup, and a turn for it among those of other sources."""
        link_peer, now, held = arrival.link_peer, arrival.now, len(self._core.sessions)
        if session is None:
            if held >= MAX_SESSIONS:
                return False
        elif session.established:
            return self._limiter.allow(link_peer, arrival.source, Source.ESTABLISHED, now)
        known = self._core.identities.peek_exact(arrival.source) is not None
        source = Source.KNOWN if known else Source.STRANGER
        return self._limiter.allow(link_peer, arrival.source, source, now, sparing=held >= MAX_SESSIONS // 2)

    def _ack(self, ack: SessionAck, arrival: Arrival) -> None:
        if len(ack.handshake) != _HANDSHAKE_SIZES[PHASE_ACK]:
            raise WireError(f"an Ack with a handshake of {len(ack.handshake)} bytes")
        session = self._session_of(arrival)
        if session is None:
            return
        handler = self._on_ack.get(session.state)
        if handler is None:
            self._core.counters.bad_state += 1
        else:
            handler(session, ack, arrival.now)

    def _take_rekey_ack(self, session: Session, ack: SessionAck, now: float) -> None:
        if self._opening.repeat_message3(session, ack, now):
            return
        restarted = self._rekeying.take_ack(session, ack, now)
        if restarted is not None:
            self._revival.answered(session, restarted)

    def _message3(self, message: SessionMessage3, arrival: Arrival) -> None:
        if len(message.handshake) != _HANDSHAKE_SIZES[PHASE_MSG3]:
            raise WireError(f"a Msg3 with a handshake of {len(message.handshake)} bytes")
        session = self._session_of(arrival)
        if session is None:
            return
        if session.established:
            self._rekeying.take_message3(session, message, arrival.now)
        elif session.state is SessionState.AWAITING_MESSAGE3:
            for early in self._opening.take_message3(session, message, arrival.now):
                self._replay(early, arrival)
        else:
            self._core.counters.bad_state += 1

    def _replay(self, early: EarlyMessage, arrival: Arrival) -> None:
        """Judge a message that was held back, as if it had come just now."""
        replayed = Arrival(arrival.source, arrival.link_peer, early.path_mtu, early.ce, arrival.now)
        replayed.deliveries = arrival.deliveries
        self._encrypted(early.message, replayed)

    def _session_of(self, arrival: Arrival) -> Session | None:
        session = self._core.sessions.get(arrival.source)
        if session is None:
            self._core.counters.unknown_session += 1
        return session

    def _flush_queued(self, remote: bytes, now: float) -> None:
        """An authentic message is a reason to try again what found no route (section 5.5 step 11)."""
        session = self._core.sessions.get(remote)
        if session is not None and session.established and session.last_heard == now:
            queued = self._core.take_queued(remote)
            if queued:
                self._core.events.append(PendingReady(remote, queued))
