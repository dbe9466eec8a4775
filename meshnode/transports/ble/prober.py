"""Which of the devices heard on the air to try next, and not too often (spec 04 section 9.4). Sans-IO."""

from __future__ import annotations

from dataclasses import dataclass

TRIES = 20
"""Probes of one device without success before it has to be heard again."""
MOST_DEVICES = 64


@dataclass(slots=True)
class _Device:
    due: float
    tries: int = 0


class Prober:
    """Devices to be probed, each at most once in `cooldown` seconds. A controller tells of a device once, so it is
    remembered here until a channel to it is open.
    """

    def __init__(self, cooldown: float) -> None:
        self._cooldown = cooldown
        self._devices: dict[str, _Device] = {}

    def found(self, device: str, now: float) -> None:
        """Note that `device` was heard; it is due at once unless it was probed lately."""
        known = self._devices.get(device)
        if known is not None:
            known.tries = 0
        elif len(self._devices) < MOST_DEVICES:
            self._devices[device] = _Device(now)

    def lost(self, device: str, now: float) -> None:
        """Note that a channel to `device` ended; it is due after the cooldown."""
        if device in self._devices or len(self._devices) < MOST_DEVICES:
            self._devices[device] = _Device(now + self._cooldown)

    def connected(self, device: str) -> None:
        """Note that there is a channel to `device`; nothing is due as long as it lasts."""
        self._devices.pop(device, None)

    def next(self, now: float) -> str | None:
        """Return a device to probe now, the one that waits longest, and begin its cooldown."""
        due = [(known.due, device) for device, known in self._devices.items() if known.due <= now]
        if not due:
            return None
        device = min(due)[1]
        known = self._devices[device]
        known.due = now + self._cooldown
        known.tries += 1
        if known.tries >= TRIES:
            del self._devices[device]
        return device

    def next_deadline(self) -> float | None:
        """Return when a device is due next."""
        return min((known.due for known in self._devices.values()), default=None)
