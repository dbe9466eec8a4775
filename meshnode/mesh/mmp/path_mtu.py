"""Path MTU of one session, both directions (spec 02 section 10.2, spec 03 section 11.9)."""

from __future__ import annotations

from meshnode.mesh.mmp.size_evidence import SizeEvidence

UNKNOWN_MTU = 65535
MTU_FLOOR = 256  # smaller reports are not acted on: anyone on the path could strangle a session with them
MIN_INTERVAL = 10.0
RAISE_REPORTS = 3

FIRST_HOLD, LONGEST_HOLD = 5.0, 30.0
"""Seconds for which an unproved claim is believed before larger frames are tried again."""

TRIAL = 2.5
"""Seconds such a trial takes: no claim is believed meanwhile."""

SUSPICION_SECS = 60.0
"""How long after a claim the sizes of what is sent are watched."""

EVIDENCE_AGE = 4.0
"""Seconds for which a report that larger frames arrive refutes claims of a smaller MTU."""


class PathMtuState:
    """`current` is what we may send, `observed` what the peer's datagrams came with; sizes in bytes of link frame.

    What the peer itself tells counts until it tells otherwise. What a signal claims, which anybody may send, is
    believed for some seconds, then larger frames are tried; and not at all while the peer's reports show that larger
    ones arrive. While somebody makes such claims (`evidence` is not None), tell `evidence` what is sent.
    """

    __slots__ = (
        "_carried",
        "_carried_at",
        "_claim",
        "_claim_hold",
        "_claim_until",
        "_confirmed",
        "_interval",
        "_notified_at",
        "_raise_count",
        "_raise_since",
        "_raise_to",
        "_suspected_until",
        "_told",
        "_trial_until",
        "current",
        "evidence",
        "observed",
    )

    def __init__(self) -> None:
        self.current = UNKNOWN_MTU
        self.observed = UNKNOWN_MTU
        self._confirmed = UNKNOWN_MTU
        self._claim = UNKNOWN_MTU
        self._claim_hold = FIRST_HOLD
        self._claim_until = self._trial_until = self._carried_at = float("-inf")
        self._carried = 0
        self._suspected_until = float("-inf")
        self.evidence: SizeEvidence | None = None
        self._told = UNKNOWN_MTU
        self._notified_at: float | None = None
        self._interval = MIN_INTERVAL
        self._raise_to = 0
        self._raise_count = 0
        self._raise_since = 0.0

    def seed(self, mtu: int) -> None:
        """Fold the first hop's link MTU in; never raises `current`."""
        if mtu < self._confirmed:
            self._confirmed = mtu
            self._update()

    def claim(self, mtu: int, now: float) -> bool:
        """Take a value that nobody vouches for; True when it is believed for now and `current` fell."""
        if mtu < MTU_FLOOR or mtu >= self._confirmed:
            return False
        self._suspected_until = now + SUSPICION_SECS
        if self.evidence is None:
            self.evidence = SizeEvidence()
        if mtu >= self.current or now < self._trial_until:
            return False
        if self._carried > mtu and now - self._carried_at <= EVIDENCE_AGE:
            return False
        if self._claim == UNKNOWN_MTU:  # a smaller one on top does not put off the trial
            self._claim_until = now + self._claim_hold
            self._claim_hold = min(2 * self._claim_hold, LONGEST_HOLD)
        self._claim = mtu
        self._update()
        return True

    def carried(self, size: int, now: float) -> None:
        """The peer's report shows that a frame of `size` bytes has arrived lately, or that many had on average."""
        if size >= self._carried or now - self._carried_at > EVIDENCE_AGE:
            self._carried, self._carried_at = size, now
        if size > self._claim:
            self._claim_hold = FIRST_HOLD

    def reported(self, highest_counter: int, received: int, now: float) -> None:
        """The peer reports how many of our frames have arrived, up to which counter."""
        if self.evidence is None:
            return
        size = self.evidence.reported(highest_counter, received, now)
        if size is not None:
            self.carried(size, now)
        if now > self._suspected_until:
            self.evidence = None

    def expire(self, now: float) -> bool:
        """Try larger frames again once a claim has been believed for long enough; True when `current` rose."""
        if self._claim == UNKNOWN_MTU or now < self._claim_until:
            return False
        self._claim = UNKNOWN_MTU
        self._trial_until = now + TRIAL
        before = self.current
        self._update()
        return self.current > before

    def _update(self) -> None:
        self.current = min(self._confirmed, self._claim)

    def observe(self, mtu: int) -> None:
        """Note the path MTU a decrypted datagram of the peer arrived with."""
        self.observed = mtu

    def set_srtt(self, srtt_ms: float) -> None:
        """Pace notifications by the round-trip time; after every processed ReceiverReport that finds one."""
        self._interval = max(MIN_INTERVAL, int(5 * srtt_ms) / 1000)

    def due(self, now: float) -> bool:
        """Whether the peer should be told `observed` now: at once when it is less than what the peer was told last.

        What we may send says nothing about it: the two directions may take different paths.
        """
        if self.observed == UNKNOWN_MTU:
            return False
        if self._notified_at is None or self.observed < self._told:
            return True
        return now - self._notified_at >= self._interval

    def build(self, now: float) -> int:
        """The value to put into a PathMtuNotification leaving now."""
        self._notified_at = now
        self._told = self.observed
        return self.observed

    def apply(self, mtu: int, now: float) -> bool:
        """Take a value from the peer; True when `current` changed.

        A smaller value counts at once, a larger one after three equal reports spread over two intervals. A pending
        larger value is forgotten whenever the value changes, so that it can be accepted again later.
        """
        if mtu < MTU_FLOOR or mtu == self._confirmed:
            return False
        if mtu > self._confirmed and not self._raise_confirmed(mtu, now):
            return False
        self._confirmed = mtu
        self._raise_to = self._raise_count = 0
        before = self.current
        self._update()
        return self.current != before

    def reset(self) -> None:
        """Forget what we may send, as when the path is known to be gone; `observed` stays."""
        self._confirmed = self._claim = UNKNOWN_MTU
        self._raise_to = self._raise_count = 0
        self._update()

    def _raise_confirmed(self, mtu: int, now: float) -> bool:
        if mtu != self._raise_to:
            self._raise_to, self._raise_count, self._raise_since = mtu, 1, now
            return False
        self._raise_count += 1
        return self._raise_count >= RAISE_REPORTS and now - self._raise_since >= 2 * self._interval
