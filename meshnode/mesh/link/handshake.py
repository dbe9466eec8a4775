"""A link handshake we started and whose answer has not come: a first dial, a rekey or a probe of a silent peer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.identity import PeerIdentity
from meshnode.mesh.settings import RateLimitSettings
from meshnode.noise import IkInitiator

from .events import Path

if TYPE_CHECKING:
    from .peer import PeerLink

_EAGER_GAPS = ((2.0, 0.25), (8.0, 0.5))
_UNPROVED_GAPS = ((0.5, 0.5), (1.5, 1.0), (float("inf"), 2.0))


class Handshake:
    """The initiator's side of one IK handshake; every resend is byte-identical (spec 01 section 7.2).

    `peer` is None for a first dial and names the live link for a rekey. While it is `waiting`, the connection it will
    use is being opened and nothing was sent; on such a `reliable` path nothing has to be said twice in a hurry. An
    `unproved` one goes where only hearsay says that `remote` is: its few copies are spread.
    """

    __slots__ = (
        "configured_resend",
        "early_frame_at",
        "frame",
        "index",
        "link_id",
        "next_resend",
        "noise",
        "path",
        "peer",
        "reliable",
        "remote",
        "resends",
        "started",
        "unproved",
        "waiting",
    )

    def __init__(
        self,
        remote: PeerIdentity,
        path: Path,
        index: bytes,
        noise: IkInitiator,
        frame: bytes,
        peer: PeerLink | None,
        link_id: int,
        now: float,
    ) -> None:
        self.remote = remote
        self.path = path
        self.index = index
        self.noise = noise
        self.frame = frame
        self.peer = peer
        self.link_id = link_id
        self.started = now
        self.resends = 0
        self.next_resend = self.configured_resend = float("inf")
        self.early_frame_at: float | None = None
        self.waiting = self.reliable = self.unproved = False

    def __repr__(self) -> str:
        return f"<Handshake {self.index.hex()} to {self.remote.short_npub} at {self.path[1]}>"

    def schedule(self, settings: RateLimitSettings, now: float) -> None:
        """Set the time of the next resend: `interval * backoff ** resends` from now, a first dial's sooner."""
        if self.resends >= settings.handshake_max_resends or self.unproved:
            configured = float("inf")
        else:
            delay_ms = settings.handshake_resend_interval_ms * settings.handshake_resend_backoff**self.resends
            configured = now + delay_ms / 1000
        self.configured_resend = configured
        self.next_resend = min(configured, self._eager_resend(now))

    def resent(self, settings: RateLimitSettings, now: float) -> None:
        """Note one more copy on the wire."""
        if now >= self.configured_resend:
            self.resends += 1
            self.schedule(settings, now)
        else:
            self.withheld(now)

    def withheld(self, now: float) -> None:
        """Note that a copy beside the configured ones has left, or may not leave yet."""
        self.next_resend = min(self.configured_resend, self._eager_resend(now))

    def _eager_resend(self, now: float) -> float:
        """When a first dial repeats itself beyond the configured schedule.

        Two machines started together are up within moments of each other; a few early copies let them meet as soon as
        the later one listens. Copies are byte-identical, which every responder takes for the duplicates they are.
        """
        if self.peer is not None or self.reliable:
            return float("inf")
        age = now - self.started
        gaps = _UNPROVED_GAPS if self.unproved else _EAGER_GAPS
        return next((now + gap for until, gap in gaps if age < until), float("inf"))
