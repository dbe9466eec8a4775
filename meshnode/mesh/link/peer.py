"""An active peer: whom we are linked to, over which path, with which epochs, and how well it goes."""

from __future__ import annotations

from typing import NamedTuple

from meshnode.identity import PeerIdentity
from meshnode.mesh.mmp import Measurement
from meshnode.mesh.rate_limit import TokenBucket

from .epoch import LinkEpoch, Opened
from .events import Path
from .handshake import Handshake
from .mtu_probe import MtuProbe
from .trust import SILENCE_WITHOUT_REPORTS, Trust

UNLIMITED = 65535

_SWAP_PATIENCE = 2.5
_ANSWERS_SUFFICE_SECS = 60.0
"""On a bad path, a peer that sends no reports is heard once a minute, and answers many a probe meanwhile."""

_RHYTHM_DECAY = 0.98
_SOUNDING_SECS, _SOUNDING_SHARE = 30.0, 0.2


class Draining(NamedTuple):
    """An epoch that is only opened any more, until a point in time."""

    epoch: LinkEpoch
    until: float


class Stray:
    """Another path than its own along which a peer was heard, again and again from `since` to `last`."""

    __slots__ = ("last", "path", "since")

    def __init__(self, path: Path, now: float) -> None:
        self.path = path
        self.since = self.last = now


class PeerLink:
    """One active peer (spec 01 section 4).

    Times are monotonic seconds. `session_start` is the zero of the inner timestamps: set at promotion and at every
    rekey cutover, untouched by a cross-connection swap. Counters count link frames and their bytes. A `doubtful` peer
    is being probed, since `probed_at`, because it is silent, also at its `alternatives`, a `distrusted` one did not
    answer that either. A `busy` one sends many frames; `nudged_at` is when it last stopped and was given a sign of
    life. `refused` counts the frames for its keys that did not open, or came again, since one did. `mtu_limit` is the
    longest frame that gets through, if that is less than the transport promises. With `leads_renewals` it is we who
    renew the keys. `k_from` is the epoch in which the peer's K bit was seen and taken over.
    """

    __slots__ = (
        "alternatives",
        "answered_rekey_at",
        "busy",
        "bytes_recv",
        "bytes_sent",
        "consecutive_failures",
        "current",
        "distrusted",
        "doubtful",
        "draining",
        "established_at",
        "handshake_reply",
        "identity",
        "inbound",
        "jitter",
        "k_bit",
        "k_from",
        "last_heard",
        "last_heartbeat",
        "leads_renewals",
        "link_id",
        "measurement",
        "mtu_limit",
        "mtu_probe",
        "node_addr",
        "nudged_at",
        "packets_at_tick",
        "packets_recv",
        "packets_sent",
        "path",
        "path_heard",
        "probed_at",
        "promoted_at",
        "refused",
        "rekey",
        "rekeys",
        "remote_epoch",
        "replays",
        "session_start",
        "shunned",
        "sounded_at",
        "sounding_budget",
        "soundings",
        "stray",
        "swapped_at",
        "trust",
    )

    def __init__(
        self,
        identity: PeerIdentity,
        path: Path,
        epoch: LinkEpoch,
        remote_epoch: bytes,
        measurement: Measurement,
        link_id: int,
        jitter: int,
        now: float,
    ) -> None:
        self.identity = identity
        self.node_addr = identity.node_addr
        self.path = path
        self.current = epoch
        self.remote_epoch = remote_epoch
        self.measurement = measurement
        self.link_id = link_id
        self.inbound = not epoch.initiator
        self.draining: list[Draining] = []
        self.handshake_reply: bytes | None = None
        self.k_bit = 0
        self.k_from: LinkEpoch | None = None
        self.promoted_at = self.established_at = self.session_start = self.last_heard = self.path_heard = now
        self.swapped_at = now
        self.last_heartbeat: float | None = None
        self.answered_rekey_at: float | None = None
        self.rekey: Handshake | None = None
        self.rekeys = 0
        self.leads_renewals = False
        self.jitter = jitter
        self.trust = Trust()
        self.probed_at = float("-inf")
        self.doubtful = self.distrusted = False
        self.mtu_probe: MtuProbe | None = None
        self.mtu_limit = UNLIMITED
        self.alternatives: list[Path] = []
        self.busy = False
        self.nudged_at = now
        self.packets_at_tick = 0
        self.soundings = 0
        self.stray: Stray | None = None
        self.shunned: tuple[Path, float] | None = None
        self.sounded_at = now
        self.sounding_budget = TokenBucket(_SOUNDING_SECS, _SOUNDING_SHARE, now)
        self.consecutive_failures = self.replays = self.refused = 0
        self.packets_sent = self.packets_recv = self.bytes_sent = self.bytes_recv = 0

    def __repr__(self) -> str:
        return f"<PeerLink {self.identity.short_npub} at {self.path[1]}>"

    def timestamp(self, now: float) -> int:
        """Milliseconds since this link session started, modulo 2**32 (spec 01 section 3.2)."""
        return int((now - self.session_start) * 1000) & 0xFFFFFFFF

    def heard(self, opened: Opened, ce: bool, now: float) -> None:
        """Account for authentic frames that arrived together."""
        gap, trust = now - self.last_heard, self.trust
        trust.rhythm = gap if gap > trust.rhythm else trust.rhythm * _RHYTHM_DECAY
        self.last_heard = now
        self.consecutive_failures = self.refused = 0
        measurement = self.measurement
        for first, last, timestamp, nbytes in opened.spans:
            self.bytes_recv += nbytes
            measurement.received_run(first, last, timestamp, nbytes, last - first + 1 if ce else 0, now)
        self.packets_recv += len(opened.plaintexts)

    def sent(self, frames: list[bytes], timestamp: int) -> None:
        """Account for frames just sealed with the current epoch."""
        nbytes = sum(map(len, frames))
        self.packets_sent += len(frames)
        self.bytes_sent += nbytes
        last = self.current.send_counter - 1
        self.measurement.sent(last - len(frames) + 1, last, timestamp, nbytes)

    def stays_with(self, epoch: LinkEpoch, now: float) -> bool:
        """Whether the peer speaks under an old `epoch` although we moved on a while ago, and never under ours."""
        if self.rekeys or self.current.window.highest >= 0:
            return False
        return now - self.swapped_at >= _SWAP_PATIENCE

    def speaks(self, now: float) -> bool:
        """Whether more than answers to handshakes was heard of the peer, and not too long ago."""
        return self.packets_recv > 0 and now - self.path_heard < _ANSWERS_SUFFICE_SECS

    def is_silent(self, now: float) -> bool:
        """Whether a link that should speak has not, for longer than its own rhythm and round trip explain."""
        return now - self.last_heard >= self.trust.patience(self.measurement.srtt_ms)

    @property
    def is_probed(self) -> bool:
        """Whether its present silence is being probed."""
        return self.probed_at > self.last_heard

    def is_broken(self, now: float) -> bool:
        """Whether probing was in vain, or the peer does not hear us."""
        return now >= self.broken_at() or self.trust.is_deaf(self.measurement.srtt_ms, now)

    def broken_at(self) -> float:
        """When probing must have had an answer, if nothing is heard until then; infinity without any probe.

        Counted from the first probe, not from the silence: it may be us who did not listen in time.
        """
        if not self.is_probed:
            return float("inf")
        answered_at = self.probed_at + self.trust.probe_time(self.measurement.srtt_ms)
        return answered_at if self.trust.expectant else max(answered_at, self.last_heard + SILENCE_WITHOUT_REPORTS)
