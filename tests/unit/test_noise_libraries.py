"""Each library that does the AEAD gives the same bytes, refuses the same, and stands in for the other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.noise import LIBRARY, NONCE, TAG_SIZE, libraries
from meshnode.noise.libraries import Library, chosen, installed

LIBRARIES = list(installed())
NAMES = [library.name for library in LIBRARIES]
each = pytest.mark.parametrize("library", LIBRARIES, ids=NAMES)

# RFC 8439 section 2.8.2; its nonce is no counter, but the libraries take any twelve bytes.
KEY = bytes(range(0x80, 0xA0))
RFC_NONCE = bytes.fromhex("070000004041424344454647")
HEADER = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
PLAINTEXT = (
    b"Ladies and Gentlemen of the class of '99: "
    b"If I could offer you only one tip for the future, sunscreen would be it."
)
SEALED = bytes.fromhex(
    "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b29"
    "05d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b"
    "61161ae10b594f09e26a7e902ecbd0600691"
)


def test_this_process_uses_the_first_that_is_there() -> None:
    assert NAMES[0] == LIBRARY.name


@each
def test_the_sealed_bytes_are_those_of_the_standard(library: Library) -> None:
    key = library.aead(KEY)
    assert key.encrypt(RFC_NONCE, PLAINTEXT, HEADER) == SEALED
    assert key.decrypt(RFC_NONCE, SEALED, HEADER) == PLAINTEXT


@given(
    key=st.binary(min_size=32, max_size=32),
    counter=st.integers(0, 2**64 - 2),
    plaintext=st.binary(max_size=1500),
    header=st.none() | st.binary(max_size=32),
)
def test_what_one_seals_every_other_opens(key: bytes, counter: int, plaintext: bytes, header: bytes | None) -> None:
    nonce = NONCE.pack(counter)
    sealed = {library.aead(key).encrypt(nonce, plaintext, header) for library in LIBRARIES}
    assert len(sealed) == 1
    for library in LIBRARIES:
        assert library.aead(key).decrypt(nonce, *sealed, header) == plaintext


@each
@pytest.mark.parametrize("place", [0, len(SEALED) // 2, len(SEALED) - 1])
def test_a_changed_bit_does_not_open(library: Library, place: int) -> None:
    forged = bytearray(SEALED)
    forged[place] ^= 1
    with pytest.raises(library.invalid_tag):
        library.aead(KEY).decrypt(RFC_NONCE, bytes(forged), HEADER)


@each
def test_another_key_nonce_or_header_does_not_open(library: Library) -> None:
    for key, nonce, header in (
        (bytes(32), RFC_NONCE, HEADER),
        (KEY, bytes(12), HEADER),
        (KEY, RFC_NONCE, HEADER[:-1]),
        (KEY, RFC_NONCE, None),
    ):
        with pytest.raises(library.invalid_tag):
            library.aead(key).decrypt(nonce, SEALED, header)


@each
@pytest.mark.parametrize("size", range(TAG_SIZE + 1))
def test_what_is_hardly_a_tag_does_not_open(library: Library, size: int) -> None:
    with pytest.raises(library.invalid_tag):
        library.aead(KEY).decrypt(RFC_NONCE, bytes(size), HEADER)


@each
def test_nothing_at_all_can_be_sealed(library: Library) -> None:
    key = library.aead(KEY)
    assert key.decrypt(RFC_NONCE, key.encrypt(RFC_NONCE, b"", None), None) == b""


@each
@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_has_32_bytes(library: Library, size: int) -> None:
    with pytest.raises(ValueError):
        library.aead(bytes(size))


@each
def test_a_key_does_not_show(library: Library) -> None:
    shown = repr(library.aead(KEY)) + str(library.aead(KEY))
    assert KEY.hex() not in shown
    assert repr(KEY) not in shown


def missing() -> Library:
    raise ImportError


def there(name: str) -> Any:
    return lambda: Library(name, LIBRARY.aead, LIBRARY.invalid_tag)


def test_cryptography_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "cryptography", there("cryptography"))
    monkeypatch.setattr(libraries, "pynacl", there("PyNaCl"))
    assert chosen().name == "cryptography"


def test_pynacl_stands_in_where_cryptography_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "cryptography", missing)
    assert chosen().name == "PyNaCl"


def test_without_any_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "cryptography", missing)
    monkeypatch.setattr(libraries, "pynacl", missing)
    with pytest.raises(ImportError, match="install cryptography, or PyNaCl"):
        chosen()
