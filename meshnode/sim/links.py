"""What a link does to frames, and the kinds of link one meets outside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Quality:
    """One direction of a link. Times are seconds, probabilities 0 to 1, sizes bytes of whole link frames.

    `delay` plus a draw from 0 to `jitter` passes before a frame arrives; frames do not overtake each other, except the
    share `reorder` of them, which come `lag` late. `loss` comes in bursts of `burst` frames on average. A `bandwidth`
    of 0 bit/s is endless; otherwise frames wait in line, and are dropped when the line is `queue` seconds long.
    Frames above `mtu` are refused by the sender, who knows it; those above `hidden_mtu` (0: none) vanish silently.
    """

    delay: float = 0.001
    jitter: float = 0.0
    loss: float = 0.0
    burst: float = 1.0
    duplicate: float = 0.0
    reorder: float = 0.0
    lag: float = 0.02
    bandwidth: float = 0.0
    queue: float = 0.1
    mtu: int = 1472
    hidden_mtu: int = 0

    @property
    def perfect(self) -> bool:
        """Whether no dice are needed to tell which frames arrive."""
        return not (self.loss or self.duplicate or self.reorder or self.hidden_mtu)


_M = 1_000_000.0

CLASSES: dict[str, tuple[Quality, Quality]] = {
    # Towards the second end of an edge, and back: an uplink is often the slower one.
    "perfect": (Quality(), Quality()),
    "fibre": (Quality(delay=0.002, jitter=0.0002, bandwidth=1000 * _M, queue=0.05),) * 2,
    "wifi": (Quality(delay=0.003, jitter=0.004, loss=0.01, burst=2.0, bandwidth=50 * _M, queue=0.1),) * 2,
    "lte": (
        Quality(delay=0.035, jitter=0.015, loss=0.003, bandwidth=10 * _M, queue=0.5, mtu=1400),
        Quality(delay=0.03, jitter=0.01, loss=0.003, bandwidth=40 * _M, queue=0.5, mtu=1400),
    ),
    "ble": (Quality(delay=0.02, jitter=0.02, loss=0.005, bandwidth=0.5 * _M, queue=0.5, mtu=2048),) * 2,
    "tor": (Quality(delay=0.3, jitter=0.15, bandwidth=2 * _M, queue=1.0, mtu=1400),) * 2,
    "satellite": (
        Quality(delay=0.27, jitter=0.01, loss=0.002, burst=3.0, bandwidth=5 * _M, queue=0.3),
        Quality(delay=0.27, jitter=0.01, loss=0.002, burst=3.0, bandwidth=25 * _M, queue=0.3),
    ),
}
"""Presets by name."""


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """Both directions of a link: from the first end of its edge to the second, and back."""

    there: Quality
    back: Quality

    @classmethod
    def of_class(cls, name: str) -> LinkSpec:
        return cls(*CLASSES[name])

    def altered(self, both: dict[str, float], there: dict[str, float], back: dict[str, float]) -> LinkSpec:
        """The same link with some properties changed, in both directions or in one."""
        return LinkSpec(_altered(self.there, {**both, **there}), _altered(self.back, {**both, **back}))


def _altered(quality: Quality, changes: dict[str, float]) -> Quality:
    values: dict[str, Any] = dict(changes)
    values.update({name: int(changes[name]) for name in ("mtu", "hidden_mtu") if name in changes})
    return replace(quality, **values)
