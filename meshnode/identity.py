"""Who a node is: keys, the npub, the NodeAddr and the mesh IPv6 address (spec 01 section 1).

An identity is one secp256k1 key pair. Everything public follows from the x coordinate of the public key; the parity of
the y coordinate shows only where a handshake carries a static key.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv6Address
from typing import NoReturn

from coincurve import PrivateKey, PublicKeyXOnly

_SECRET_SIZE = 32
_MAX_DRAWS = 16
_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUE_OF = {letter: value for value, letter in enumerate(_CHARSET)}
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32, _BECH32M = 1, 0x2BC830A3
_CHECKSUM_LENGTH = 6
_MAX_BECH32_LENGTH = 90


class IdentityError(ValueError):
    """A key, an npub or an nsec that cannot be used; the text names the reason and never shows a secret."""


def node_addr_of(xonly: bytes) -> bytes:
    """Return the 16-byte NodeAddr of a 32-byte x-only public key."""
    return sha256(xonly).digest()[:16]


def mesh_ipv6(node_addr: bytes) -> bytes:
    """Return the 16-byte mesh IPv6 address of a NodeAddr; the last byte of the NodeAddr does not take part."""
    return b"\xfd" + node_addr[:15]


def ipv6_text(address: bytes) -> str:
    """Return the RFC 5952 text of a 16-byte IPv6 address."""
    return str(IPv6Address(address))


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """The public face of a node. Two of them are equal when their x-only keys are.

    The constructor takes the 32-byte x-only key and raises `IdentityError` when it is no point of the curve.
    """

    xonly: bytes
    node_addr: bytes = field(init=False, compare=False, repr=False)
    ipv6: bytes = field(init=False, compare=False, repr=False)
    even_lift: bytes = field(init=False, compare=False, repr=False)
    _key: PublicKeyXOnly = field(init=False, compare=False, repr=False)
    _npub: str = field(init=False, compare=False, repr=False, default="")

    def __post_init__(self) -> None:
        if len(self.xonly) != 32:
            raise IdentityError(f"a public key has 32 bytes, not {len(self.xonly)}")
        try:
            key = PublicKeyXOnly(self.xonly)
        except ValueError:
            raise IdentityError("the public key is not a point of the curve") from None
        node_addr = node_addr_of(self.xonly)
        assign = object.__setattr__
        assign(self, "_key", key)
        assign(self, "node_addr", node_addr)
        assign(self, "ipv6", mesh_ipv6(node_addr))
        assign(self, "even_lift", b"\x02" + self.xonly)

    @classmethod
    def from_npub(cls, text: str) -> PeerIdentity:
        """Read an npub, in all-lower or all-upper case and with either checksum; raise `IdentityError` otherwise."""
        return cls(_decode_key("npub", text))

    @classmethod
    def from_public_key(cls, key: bytes) -> PeerIdentity:
        """Read a 33-byte compressed or a 32-byte x-only key; raise `IdentityError` when it is not on the curve."""
        if len(key) != 33:
            return cls(key)
        if key[0] not in (2, 3):
            raise IdentityError(f"a compressed public key starts with 02 or 03, not {key[0]:02x}")
        return cls(key[1:])

    @property
    def npub(self) -> str:
        """The bech32 text of the key; made on first use."""
        if not self._npub:
            object.__setattr__(self, "_npub", bech32_encode("npub", self.xonly))
        return self._npub

    @property
    def short_npub(self) -> str:
        """A form for display only: the first and last four characters of the data part."""
        return f"{self.npub[:9]}...{self.npub[-4:]}"

    @property
    def ipv6_text(self) -> str:
        """The mesh IPv6 address as text."""
        return ipv6_text(self.ipv6)

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Tell whether `signature` is this node's BIP-340 signature over SHA-256(data) (spec 01 section 1.3)."""
        return len(signature) == 64 and self._key.verify(signature, sha256(data).digest())

    def __repr__(self) -> str:
        return f"<PeerIdentity {self.npub}>"

    def __reduce__(self) -> tuple[type[PeerIdentity], tuple[bytes]]:
        return PeerIdentity, (self.xonly,)


def _why_no_secret(text: str) -> str:
    """What to change about text that is no secret key, without repeating any of it."""
    plain = text.strip()
    if plain.lower().startswith("npub1"):
        return "that is an npub, which is public; a secret key is an nsec1... text or 64 hex digits"
    if plain != text and plain:
        return "there are blanks around the secret key; take them away"
    if plain.lower().startswith("nsec1"):
        return "an nsec1... text has to be in lower case"
    if plain and not set(plain) - set("0123456789abcdefABCDEF"):
        return f"a secret key has 64 hex digits, not {len(plain)}"
    return "a secret key is an nsec1... text or 64 hex digits"


class Identity:
    """Our own key pair. Its repr shows the npub, and it refuses to be pickled or copied by accident.

    The constructor takes the 32-byte big-endian secret scalar and raises `IdentityError` when it is 0 or not below the
    group order.
    """

    __slots__ = ("_key", "peer", "public_key", "secret")

    secret: bytes
    public_key: bytes
    peer: PeerIdentity

    def __init__(self, secret: bytes) -> None:
        if len(secret) != _SECRET_SIZE:
            raise IdentityError(f"a secret key has {_SECRET_SIZE} bytes, not {len(secret)}")
        try:
            self._key = PrivateKey(secret)
        except ValueError:
            raise IdentityError("the secret key is zero or not below the group order") from None
        self.secret = secret
        self.public_key = self._key.public_key.format()
        self.peer = PeerIdentity(self.public_key[1:])

    @classmethod
    def generate(cls, entropy: Callable[[int], bytes]) -> Identity:
        """Make a new identity from `entropy`, a function shaped like os.urandom."""
        for _ in range(_MAX_DRAWS):
            try:
                return cls(entropy(_SECRET_SIZE))
            except IdentityError:
                continue  # a draw outside the group: once in 2**128
        raise IdentityError("the entropy source gives no usable secret key")

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Read an nsec or 64 hex digits, untrimmed (spec 01 section 1.5); raise `IdentityError` otherwise."""
        if text.startswith("nsec1"):
            return cls(_decode_key("nsec", text))
        try:
            secret = unhexlify(text)
        except ValueError:
            raise IdentityError(_why_no_secret(text)) from None
        return cls(secret)

    @property
    def nsec(self) -> str:
        """The secret as bech32 text."""
        return bech32_encode("nsec", self.secret)

    @property
    def node_addr(self) -> bytes:
        """The 16-byte NodeAddr."""
        return self.peer.node_addr

    @property
    def npub(self) -> str:
        """The npub."""
        return self.peer.npub

    @property
    def ipv6(self) -> bytes:
        """The 16-byte mesh IPv6 address."""
        return self.peer.ipv6

    def sign(self, data: bytes, aux: bytes) -> bytes:
        """Return the 64-byte BIP-340 signature over SHA-256(data) with 32 bytes of fresh randomness `aux`."""
        if len(aux) != 32:
            raise IdentityError(f"a signature needs 32 random bytes, not {len(aux)}")
        return self._key.sign_schnorr(sha256(data).digest(), aux)

    def __repr__(self) -> str:
        return f"<Identity {self.npub}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Identity holds a secret key and is not copied or pickled")


def bech32_encode(prefix: str, data: bytes) -> str:
    """Return `data` as bech32 text under a lower-case prefix, with the BIP-173 checksum."""
    padding = -8 * len(data) % 5
    values = _fives(int.from_bytes(data, "big") << padding, (8 * len(data) + padding) // 5)
    checksum = _polymod([*_expanded(prefix), *values, *[0] * _CHECKSUM_LENGTH]) ^ _BECH32
    return f"{prefix}1{''.join(_CHARSET[value] for value in values + _fives(checksum, _CHECKSUM_LENGTH))}"


def bech32_decode(text: str) -> tuple[str, bytes]:
    """Return prefix and data of a bech32 or bech32m text; raise `IdentityError` when it is neither."""
    if not text.isascii() or text not in (text.lower(), text.upper()):
        raise IdentityError("it mixes upper and lower case or is not ASCII")
    prefix, separator, tail = text.lower().rpartition("1")
    if not prefix or not separator or len(tail) < _CHECKSUM_LENGTH or len(text) > _MAX_BECH32_LENGTH:
        raise IdentityError("it is not bech32 text")
    if not all("!" <= letter <= "~" for letter in prefix) or not all(letter in _VALUE_OF for letter in tail):
        raise IdentityError("it holds a character that bech32 does not use")
    values = [_VALUE_OF[letter] for letter in tail]
    if _polymod([*_expanded(prefix), *values]) not in (_BECH32, _BECH32M):
        raise IdentityError("its checksum is wrong")
    return prefix, _packed(values[:-_CHECKSUM_LENGTH])


def _decode_key(prefix: str, text: str) -> bytes:
    try:
        found, data = bech32_decode(text)
    except IdentityError as error:
        raise IdentityError(f"this is no {prefix}: {error}") from None
    if found != prefix:
        raise IdentityError(f"this is no {prefix}: it starts with {found[:8]!r}")
    if len(data) != 32:
        raise IdentityError(f"this is no {prefix}: it holds {len(data)} bytes instead of 32")
    return data


def _packed(values: list[int]) -> bytes:
    spare = 5 * len(values) % 8
    number = 0
    for value in values:
        number = number << 5 | value
    if spare > 4 or number & ((1 << spare) - 1):
        raise IdentityError("its padding is wrong")
    return (number >> spare).to_bytes(5 * len(values) // 8, "big")


def _fives(number: int, count: int) -> list[int]:
    return [number >> 5 * place & 31 for place in reversed(range(count))]


def _expanded(prefix: str) -> list[int]:
    codes = prefix.encode()
    return [*(code >> 5 for code in codes), 0, *(code & 31 for code in codes)]


def _combination(bits: int) -> int:
    """The generators chosen by five bits, added up."""
    result = 0
    for bit, generator in enumerate(_GENERATORS):
        if bits >> bit & 1:
            result ^= generator
    return result


_COMBINATIONS = tuple(_combination(bits) for bits in range(32))


def _polymod(values: Iterable[int]) -> int:
    # Anybody can ask for names that are no npubs, thousands a second: a table makes that 3 times as cheap.
    residue, combinations = 1, _COMBINATIONS
    for value in values:
        residue = ((residue & 0x1FFFFFF) << 5 ^ value) ^ combinations[residue >> 25]
    return residue
