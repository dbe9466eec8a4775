"""The client's side of SOCKS5 (spec 04 section 6)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.transports.addresses import HostName
from meshnode.transports.socks import Credentials, SocksClient, SocksError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "transports.json").read_text())["tor"]
NAME = HostName("ab.onion", 443)
GRANTED = bytes.fromhex("05000001000000000000")


def test_the_conversation_is_the_one_that_running_daemons_have_with_tor() -> None:
    greeting, password, request, first_frame = map(bytes.fromhex, VECTORS["socks_client"])
    length = password[6]
    destination = password[7 : 7 + length].decode()
    host, _, port = destination.rpartition(":")
    client = SocksClient(HostName(host, int(port)), Credentials("fips", destination))
    assert client.greeting() == greeting
    assert client.feed(b"\x05\x02") == password
    assert client.feed(b"\x01\x00") == request
    assert not client.done
    assert client.feed(GRANTED + first_frame) == b""
    assert client.done
    assert client.rest == first_frame


def test_a_proxy_that_wants_no_password_is_given_none() -> None:
    client = SocksClient(NAME, Credentials("fips", "ab.onion:443"))
    client.greeting()
    assert client.feed(b"\x05\x00") == bytes.fromhex("050100030861622e6f6e696f6e01bb")


def test_without_credentials_no_password_is_offered() -> None:
    client = SocksClient(("192.0.2.1", 8443))
    assert client.greeting() == b"\x05\x01\x00"
    assert client.feed(b"\x05\x00") == bytes.fromhex("05010001c000020120fb")


def test_an_ipv6_destination_travels_as_such() -> None:
    client = SocksClient(("2001:db8::1", 1, 0, 0))
    assert client.feed(b"\x05\x00") == bytes.fromhex("0501000420010db80000000000000000000000010001")


@pytest.mark.parametrize(
    "reply", ["050000010a0000010050", "0500000400000000000000000000000000000001ffff", "0500000303616263" + "0001"]
)
def test_an_answer_with_any_kind_of_address_is_read_to_its_end(reply: str) -> None:
    client = SocksClient(NAME)
    client.feed(b"\x05\x00")
    for byte in bytes.fromhex(reply) + b"frame":
        client.feed(bytes([byte]))
    assert client.done
    assert client.rest == b"frame"


@pytest.mark.parametrize(
    ("answers", "words", "code"),
    [
        (["05ff"], "another way of authentication", None),
        (["0502"], "another way of authentication", None),
        (["0400"], "does not speak SOCKS5", None),
        (["0500", "0505000100000000000000"], "connection refused", 5),
        (["0500", "0501"], "cannot reach it", 1),
        (["0500", "05f0"], "no descriptor", 0xF0),
        (["0500", "0563"], "code 99", 99),
        (["0500", "0500000900"], "does not speak SOCKS5", None),
    ],
)
def test_a_refusal_says_what_it_is(answers: list[str], words: str, code: int | None) -> None:
    client = SocksClient(NAME)
    for answer in answers[:-1]:
        client.feed(bytes.fromhex(answer))
    with pytest.raises(SocksError, match=words) as caught:
        client.feed(bytes.fromhex(answers[-1]))
    assert caught.value.reply == code


def test_a_refused_password_is_told() -> None:
    client = SocksClient(NAME, Credentials("fips", "x"))
    client.feed(b"\x05\x02")
    with pytest.raises(SocksError, match="refuses user name and password"):
        client.feed(b"\x01\x01")


@pytest.mark.parametrize("password", ["", "x" * 256])
def test_a_password_that_cannot_be_said_is_an_error(password: str) -> None:
    with pytest.raises(ValueError):
        Credentials("fips", password).encode()


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_noise_is_refused_or_waited_for(noise: list[bytes]) -> None:
    client = SocksClient(NAME, Credentials("fips", "ab.onion:443"))
    try:
        for chunk in noise:
            client.feed(chunk)
    except SocksError:
        return
    assert client.done or len(client.rest) < 300
