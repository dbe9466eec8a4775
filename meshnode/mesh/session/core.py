"""What the parts of the session layer share: the table, the outputs, the deadlines and the making of messages."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol

from meshnode.identity import Identity, PeerIdentity
from meshnode.mesh.settings import MeshSettings
from meshnode.wire.coordinates import encode_coordinates
from meshnode.wire.session import COORDS_WARMUP, CP, INNER, PHASE_SETUP, PREFIX, SessionAck, SessionSetup

from .counters import ErrorCounters, SessionCounters
from .errors import SessionNotReady
from .events import CloseReason, LookupWanted, Outgoing, Queued, SessionClosed, SessionEvent
from .half_open import HalfOpen
from .identity_cache import IdentityCache
from .pending import PendingQueues
from .session import NEVER, EarlyMessage, Session

EARLY_MESSAGES = 16
EARLY_SOURCES = 256
REKEY_JITTERS = (-30, -15)
"""Seconds by which we renew before the configured time: before a peer that does so around it, from 15 s before it on.

A reference peer whose own Setup got lost waits for its answer for ever, and with the smaller address takes none of ours
either (spec 02 section 7.5).
"""

DEFAULT_TRANSPORT_MTU = 1280


class Coordinates(Protocol):
    """What sessions need of the router."""

    @property
    def own_coordinates(self) -> list[bytes]:
        """Our own place in the tree, ourselves first, the root last."""

    def coordinates_for(self, destination: bytes, now: float) -> list[bytes] | None:
        """The cached place of another node."""

    def learn_coordinates(self, owner: bytes, coordinates: list[bytes], now: float) -> None:
        """Coordinates that came with an authentic message of `owner`; an empty list says nothing."""

    def forget_coordinates(self, destination: bytes) -> None:
        """Drop the cached place of another node."""

    def next_hop(self, destination: bytes, now: float) -> bytes | None:
        """The link peer towards `destination`, None without a route."""


class Jitter(Protocol):
    """The part of `random.Random` that is used."""

    def randint(self, a: int, b: int, /) -> int:
        """A whole number from a to b, both included."""


class Core:
    """State of the session layer; each part of the layer works on it and none keeps state of its own elsewhere."""

    __slots__ = (
        "_deadlines",
        "coordinates",
        "counters",
        "datagrams",
        "early",
        "entropy",
        "errors",
        "events",
        "half_open",
        "identities",
        "identity",
        "outbound",
        "own",
        "packets",
        "random",
        "sessions",
        "settings",
        "startup_epoch",
        "transport_mtu",
    )

    def __init__(
        self,
        identity: Identity,
        startup_epoch: bytes,
        settings: MeshSettings,
        entropy: Callable[[int], bytes],
        random: Jitter,
        coordinates: Coordinates,
        identities: IdentityCache,
    ) -> None:
        self.identity = identity
        self.own = identity.node_addr
        self.startup_epoch = startup_epoch
        self.settings = settings
        self.entropy = entropy
        self.random = random
        self.coordinates = coordinates
        self.identities = identities
        self.transport_mtu = DEFAULT_TRANSPORT_MTU
        self.sessions: dict[bytes, Session] = {}
        self.half_open = HalfOpen()
        self.outbound: list[Outgoing] = []
        self.events: list[SessionEvent] = []
        self.counters = SessionCounters()
        self.errors = ErrorCounters()
        bounds = settings.session.pending_packets_per_dest, settings.session.pending_max_destinations
        self.packets: PendingQueues[Queued] = PendingQueues(*bounds)
        self.datagrams: PendingQueues[Queued] = PendingQueues(*bounds)
        self.early: PendingQueues[EarlyMessage] = PendingQueues(EARLY_MESSAGES, EARLY_SOURCES)
        self._deadlines: list[tuple[float, bytes]] = []

    def draw_jitter(self) -> int:
        """Seconds by which one key epoch's life differs from the configured one."""
        return self.random.randint(*REKEY_JITTERS)

    def resend_at(self, copies: int, now: float) -> float:
        """When a handshake message repeated `copies` times by now is repeated next (section 6.3)."""
        limits = self.settings.rate_limit
        return now + limits.handshake_resend_interval_ms * limits.handshake_resend_backoff**copies / 1000

    def send(self, session: Session, payload: bytes) -> None:
        """Hand a finished message to the driver."""
        self.outbound.append(Outgoing(session.address, payload))

    def repeat(self, session: Session, payload: bytes, now: float) -> None:
        """Send a Setup or Ack again, the same but for the coordinates: both ends may be elsewhere by now.

        Every node on the way believes what the copy says, so an old place would lead it, and data after it, astray.
        """
        kind = SessionSetup if payload[0] == PHASE_SETUP else SessionAck
        message = kind.parse(payload[PREFIX.size :])
        message.source_coordinates = self.coordinates.own_coordinates
        theirs = self.coordinates.coordinates_for(session.address, now)
        message.destination_coordinates = theirs or message.destination_coordinates
        self.send(session, message.encode())

    def send_inner(self, session: Session, message_type: int, body: bytes, now: float) -> None:
        """Seal and send one message that is not data: no coordinates, no effect on the idle timer."""
        self.send(session, self._sealed(session, message_type, body, session.k_flag, b"", now))

    def send_warmup(self, session: Session, now: float) -> None:
        """Send a CoordsWarmup: it renews our coordinates on the way and proves our keys to the peer."""
        self.send(session, self.warmup(session, self.coordinate_pair(session.address, now), now))

    def warmup(self, session: Session, coordinates: bytes, now: float) -> bytes:
        """Seal a CoordsWarmup with coordinates from `coordinate_pair`."""
        return self._sealed(session, COORDS_WARMUP, b"", CP | session.k_flag, coordinates, now)

    def coordinate_pair(self, remote: bytes, now: float) -> bytes:
        """Our coordinates and the remote's in the form messages carry them (spec 02 section 3.2)."""
        own, theirs = self.coordinate_lists(remote, now)
        return encode_coordinates(own) + encode_coordinates(theirs)

    def coordinate_lists(self, remote: bytes, now: float) -> tuple[list[bytes], list[bytes]]:
        """Our coordinates and the remote's; ours again where those are unknown, as only towards a direct peer."""
        own = self.coordinates.own_coordinates
        return own, self.coordinates.coordinates_for(remote, now) or own

    def want_lookup(self, remote: bytes) -> None:
        """Ask for fresh coordinates, which can only be verified for a known key."""
        if self.identities.peek_exact(remote) is not None:
            self.events.append(LookupWanted(remote))

    def learn(self, remote: PeerIdentity, now: float) -> None:
        """Remember who is behind an address."""
        self.identities.insert(remote, now)

    def is_waited_for(self, remote: bytes) -> bool:
        """Whether data waits for a session with `remote`."""
        return remote in self.packets or remote in self.datagrams

    def take_queued(self, remote: bytes) -> list[Queued]:
        """Remove and return everything that waits for `remote`."""
        return self.packets.take(remote) + self.datagrams.take(remote)

    def remove(self, session: Session, reason: CloseReason) -> None:
        """Forget an entry and what waits for it."""
        if self.sessions.get(session.address) is session:
            del self.sessions[session.address]
            self.half_open.discard(session.address)
        self.take_queued(session.address)
        self.early.take(session.address)
        self.events.append(SessionClosed(session.address, reason))

    def wake(self, session: Session, when: float) -> None:
        """Make sure that the session is served at `when`."""
        if when < session.wake_at:
            session.wake_at = when
            heappush(self._deadlines, (when, session.address))

    def next_deadline(self) -> float | None:
        """When the next session wants service."""
        return self._deadlines[0][0] if self._deadlines else None

    def stirred(self, alarm: float) -> bool:
        """Whether there is anything to drain, or a session wants service before `alarm`."""
        deadlines = self._deadlines
        return bool(self.outbound or self.events or (deadlines and deadlines[0][0] < alarm))

    def due(self, now: float) -> list[Session]:
        """Sessions whose deadline is reached, each once; they are to be served and armed again."""
        deadlines = self._deadlines
        sessions = []
        while deadlines and deadlines[0][0] <= now:
            when, address = heappop(deadlines)
            session = self.sessions.get(address)
            if session is not None and session.wake_at == when:
                session.wake_at = NEVER
                sessions.append(session)
        return sessions

    def _sealed(
        self, session: Session, message_type: int, body: bytes, flags: int, coordinates: bytes, now: float
    ) -> bytes:
        epoch, measurement = session.current, session.measurement
        if epoch is None:
            raise SessionNotReady(f"no session with {session.address.hex()}")
        timestamp, counter = session.timestamp(now), epoch.send_counter
        inner = INNER.pack(timestamp, message_type, measurement.spin_bit)
        message = epoch.seal(flags, inner + body, coordinates)
        measurement.sent(counter, counter, timestamp, len(inner) + len(body) + 16)
        return message
