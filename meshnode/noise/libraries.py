"""The libraries that do ChaCha20-Poly1305: `cryptography`, and PyNaCl where that has no build.

Each is imported only when it is asked for, so that one may be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

_TAG_SIZE = 16


class Aead(Protocol):
    """A keyed AEAD. Keep it as long as the key: making one costs as much as sealing a packet."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        """Return ciphertext and tag."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        """Return the plaintext; raise `InvalidTag` when data, nonce, key and associated data do not belong together."""


@dataclass(frozen=True, slots=True)
class Library:
    """One way to do the AEAD. `aead` takes a key of 32 bytes; what does not open raises `invalid_tag`."""

    name: str
    aead: Callable[[bytes], Aead]
    invalid_tag: type[Exception]


def cryptography() -> Library:
    """The fast one (OpenSSL). Raises `ImportError`."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return Library("cryptography", ChaCha20Poly1305, InvalidTag)


def pynacl() -> Library:
    """The one in plain C (libsodium), which also runs where Rust does not reach. Raises `ImportError`."""
    from nacl import bindings
    from nacl.exceptions import CryptoError

    encrypt = bindings.crypto_aead_chacha20poly1305_ietf_encrypt
    decrypt = bindings.crypto_aead_chacha20poly1305_ietf_decrypt

    class SodiumAead:
        """`Aead`, from functions that keep nothing of the key."""

        __slots__ = ("_key",)

        def __init__(self, key: bytes) -> None:
            if len(key) != 32:
                raise ValueError(f"a key has 32 bytes, not {len(key)}")
            self._key = key

        def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
            return encrypt(data, associated_data, nonce, self._key)

        def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
            if len(data) < _TAG_SIZE:  # the binding would make a buffer of negative size
                raise CryptoError("shorter than its tag")
            return decrypt(data, associated_data, nonce, self._key)

    return Library("PyNaCl", SodiumAead, CryptoError)


def installed() -> Iterator[Library]:
    """Every library that is there, the fastest first."""
    for load in (cryptography, pynacl):
        try:
            yield load()
        except ImportError:
            continue


def chosen() -> Library:
    """The one to use. Raises `ImportError` when there is none."""
    for library in installed():
        return library
    raise ImportError("meshnode needs a library for encryption: install cryptography, or PyNaCl where it has no build")
