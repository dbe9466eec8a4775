"""Asking the mesh where a node is, and its signed answer (spec 03 sections 7.1 and 7.2)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar

from .coordinates import encode_required_coordinates, parse_coordinates
from .errors import need
from .link import LOOKUP_REQUEST, LOOKUP_RESPONSE

_REQUEST = Struct("<Q16s16sBH")
_RESPONSE = Struct("<Q16sH")
_PROOF = Struct("<Q16s")
_REQUEST_MIN = 45
_PROOF_SIZE = 64
_RESPONSE_MIN = 92


@dataclass(slots=True)
class LookupRequest:
    """A search for `target`; `min_mtu` is carried and never acted on."""

    TYPE: ClassVar[int] = LOOKUP_REQUEST
    request_id: int
    target: bytes
    origin: bytes
    ttl: int
    min_mtu: int
    origin_coordinates: list[bytes]

    @classmethod
    def parse(cls, body: bytes) -> LookupRequest:
        """Read what follows the type byte; raise `WireError` when bytes or the coordinates are missing."""
        need(body, _REQUEST_MIN, "a LookupRequest")
        request_id, target, origin, ttl, min_mtu = _REQUEST.unpack_from(body)
        coordinates, _end = parse_coordinates(body, _REQUEST.size, required=True)
        return cls(request_id, target, origin, ttl, min_mtu, coordinates)

    def encode(self) -> bytes:
        """Return the message with its type byte."""
        header = _REQUEST.pack(self.request_id, self.target, self.origin, self.ttl, self.min_mtu)
        return bytes((LOOKUP_REQUEST,)) + header + encode_required_coordinates(self.origin_coordinates)


@dataclass(slots=True)
class LookupResponse:
    """Where `target` is, signed by it; `path_mtu` is rewritten on the way and not signed."""

    TYPE: ClassVar[int] = LOOKUP_RESPONSE
    request_id: int
    target: bytes
    path_mtu: int
    target_coordinates: list[bytes]
    proof: bytes

    @classmethod
    def parse(cls, body: bytes) -> LookupResponse:
        """Read what follows the type byte; raise `WireError` when bytes or the coordinates are missing."""
        need(body, _RESPONSE_MIN, "a LookupResponse")
        request_id, target, path_mtu = _RESPONSE.unpack_from(body)
        coordinates, end = parse_coordinates(body, _RESPONSE.size, required=True)
        need(body, end + _PROOF_SIZE, "a LookupResponse")
        return cls(request_id, target, path_mtu, coordinates, body[end : end + _PROOF_SIZE])

    def encode(self) -> bytes:
        """Return the message with its type byte."""
        header = _RESPONSE.pack(self.request_id, self.target, self.path_mtu)
        coordinates = encode_required_coordinates(self.target_coordinates)
        return b"".join((bytes((LOOKUP_RESPONSE,)), header, coordinates, self.proof))

    def proof_bytes(self) -> bytes:
        """Return what `proof` signs: request, target and coordinates."""
        return _PROOF.pack(self.request_id, self.target) + encode_required_coordinates(self.target_coordinates)
