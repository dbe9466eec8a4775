"""Addresses that can be none are found by their text, and by the same rules as the transports have."""

from __future__ import annotations

import pytest

from meshnode.config.addresses import bad_bind_addresses, bad_peer_addresses, is_address, is_numeric
from meshnode.config.load import parse
from meshnode.transports.addresses import HostName, parse_address
from meshnode.transports.interfaces import TransportError

NPUB = "npub1sjlh2c3x9w7kjsqg2ay080n2lff2uvt325vpan33ke34rn8l5jcqawh57m"
NUMERIC = ["192.0.2.7:2121", "0.0.0.0:0", "[::]:2121", "[fe80::1%lo]:1", "[::ffff:192.0.2.1]:65535"]
NAMES = ["home.example.org:2121", "home.example.org.:1", "localhost:80", "a_b-c:1", "x" * 60 + ":1"]
NEITHER = [
    "", "1.2.3", "1.2.3:5", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:-1", "01.2.3.4:5", "::1:5", "[::1]",
    "[]:5", "[::g]:5", "[::1%]:5", ":5", "a..b:5", "-a:5", "a b:5", "x" * 64 + ":1", "http://a:5", "\u0661.2.3.4:5",
]  # fmt: skip


def as_the_transports_read_it(text: str) -> str:
    try:
        parsed = parse_address(text)
    except TransportError:
        return "neither"
    return "name" if isinstance(parsed, HostName) else "numeric"


@pytest.mark.parametrize("text", [*NUMERIC, *NAMES, *NEITHER])
def test_the_verdict_is_that_of_the_transports(text: str) -> None:
    expected = "numeric" if text in NUMERIC else "name" if text in NAMES else "neither"
    assert as_the_transports_read_it(text) == expected
    assert is_address(text) == (expected != "neither")
    if is_address(text):
        assert is_numeric(text) == (expected == "numeric")


def peer(transport: str, address: str) -> str:
    return f"peers: [{{npub: {NPUB}, addresses: [{{transport: {transport}, addr: '{address}'}}]}}]"


@pytest.mark.parametrize("transport", ["udp", "tcp", "tor", "nym"])
def test_an_address_of_a_peer_that_is_none_is_named(transport: str) -> None:
    (line,) = bad_peer_addresses(parse(peer(transport, "1.2.3"))[0])
    assert line.startswith("peers[0].addresses[0].addr is `1.2.3`")


@pytest.mark.parametrize(
    ("transport", "address"),
    [
        ("udp", "home.example.org:2121"),
        ("udp", "nat"),
        ("tor", "abc.onion:8443"),
        ("ethernet", "e0/02:00:00:00:00:01"),
    ],
)
def test_addresses_of_other_kinds_are_left_alone(transport: str, address: str) -> None:
    assert not list(bad_peer_addresses(parse(peer(transport, address))[0]))


@pytest.mark.parametrize("bind", ["0.0.0.0:99999", "0.0.0.0", "localhost:2121"])
@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_an_address_that_no_socket_can_have_is_named(kind: str, bind: str) -> None:
    (line,) = bad_bind_addresses(parse(f"transports: {{{kind}: {{bind_addr: '{bind}'}}}}")[0])
    assert line.startswith(f"transports.{kind}.bind_addr is `{bind}`")


def test_transports_that_do_not_listen_need_no_address() -> None:
    text = "transports: {tcp: {}, udp: {outbound_only: true, bind_addr: nonsense}}"
    assert not list(bad_bind_addresses(parse(text)[0]))
