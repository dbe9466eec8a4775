"""Measurement reports of links and sessions (spec 03 section 11.1) and the path MTU notification.

A report has the same fields on both layers. On a link it is a message of its own, with 3 zero bytes after the type; in
a session the type stands in the inner header and 2 zero bytes lead the body.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, Self

from .errors import need
from .link import RECEIVER_REPORT, SENDER_REPORT

_LINK_PAD = bytes(3)
_SESSION_PAD = bytes(2)
_MTU = Struct("<H")


class _Report:
    """Fields of fixed layout in the order of their declaration."""

    __slots__: tuple[str, ...] = ()

    TYPE: ClassVar[int]
    LAYOUT: ClassVar[Struct]

    @classmethod
    def parse_link(cls, body: bytes) -> Self:
        """Read the bytes after the link message type; raise `WireError` when there are too few."""
        return cls._parse(body, len(_LINK_PAD))

    @classmethod
    def parse_session(cls, body: bytes) -> Self:
        """Read the bytes after the inner header of a session message; raise `WireError` when there are too few."""
        return cls._parse(body, len(_SESSION_PAD))

    def encode_link(self) -> bytes:
        """Return the link message with its type byte."""
        return bytes((self.TYPE,)) + _LINK_PAD + self._pack()

    def encode_session(self) -> bytes:
        """Return the body of a session message, without its type."""
        return _SESSION_PAD + self._pack()

    def encode(self) -> bytes:
        """Return the link message, as the other link messages do."""
        return self.encode_link()

    @classmethod
    def _parse(cls, body: bytes, start: int) -> Self:
        need(body, start + cls.LAYOUT.size, f"a {cls.__name__}")
        return cls(*cls.LAYOUT.unpack_from(body, start))

    def _pack(self) -> bytes:
        return self.LAYOUT.pack(*[getattr(self, name) for name in self.__slots__])


@dataclass(slots=True)
class SenderReport(_Report):
    """What a sender put on the wire, in the last interval and in all. Timestamps are the sender's milliseconds."""

    TYPE: ClassVar[int] = SENDER_REPORT
    LAYOUT: ClassVar[Struct] = Struct("<QQIIIQQ")
    interval_start_counter: int
    interval_end_counter: int
    interval_start_timestamp: int
    interval_end_timestamp: int
    interval_bytes_sent: int
    cumulative_packets_sent: int
    cumulative_bytes_sent: int


@dataclass(slots=True)
class ReceiverReport(_Report):
    """What a receiver got. `dwell_time` in ms, `mean_burst_loss` in 1/256 frames, `jitter` in microseconds."""

    TYPE: ClassVar[int] = RECEIVER_REPORT
    LAYOUT: ClassVar[Struct] = Struct("<QQQIHHH2xIIiIIII")
    highest_counter: int
    cumulative_packets_recv: int
    cumulative_bytes_recv: int
    timestamp_echo: int
    dwell_time: int
    max_burst_loss: int
    mean_burst_loss: int
    jitter: int
    ecn_ce_count: int
    owd_trend: int
    burst_loss_count: int
    cumulative_reorder_count: int
    interval_packets_recv: int
    interval_bytes_recv: int


@dataclass(slots=True)
class PathMtuNotification:
    """The smallest link MTU that datagrams met on their way to whoever sends this (spec 02 section 10.3)."""

    path_mtu: int

    @classmethod
    def parse_session(cls, body: bytes) -> PathMtuNotification:
        """Read the bytes after the inner header; raise `WireError` below 2."""
        need(body, _MTU.size, "a PathMtuNotification")
        return cls(*_MTU.unpack_from(body))

    def encode_session(self) -> bytes:
        """Return the 2-byte body of a session message, without its type."""
        return _MTU.pack(self.path_mtu)
