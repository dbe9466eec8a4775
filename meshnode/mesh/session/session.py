"""One entry of the session table (spec 02 section 6.1)."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from meshnode.identity import PeerIdentity
from meshnode.mesh.mmp.measurement import Measurement
from meshnode.mesh.mmp.path_mtu import PathMtuState
from meshnode.noise import XkInitiator, XkResponder
from meshnode.wire.session import K

from .answers import ArmedAnswer
from .epoch import SessionEpoch

NEVER = float("inf")
LONG_AGO = float("-inf")

PATIENCE = 2.0
PATIENCE_WITHOUT_REPORTS = 12.5  # a peer in minimal mode sends a PathMtuNotification every 10 s
MAX_PATIENCE = 30.0


class SessionState(Enum):
    """Values are the names operators see."""

    INITIATING = "initiating"
    AWAITING_MESSAGE3 = "awaiting_msg3"
    ESTABLISHED = "established"


ESTABLISHED = SessionState.ESTABLISHED


AMPLIFICATION = 3
"""Bytes sent, at most, for each byte that came from a source which has not shown that it is there."""

DATAGRAM_OVERHEAD = 72


class EarlyMessage(NamedTuple):
    """An encrypted message that came before the Msg3 that makes its keys."""

    message: bytes
    path_mtu: int
    ce: bool


class Opening:
    """One first handshake of an entry: what is on the wire, its resends, and since when data arrives too early.

    `message1` is the peer's where we answer, `link_peer` then the neighbour it came through. `credit` is how many bytes
    of copies it earned. Our message left `sent_at` by way of the peer `sent_by`.
    """

    __slots__ = (
        "copies",
        "credit",
        "early_since",
        "link_peer",
        "message1",
        "next_resend",
        "noise",
        "payload",
        "rescue_k",
        "sent_at",
        "sent_by",
    )

    def __init__(self, noise: XkInitiator | XkResponder, payload: bytes, now: float, next_resend: float) -> None:
        self.noise = noise
        self.payload = payload
        self.sent_at = now
        self.sent_by: bytes | None = None
        self.next_resend = next_resend
        self.copies = 0
        self.credit = float("inf")
        self.message1 = self.link_peer = b""
        self.early_since: float | None = None
        self.rescue_k: bool | None = None

    def asked(self, size: int) -> None:
        """A Setup of `size` bytes was answered: whoever sent it may be no more than its claimed source's enemy."""
        earned = AMPLIFICATION * (size + DATAGRAM_OVERHEAD) - self.cost
        self.credit = earned if self.credit == float("inf") else self.credit + earned

    def in_vain(self) -> None:
        """What was sent last did not get there: a new path is a reason to repeat it at once."""
        self.sent_at = -NEVER

    @property
    def cost(self) -> int:
        """Bytes on a link that one more copy of our message takes."""
        return len(self.payload) + DATAGRAM_OVERHEAD


class Unproven:
    """What an initiator keeps until the first authentic frame shows that its Msg3 arrived (spec 02 section 6.6)."""

    __slots__ = ("ack_handshake", "copies", "due", "message3", "sent_at")

    def __init__(self, message3: bytes, ack_handshake: bytes, now: float, due: float) -> None:
        self.message3 = message3
        self.ack_handshake = ack_handshake
        self.sent_at = now
        self.copies = 0
        self.due = due


class Rekey:
    """The second and later handshakes of an entry (spec 02 section 7), and the drain after each cutover.

    `noise` is our own handshake in flight, with `payload` its Setup, which followed `setups` others in vain and gives
    way to another one at `setup_due`. `armed` are the Setups we answered, since `armed_since`; anybody may have forged
    them. `message3` is kept by the initiator until the peer is seen to use the new keys.
    """

    __slots__ = (
        "armed",
        "armed_since",
        "completed",
        "drain_started",
        "jitter",
        "last_peer_rekey",
        "message3",
        "message3_due",
        "message3_sent",
        "noise",
        "payload",
        "previous_last_used",
        "reviving",
        "sent_at",
        "setup_due",
        "setups",
    )

    def __init__(self, jitter: int) -> None:
        self.noise: XkInitiator | None = None
        self.setups = 0
        self.setup_due = NEVER
        self.reviving = False
        self.payload = b""
        self.armed: list[ArmedAnswer] = []
        self.armed_since = LONG_AGO
        self.sent_at = LONG_AGO
        self.completed = LONG_AGO
        self.last_peer_rekey = LONG_AGO
        self.message3: bytes | None = None
        self.message3_sent = 0
        self.message3_due = NEVER
        self.drain_started = LONG_AGO
        self.previous_last_used = LONG_AGO
        self.jitter = jitter

    def clear_handshake(self) -> None:
        """Forget the handshakes in flight; a negotiated epoch stays."""
        self.clear_own()
        self.armed.clear()

    def clear_own(self) -> None:
        """Forget our own handshake in flight."""
        self.noise = None
        self.payload = b""
        self.reviving = False
        self.setup_due = NEVER

    @property
    def idle(self) -> bool:
        """Whether no handshake is in flight."""
        return self.noise is None and not self.armed

    def clear_message3(self) -> None:
        """The peer uses the new keys, or never will."""
        self.message3 = None
        self.message3_sent = 0
        self.message3_due = NEVER


class Session:
    """Everything kept about one remote. Times are seconds on the layer's monotonic clock, MTUs bytes of link frame.

    `current` exists iff the state is established. Before that, `opening` is the handshake we repeat by ourselves,
    `answers` are all we answered, of which at most one is the remote's, and `ours` is a Setup of our own beside them,
    which lost a tie or could not wait. `unheard` counts data messages sent since the peer was last heard; while it is
    not 0, `offer_at` is when a fresh handshake is offered. `heard_through` is the neighbour that brought what was heard
    last, `found_at` when a lookup last found the remote; `sent_by_report` messages were
    sent by `reported_at`, when it last told what it receives.
    """

    __slots__ = (
        "address",
        "answers",
        "bytes_received",
        "bytes_sent",
        "created",
        "current",
        "found_at",
        "heard_through",
        "is_initiator",
        "k",
        "last_activity",
        "last_coords_response",
        "last_heard",
        "last_position_told",
        "last_renewal",
        "last_route_lost",
        "lookup_due",
        "measurement",
        "offer_at",
        "offers",
        "opening",
        "ours",
        "packets_received",
        "packets_sent",
        "path_mtu",
        "patience",
        "peer_reports",
        "pending",
        "previous",
        "quiet",
        "rekey",
        "remote",
        "remote_epoch",
        "reported_at",
        "sent_by_report",
        "session_start",
        "sought_at",
        "state",
        "unheard",
        "unheard_at_offer",
        "unproven",
        "wake_at",
        "warmup_owed",
        "warmup_remaining",
    )

    def __init__(
        self,
        address: bytes,
        remote: PeerIdentity | None,
        opening: Opening,
        measurement: Measurement,
        jitter: int,
        now: float,
    ) -> None:
        self.address = address
        self.remote = remote
        self.remote_epoch = b""
        self.is_initiator = measurement.initiator
        self.state = SessionState.INITIATING if self.is_initiator else SessionState.AWAITING_MESSAGE3
        self.created = self.last_activity = self.session_start = self.last_heard = now
        self.opening: Opening | None = opening
        self.answers: list[Opening] = [] if self.is_initiator else [opening]
        self.ours: Opening | None = None
        self.unproven: Unproven | None = None
        self.current: SessionEpoch | None = None
        self.pending: SessionEpoch | None = None
        self.previous: SessionEpoch | None = None
        self.k = False
        self.rekey = Rekey(jitter)
        self.measurement = measurement
        self.path_mtu = PathMtuState()
        self.warmup_remaining = 0
        self.warmup_owed = False
        self.lookup_due = self.found_at = self.sought_at = LONG_AGO
        self.heard_through = b""
        self.last_renewal = LONG_AGO
        self.last_coords_response = self.last_position_told = self.last_route_lost = LONG_AGO
        self.packets_sent = self.packets_received = self.bytes_sent = self.bytes_received = 0
        self.wake_at = NEVER
        self.unheard = self.unheard_at_offer = self.offers = self.quiet = 0
        self.offer_at = NEVER
        self.peer_reports = False
        self.patience = PATIENCE_WITHOUT_REPORTS
        self.reported_at: float | None = None
        self.sent_by_report = 0

    @property
    def established(self) -> bool:
        """Whether data can be sealed."""
        return self.state is ESTABLISHED

    @property
    def resend_count(self) -> int:
        """How often the message that waits for an answer was repeated."""
        return 0 if self.opening is None else self.opening.copies

    @property
    def is_draining(self) -> bool:
        """Whether the keys before the last cutover still open."""
        return self.previous is not None

    @property
    def k_bit(self) -> int:
        """The key epoch hint we send, 0 or 1."""
        return int(self.k)

    @property
    def k_flag(self) -> int:
        """The same as a header flag."""
        return K if self.k else 0

    def timestamp(self, now: float) -> int:
        """Milliseconds since this key epoch was taken up, as they go into inner headers."""
        return int((now - self.session_start) * 1000) & 0xFFFFFFFF

    def __repr__(self) -> str:
        return f"<Session {self.address.hex()[:8]} {self.state.value}>"
