"""When to tell the neighbours on a wire that we are there, and who told us (spec 04 sections 5.2 and 5.4)."""

from __future__ import annotations

from meshnode.mesh.rate_limit import TokenBucket

EARLY_SECS = (0.0, 1.0, 3.0, 10.0)
"""Beacons after each start and each change of the wire, so that two nodes that start together meet at once."""

LEAST_INTERVAL_SECS = 10.0
ANSWER_SECS = 1.0
"""Least time between beacons that answer somebody new."""

MOST_NEIGHBOURS = 256
BEACONS_PER_SEC = 64
_NEVER = float("inf")


class BeaconSchedule:
    """When the next beacon is due: early ones after `restart`, then one every `interval` seconds."""

    def __init__(self, interval: float) -> None:
        self._interval = max(interval, LEAST_INTERVAL_SECS)
        self._early: list[float] = []
        self._answer_from = -_NEVER
        self.due = _NEVER

    def restart(self, now: float) -> None:
        """Begin anew: whoever is out there now knows nothing of us."""
        self._early = [now + delay for delay in EARLY_SECS]
        self.due = self._early.pop(0)

    def stop(self) -> None:
        self._early, self.due = [], _NEVER

    def sent(self, now: float) -> None:
        """Note that a beacon has left, or could not."""
        self._early = [due for due in self._early if due > now]
        self.due = self._early.pop(0) if self._early else now + self._interval

    def answer(self, now: float) -> None:
        """Somebody new is there, who may have missed what was sent before: one more beacon, though not at any rate."""
        if self.due != _NEVER and now >= self._answer_from:
            self._answer_from = now + ANSWER_SECS
            self._early.insert(0, self.due)
            self.due = now


class Neighbours:
    """Who claims to be at which address, as far as beacons told; the longest silent are forgotten first."""

    def __init__(self) -> None:
        self._keys: dict[bytes, bytes] = {}
        self._pace = TokenBucket(BEACONS_PER_SEC, BEACONS_PER_SEC, 0.0)

    def is_time(self, now: float) -> bool:
        """Whether one more beacon may be looked at; a flood of them is not."""
        return self._pace.allow(now)

    def heard(self, mac: bytes, public_key: bytes) -> bool:
        """Take the claim that `public_key` is at `mac`; whether it is a new one."""
        is_new = self._keys.pop(mac, None) != public_key
        self._keys[mac] = public_key
        if len(self._keys) > MOST_NEIGHBOURS:
            del self._keys[next(iter(self._keys))]
        return is_new

    def clear(self) -> None:
        self._keys.clear()
