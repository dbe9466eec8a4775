"""Addresses between text and socket tuple."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.transports.addresses import AddressBook, HostName, family_of, format_address, parse_address
from meshnode.transports.interfaces import TransportError

LOOPBACK = socket.if_indextoname(1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1:2121", ("192.0.2.1", 2121)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[2001:DB8:0:0::1]:65535", ("2001:db8::1", 65535, 0, 0)),
        ("[::ffff:192.0.2.1]:5", ("::ffff:192.0.2.1", 5, 0, 0)),
        ("[fe80::1%7]:2121", ("fe80::1", 2121, 0, 7)),
        (f"[fe80::1%{LOOPBACK}]:2121", ("fe80::1", 2121, 0, 1)),
        ("mesh.example.org:2121", HostName("mesh.example.org", 2121)),
        ("example.org.:1", HostName("example.org.", 1)),
        ("4you:80", HostName("4you", 80)),
        ("localhost:2121", HostName("localhost", 2121)),
    ],
)
def test_every_written_form_is_read(text: str, expected: object) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nat",
        "192.0.2.1",
        "192.0.2.1:",
        "192.0.2.1:65536",
        "192.0.2.1:-1",
        "192.0.2.300:2121",
        "192.0.2:2121",
        "192.0.2.01:2121",
        "::1:2121",
        "2001:db8::1:2121",
        "[::1]",
        "[]:2121",
        "[::g]:2121",
        "[192.0.2.1]:2121",
        "[fe80::1%]:2121",
        "[fe80::1%no-such-interface-here]:2121",
        "[fe80::1%4294967296]:2121",
        "a b:2121",
        "ex..org:2121",
        "-x.org:2121",
        "münchen.de:2121",
        "a" * 64 + ".org:1",
        ".".join(["abcdefg"] * 40) + ":1",
        "192.0.2.1:2121\n",
        "\x00:1",
        "[fe80::1%\x00]:1",
    ],
)
def test_anything_else_is_refused_in_one_line_that_quotes_it(text: str) -> None:
    with pytest.raises(TransportError, match="invalid transport address") as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_transport_error(text: str) -> None:
    try:
        parsed = parse_address(text)
    except TransportError:
        return
    if not isinstance(parsed, HostName):
        assert parse_address(format_address(parsed)) == parsed


@given(st.ip_addresses(), st.integers(0, 65535))
def test_numeric_addresses_survive_the_way_to_text_and_back(address: object, port: int) -> None:
    host = f"[{address}]" if ":" in str(address) else str(address)
    parsed = parse_address(f"{host}:{port}")
    assert not isinstance(parsed, HostName)
    assert parse_address(format_address(parsed)) == parsed


def test_a_scope_is_shown_by_interface_name_and_by_number_when_it_has_none() -> None:
    assert format_address(("fe80::1", 2121, 0, 1)) == f"[fe80::1%{LOOPBACK}]:2121"
    assert format_address(("fe80::1", 2121, 0, 4_000_000)) == "[fe80::1%4000000]:2121"


def test_the_family_follows_the_form() -> None:
    assert family_of(("192.0.2.1", 1)) == socket.AF_INET
    assert family_of(("::1", 1, 0, 0)) == socket.AF_INET6


def test_the_book_answers_in_both_directions_once_an_address_was_seen() -> None:
    book = AddressBook()
    address = ("fe80::1", 2121, 0, 1)
    text = book.text_of(address)
    assert text == f"[fe80::1%{LOOPBACK}]:2121"
    assert book.texts == {address: text}
    assert book.tuples == {text: address}


def test_the_book_stays_within_its_size() -> None:
    book = AddressBook(size=8)
    for port in range(1000):
        book.text_of(("192.0.2.1", port))
        assert len(book.texts) <= 8
        assert len(book.tuples) <= 8


def test_a_refused_scoped_address_is_looked_up_anew_in_every_spelling() -> None:
    book = AddressBook()
    address = ("fe80::1", 2121, 0, 1)
    book.text_of(address)
    book.learn("[fe80:0::1%1]:2121", address)
    book.forget(address)
    assert book.tuples == {}
    assert book.texts == {}


def test_a_refused_address_without_scope_stays_known() -> None:
    book = AddressBook()
    book.text_of(("192.0.2.1", 1))
    book.text_of(("2001:db8::1", 1, 0, 0))
    book.forget(("192.0.2.1", 1))
    book.forget(("2001:db8::1", 1, 0, 0))
    assert len(book.tuples) == 2
