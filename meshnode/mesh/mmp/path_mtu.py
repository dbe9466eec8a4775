"""Path MTU of one session, both directions (spec 02 section 10.2, spec 03 section 11.9)."""

from __future__ import annotations

UNKNOWN_MTU = 65535
MTU_FLOOR = 256  # smaller reports are not acted on: anyone on the path could strangle a session with them
MIN_INTERVAL = 10.0
RAISE_REPORTS = 3


class PathMtuState:
    """`current` is what we may send, `observed` what the peer's datagrams came with; sizes in bytes of link frame."""

    __slots__ = (
        "_changed",
        "_interval",
        "_notified_at",
        "_raise_count",
        "_raise_since",
        "_raise_to",
        "current",
        "observed",
    )

    def __init__(self) -> None:
        self.current = UNKNOWN_MTU
        self.observed = UNKNOWN_MTU
        self._changed = False
        self._notified_at: float | None = None
        self._interval = MIN_INTERVAL
        self._raise_to = 0
        self._raise_count = 0
        self._raise_since = 0.0

    def seed(self, mtu: int) -> None:
        """Fold the first hop's link MTU in; never raises `current`."""
        if mtu < self.current:
            self.current = mtu

    def observe(self, mtu: int) -> None:
        """Note the path MTU a decrypted datagram of the peer arrived with."""
        if mtu != self.observed:
            self.observed = mtu
            self._changed = True

    def set_srtt(self, srtt_ms: float) -> None:
        """Pace notifications by the round-trip time; after every processed ReceiverReport that finds one."""
        self._interval = max(MIN_INTERVAL, int(5 * srtt_ms) / 1000)

    def due(self, now: float) -> bool:
        """Whether the peer should be told `observed` now."""
        if self.observed == UNKNOWN_MTU:
            return False
        if self._notified_at is None or (self._changed and self.observed < self.current):
            return True
        return now - self._notified_at >= self._interval

    def build(self, now: float) -> int:
        """The value to put into a PathMtuNotification leaving now."""
        self._notified_at = now
        self._changed = False
        return self.observed

    def apply(self, mtu: int, now: float) -> bool:
        """Take a value from the peer or from a MtuExceeded signal; True when `current` changed.

        A smaller value counts at once, a larger one after three equal reports spread over two intervals. A pending
        larger value is forgotten whenever `current` changes, so that it can be accepted again later.
        """
        if mtu < MTU_FLOOR or mtu == self.current:
            return False
        if mtu > self.current and not self._raise_confirmed(mtu, now):
            return False
        self.current = mtu
        self._raise_to = self._raise_count = 0
        return True

    def reset(self) -> None:
        """Forget what we may send, as when the path is known to be gone; `observed` stays."""
        self.current = UNKNOWN_MTU
        self._raise_to = self._raise_count = 0

    def _raise_confirmed(self, mtu: int, now: float) -> bool:
        if mtu != self._raise_to:
            self._raise_to, self._raise_count, self._raise_since = mtu, 1, now
            return False
        self._raise_count += 1
        return self._raise_count >= RAISE_REPORTS and now - self._raise_since >= 2 * self._interval
