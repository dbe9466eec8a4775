"""The AEAD of handshakes and transport frames: ChaCha20-Poly1305 with a counter nonce (spec 01 section 2.1)."""

from __future__ import annotations

from struct import Struct

from .libraries import Aead, chosen

__all__ = ["LIBRARY", "MAX_COUNTER", "NONCE", "TAG_SIZE", "Aead", "InvalidTag", "aead"]

NONCE = Struct("<4xQ")
"""`NONCE.pack(counter)` is the 12-byte nonce of a frame."""

TAG_SIZE = 16

MAX_COUNTER = 2**64 - 2
"""The last counter a sender may use (spec 01 section 2.5)."""

LIBRARY = chosen()
"""What does the work in this process."""

InvalidTag = LIBRARY.invalid_tag
"""What does not open raises it."""


def aead(key: bytes) -> Aead:
    """Return the AEAD of a 32-byte key."""
    return LIBRARY.aead(key)
