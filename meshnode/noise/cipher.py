"""The AEAD of handshakes and transport frames: ChaCha20-Poly1305 with a counter nonce (spec 01 section 2.1).

This module alone names the library, so that another backend can stand behind `aead`.
"""

from __future__ import annotations

from struct import Struct
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

__all__ = ["MAX_COUNTER", "NONCE", "TAG_SIZE", "Aead", "InvalidTag", "aead"]

NONCE = Struct("<4xQ")
"""`NONCE.pack(counter)` is the 12-byte nonce of a frame."""

TAG_SIZE = 16

MAX_COUNTER = 2**64 - 2
"""The last counter a sender may use (spec 01 section 2.5)."""


class Aead(Protocol):
    """A keyed AEAD. Keep it as long as the key: making one costs as much as sealing a packet."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        """Return ciphertext and tag."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        """Return the plaintext; raise `InvalidTag` when data, nonce, key and associated data do not belong together."""


def aead(key: bytes) -> Aead:
    """Return the AEAD of a 32-byte key."""
    return ChaCha20Poly1305(key)
