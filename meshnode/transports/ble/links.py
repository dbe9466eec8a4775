"""What the BLE transport knows of one device: an open channel, or one being opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from meshnode.identity import PeerIdentity
from meshnode.transports.ble.channel import Channel
from meshnode.transports.ble.greeting import Greeting


@dataclass(slots=True, eq=False)
class Link:
    """One open channel; `address` is what the node calls it."""

    channel: Channel
    peer: PeerIdentity
    address: str
    heard: bool = False


@dataclass(slots=True, eq=False)
class Dial:
    """A channel being opened by us, up to the end of the greeting; `wanted` when the node asked for it."""

    device: str
    address: str
    wanted: bool
    timer: Any
    attempt: Deferred[Any] | None = None
    greeting: Greeting | None = None
