"""What the session layer hands to its driver, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from meshnode.identity import PeerIdentity


class Outgoing(NamedTuple):
    """One session message for the node to wrap into a datagram and to originate (spec 02 section 2.2)."""

    destination: bytes
    payload: bytes


@dataclass(slots=True)
class Delivery:
    """Service payloads of one flow of ports, in order of arrival; each starts at `offset` of its buffer.

    `ce` tells that the datagrams came with the congestion mark set.
    """

    source: bytes
    source_port: int
    destination_port: int
    buffers: list[bytes]
    offset: int
    ce: bool


class Queued(NamedTuple):
    """A payload waiting for a session; `packet` is the IPv6 packet it was made of, None for a native datagram."""

    source_port: int
    destination_port: int
    payload: bytes
    packet: bytes | None = None


class CloseReason(Enum):
    """Why an entry left the session table."""

    HANDSHAKE_TIMEOUT = "handshake timeout"
    CROWDED_OUT = "crowded out"
    IDLE = "idle"
    ADDRESS_MISMATCH = "address mismatch"
    PEER_REMOVED = "peer removed"
    PEER_RESTARTED = "peer restarted"
    SHUTDOWN = "shutdown"


@dataclass(slots=True, frozen=True)
class SessionEstablished:
    """`seal` works from now on; `queued` is what waited for it, oldest first."""

    remote: PeerIdentity
    initiator: bool
    queued: list[Queued]


@dataclass(slots=True, frozen=True)
class SessionClosed:
    """The entry of `remote` is gone, and with it what was queued; its learnt path MTU is to be released."""

    remote: bytes
    reason: CloseReason


@dataclass(slots=True, frozen=True)
class PendingReady:
    """The peer was heard, so what queued up on an established session (no route) may be tried again."""

    remote: bytes
    queued: list[Queued]


@dataclass(slots=True, frozen=True)
class PendingExpired:
    """Payloads waited too long for a session; packets among them deserve Destination Unreachable."""

    remote: bytes
    queued: list[Queued]


@dataclass(slots=True, frozen=True)
class LookupWanted:
    """Fresh coordinates of `remote` are needed."""

    remote: bytes


@dataclass(slots=True, frozen=True)
class PathMtuChanged:
    """The path to `remote` carries link frames of at most `mtu` bytes: tighten what is kept per address."""

    remote: bytes
    mtu: int


@dataclass(slots=True, frozen=True)
class PathMtuReleased:
    """The path to `remote` broke: forget the path MTU kept per address (spec 02 section 10.4)."""

    remote: bytes


@dataclass(slots=True, frozen=True)
class SessionRekeyed:
    """The session with `remote` uses new keys."""

    remote: bytes


SessionEvent = (
    SessionEstablished
    | SessionClosed
    | SessionRekeyed
    | PendingReady
    | PendingExpired
    | LookupWanted
    | PathMtuChanged
    | PathMtuReleased
)
