"""Identities: derivation, text forms, signatures, and what they refuse (spec 01 section 1)."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError
from hashlib import sha256
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.identity import (
    Identity,
    IdentityError,
    PeerIdentity,
    _expanded,
    _polymod,
    bech32_decode,
    bech32_encode,
    ipv6_text,
    mesh_ipv6,
    node_addr_of,
)

from .vectors import load, names, unhex

VECTORS = load("identity")
ROWS = VECTORS["identities"]
SECRETS = VECTORS["secret_parsing"]["cases"]
NPUBS = VECTORS["npub_parsing"]["cases"]
SIGNATURES = VECTORS["schnorr_signatures"]["cases"]
GROUP_ORDER = unhex("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
A = Identity(bytes(range(1, 33)))


@pytest.mark.parametrize("row", ROWS, ids=names(ROWS, "name"))
def test_everything_public_follows_from_the_secret(row: dict[str, Any]) -> None:
    identity = Identity.parse(row["nsec"])
    assert identity.secret.hex() == row["secret_hex"]
    assert Identity.parse(row["secret_hex"]).nsec == row["nsec"]
    assert identity.public_key.hex() == row["pubkey_compressed"]
    assert identity.peer.xonly.hex() == row["pubkey_x"]
    assert identity.peer.even_lift.hex() == row["pubkey_even_lift"]
    assert identity.npub == identity.peer.npub == row["npub"]
    assert identity.peer.short_npub == row["short_npub"]
    assert identity.node_addr.hex() == identity.peer.node_addr.hex() == row["node_addr"]
    assert identity.ipv6.hex() == identity.peer.ipv6.hex() == row["ipv6_bytes"]
    assert identity.peer.ipv6_text == row["ipv6"]


@pytest.mark.parametrize("row", ROWS, ids=names(ROWS, "name"))
def test_a_peer_is_the_same_from_npub_compressed_and_x_only_key(row: dict[str, Any]) -> None:
    peer = PeerIdentity.from_npub(row["npub"])
    flipped = bytes([5 - unhex(row["pubkey_compressed"])[0]]) + peer.xonly
    for key in (row["pubkey_compressed"], row["pubkey_x"], row["pubkey_even_lift"], flipped.hex()):
        other = PeerIdentity.from_public_key(unhex(key))
        assert other == peer
        assert hash(other) == hash(peer)
        assert other.node_addr == node_addr_of(peer.xonly)
        assert other.ipv6 == mesh_ipv6(peer.node_addr)


@pytest.mark.parametrize("case", SECRETS, ids=names(SECRETS, "why"))
def test_a_secret_is_an_nsec_or_hex_and_never_named_in_an_error(case: dict[str, Any]) -> None:
    if case["accepted"]:
        assert len(Identity.parse(case["input"]).secret) == 32
        return
    with pytest.raises(IdentityError) as caught:
        Identity.parse(case["input"])
    assert caught.value.__cause__ is None
    for length in range(8, len(case["input"])):
        assert case["input"][:length] not in str(caught.value)


@pytest.mark.parametrize("text", ["\u0661" * 64, "nsec1\u0661", "01" * 31 + " 01", "nsec1"])
def test_odd_text_is_no_secret(text: str) -> None:
    with pytest.raises(IdentityError):
        Identity.parse(text)


@pytest.mark.parametrize("case", NPUBS, ids=names(NPUBS, "why"))
def test_an_npub_is_bech32_of_a_point(case: dict[str, Any]) -> None:
    if case["accepted"]:
        assert PeerIdentity.from_npub(case["input"]).xonly.hex() == case["pubkey_x"]
        return
    with pytest.raises(IdentityError):
        PeerIdentity.from_npub(case["input"])


@pytest.mark.parametrize(
    "key",
    [b"", bytes(31), bytes(32), b"\xff" * 32, b"\x04" + A.peer.xonly, b"\x00" + A.peer.xonly, b"\x02" + bytes(32)],
    ids=bytes.hex,
)
def test_what_is_no_curve_point_is_no_peer(key: bytes) -> None:
    with pytest.raises(IdentityError):
        PeerIdentity.from_public_key(key)


@pytest.mark.parametrize("secret", [bytes(32), GROUP_ORDER, b"\xff" * 32, b"\x01" * 31, b""], ids=bytes.hex)
def test_what_is_no_scalar_is_no_secret(secret: bytes) -> None:
    with pytest.raises(IdentityError):
        Identity(secret)


@pytest.mark.parametrize("case", SIGNATURES, ids=names(SIGNATURES, "name"))
def test_signatures_are_bip340_over_the_digest_of_the_data(case: dict[str, Any]) -> None:
    identity, data = Identity.parse(case["secret"]), unhex(case["data"])
    signature = identity.sign(data, unhex(case["aux_rand"]))
    assert signature.hex() == case["signature"]
    peer = PeerIdentity.from_npub(case["npub"])
    assert peer.verify(data, signature)
    assert not peer.verify(data + b"\x00", signature)
    assert not peer.verify(data, signature[:-1] + bytes([signature[-1] ^ 1]))


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64], ids=len)
def test_garbage_is_not_a_signature(signature: bytes) -> None:
    assert not A.peer.verify(b"data", signature)


def test_the_challenge_digest_verifies_like_any_other_data() -> None:
    for case in VECTORS["auth_challenge"]["cases"]:
        data = b"fips-auth-v1" + unhex(case["challenge"]) + pack(">Q", case["timestamp"])
        assert sha256(data).hexdigest() == case["digest"]
        assert PeerIdentity.from_npub(case["npub"]).verify(data, unhex(case["signature"]))


def test_signing_takes_32_random_bytes() -> None:
    assert A.sign(b"x", bytes(32)) != A.sign(b"x", b"\x01" * 32)
    with pytest.raises(IdentityError):
        A.sign(b"x", b"")


def test_node_addresses_order_as_plain_bytes() -> None:
    ordered = VECTORS["node_addr_order"]["sorted_ascending"]
    assert sorted(map(bytes.fromhex, reversed(ordered))) == [bytes.fromhex(text) for text in ordered]
    assert (
        A.node_addr
        < Identity.parse("b1" + "02030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f" + "b0").node_addr
    )


def test_generation_redraws_what_lies_outside_the_group_and_gives_up_on_a_dead_source() -> None:
    draws = [bytes(32), b"\xff" * 32, A.secret]
    assert Identity.generate(lambda size: draws.pop(0)).npub == A.npub
    with pytest.raises(IdentityError, match="entropy"):
        Identity.generate(bytes)


def test_secrets_show_in_no_printed_form() -> None:
    for text in (repr(A), str(A), f"{A}", repr([A]), repr(A.peer)):
        assert A.npub in text
        assert A.nsec not in text
        assert A.secret.hex() not in text


@pytest.mark.parametrize("leak", [pickle.dumps, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
def test_an_identity_is_not_copied_by_accident(leak: Any) -> None:
    with pytest.raises(TypeError, match="secret key"):
        leak(A)


def test_a_peer_identity_is_frozen_and_survives_pickling() -> None:
    with pytest.raises(FrozenInstanceError):
        A.peer.xonly = bytes(32)  # type: ignore[misc]
    twin = pickle.loads(pickle.dumps(A.peer))
    assert twin == A.peer
    assert twin.npub == A.npub
    assert twin.verify(b"x", A.sign(b"x", bytes(32)))


@pytest.mark.parametrize(
    ("packed", "text"),
    [("fd" + "00" * 15, "fd00::"), ("fd00" + "0000" * 3 + "0001" + "0000" * 3, "fd00::1:0:0:0")],
    ids=["zeros", "first of two equal runs"],
)
def test_addresses_print_as_rfc_5952(packed: str, text: str) -> None:
    assert ipv6_text(unhex(packed)) == text


@given(st.binary(max_size=45))
def test_bech32_gives_back_what_it_took(data: bytes) -> None:
    text = bech32_encode("nsec", data)
    assert bech32_decode(text) == ("nsec", data)
    assert bech32_decode(text.upper()) == ("nsec", data)


@given(st.integers(5, 62), st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l"))
def test_bech32_notices_one_wrong_letter(place: int, letter: str) -> None:
    damaged = A.npub[:place] + letter + A.npub[place + 1 :]
    if damaged == A.npub:
        return
    with pytest.raises(IdentityError):
        bech32_decode(damaged)


@given(st.text(max_size=100))
def test_any_text_is_an_npub_or_an_identity_error(text: str) -> None:
    with pytest.raises(IdentityError):
        PeerIdentity.from_npub(text)


@pytest.mark.parametrize(
    "text",
    ["1qqqqqq", "npub", "npub1qqqqq", "npub1" + "q" * 90, "np\x7fb1qqqqqqqq", "npub1qqqqqbqqqq", "\u212apub1qqqqqqq"],
)
def test_malformed_bech32_is_refused(text: str) -> None:
    with pytest.raises(IdentityError):
        bech32_decode(text)


def bech32_of(values: list[int]) -> str:
    """Bech32 text of raw 5-bit values, so also of paddings that no encoder makes."""
    checksum = _polymod([*_expanded("test"), *values, *[0] * 6]) ^ 1
    letters = [*values, *((checksum >> shift) & 31 for shift in (25, 20, 15, 10, 5, 0))]
    return "test1" + "".join("qpzry9x8gf2tvdw0s3jn54khce6mua7l"[value] for value in letters)


@pytest.mark.parametrize("values", [[0], [1, 0, 0], [0, 1], [0, 0, 0, 0, 0, 0]], ids=str)
def test_bech32_padding_must_be_zero_and_shorter_than_a_letter(values: list[int]) -> None:
    assert bech32_decode(bech32_of([0, 4])) == ("test", b"\x01")
    with pytest.raises(IdentityError, match="padding"):
        bech32_decode(bech32_of(values))


def test_letters_that_only_lower_to_ascii_are_refused() -> None:
    text = A.npub.upper().replace("K", "\u212a")
    assert text.lower() == A.npub
    with pytest.raises(IdentityError):
        PeerIdentity.from_npub(text)
