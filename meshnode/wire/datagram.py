"""The routed envelope of everything that goes end to end (spec 02 section 2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar

from .errors import need
from .link import SESSION_DATAGRAM

DATAGRAM_HEADER = Struct("<BBH16s16s")
"""Type byte, ttl, path MTU, source, destination."""

DATAGRAM_HEADER_SIZE = DATAGRAM_HEADER.size
_BODY = Struct("<BH16s16s")


@dataclass(slots=True)
class SessionDatagram:
    """One session message on its way. Nothing in the envelope is authenticated end to end."""

    TYPE: ClassVar[int] = SESSION_DATAGRAM
    ttl: int
    path_mtu: int
    source: bytes
    destination: bytes
    payload: bytes

    @classmethod
    def parse(cls, body: bytes) -> SessionDatagram:
        """Read what follows the type byte; raise `WireError` when it is shorter than the envelope."""
        need(body, _BODY.size, "a SessionDatagram")
        ttl, path_mtu, source, destination = _BODY.unpack_from(body)
        return cls(ttl, path_mtu, source, destination, body[_BODY.size :])

    def encode(self) -> bytes:
        """Return the message with its type byte."""
        header = DATAGRAM_HEADER.pack(SESSION_DATAGRAM, self.ttl, self.path_mtu, self.source, self.destination)
        return header + self.payload
