"""The symmetric half of a handshake: chaining key, transcript hash, current key (spec 01 section 2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from hmac import digest as hmac_digest

from coincurve import PublicKey

from .cipher import NONCE, InvalidTag, aead
from .errors import NoiseError

POINT_SIZE = 33
EPOCH_SIZE = 8


@dataclass(frozen=True, slots=True, repr=False)
class TransportKeys:
    """The two 32-byte keys a finished handshake leaves behind, named from our side."""

    send: bytes
    receive: bytes

    def __repr__(self) -> str:
        return "<TransportKeys>"


class SymmetricState:
    """`h`, `ck`, `k` and `n` of one handshake.

    `h` is kept although nothing on the wire depends on it: handshake AEADs have no associated data. `k` is None until
    the first `mix_key`.
    """

    __slots__ = ("ck", "h", "k", "n")

    ck: bytes
    h: bytes
    k: bytes | None
    n: int

    def __init__(self, protocol_name: bytes, responder_lift: bytes) -> None:
        self.ck = sha256(protocol_name).digest()
        self.h = sha256(self.ck + responder_lift).digest()
        self.k = None
        self.n = 0

    def copy(self) -> SymmetricState:
        """Return an independent state to try a message on."""
        twin = object.__new__(type(self))
        twin.ck, twin.h, twin.k, twin.n = self.ck, self.h, self.k, self.n
        return twin

    def mix_hash(self, data: bytes) -> None:
        """Take public bytes into the transcript."""
        self.h = sha256(self.h + data).digest()

    def mix_key(self, secret: bytes) -> None:
        """Take a Diffie-Hellman output into the chaining key; the new key starts at nonce 0."""
        self.ck, self.k = _hkdf(self.ck, secret)
        self.n = 0

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """Seal a handshake field under the current key."""
        sealed = aead(self._key()).encrypt(NONCE.pack(self.n), plaintext, None)
        self.n += 1
        self.mix_hash(sealed)
        return sealed

    def decrypt_and_hash(self, sealed: bytes) -> bytes:
        """Open a handshake field; raise `NoiseError` when it is forged."""
        try:
            plaintext = aead(self._key()).decrypt(NONCE.pack(self.n), sealed, None)
        except InvalidTag:
            raise NoiseError("a handshake field does not open under the keys of this handshake") from None
        self.n += 1
        self.mix_hash(sealed)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """Return the keys from initiator to responder and back."""
        return _hkdf(self.ck, b"")

    def _key(self) -> bytes:
        if self.k is None:
            raise NoiseError("no key has been agreed on yet")
        return self.k

    def __repr__(self) -> str:
        return f"<SymmetricState n={self.n}>"


def dh(secret: bytes, point: PublicKey) -> bytes:
    """Return SHA-256 of the x coordinate of secret*point; the parity of the point does not matter."""
    return sha256(point.multiply(secret).format()[1:]).digest()


def parse_point(data: bytes) -> PublicKey:
    """Return the curve point of a 33-byte compressed key; raise `NoiseError` when there is none."""
    try:
        return PublicKey(data)
    except ValueError:
        raise NoiseError("a public key in the handshake is not a point of the curve") from None


def public_point(secret: bytes) -> bytes:
    """Return the compressed public key of an ephemeral secret; raise `NoiseError` when it is no valid scalar."""
    try:
        return PublicKey.from_secret(secret).format()
    except ValueError:
        raise NoiseError("an ephemeral secret is zero or not below the group order") from None


def _hkdf(salt: bytes, material: bytes) -> tuple[bytes, bytes]:
    extracted = hmac_digest(salt, material, "sha256")
    first = hmac_digest(extracted, b"\x01", "sha256")
    return first, hmac_digest(extracted, first + b"\x02", "sha256")
