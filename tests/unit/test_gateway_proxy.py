"""The proxy into the mesh: what clients say, and what becomes of them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock, StringTransportWithDisconnection

from meshnode.gateway.listening import TCP, Listening
from meshnode.gateway.proxy import MOST_CLIENTS, MOST_CLIENTS_OF_ONE, Proxy
from meshnode.gateway.proxy_requests import MOST_HEAD, Conversation, Page, RequestRefused, Trouble, Wanted

GREETING = b"\x05\x01\x00"
NAME = b"printer.fips"
BY_NAME = b"\x05\x01\x00\x03" + bytes([len(NAME)]) + NAME + b"\x00\x50"
GRANTED = b"\x05\x00\x00\x01" + bytes(6)


def refusal(data: bytes) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        Conversation().feed(data)
    return caught.value


def test_socks_by_name() -> None:
    conversation = Conversation()
    assert conversation.feed(GREETING) is None
    assert conversation.to_client == b"\x05\x00"
    assert conversation.feed(BY_NAME + b"GET /") == Wanted("printer.fips", 80, True, GRANTED)
    assert conversation.rest == b"GET /"


@pytest.mark.parametrize(
    ("request_", "trouble"),
    [
        (b"\x05\x02" + BY_NAME[2:], Trouble.NOT_SUPPORTED),
        (b"\x04\x01" + BY_NAME[2:], Trouble.NOT_SUPPORTED),
        (b"\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50", Trouble.NOT_BY_ADDRESS),
        (b"\x05\x01\x00\x04" + bytes(16) + b"\x00\x50", Trouble.NOT_BY_ADDRESS),
        (b"\x05\x01\x00\x03\x0bexample.com\x00\x50", Trouble.NOT_ALLOWED),
    ],
)
def test_what_socks_is_not_granted_is_told_with_its_code(request_: bytes, trouble: Trouble) -> None:
    refused = refusal(GREETING + request_)
    assert (refused.trouble, refused.answer[:2]) == (trouble, bytes((5, trouble)))


def test_a_socks_client_that_insists_on_a_password_is_told_so() -> None:
    assert refusal(b"\x05\x01\x02").answer == b"\x05\xff"


def test_http_connect() -> None:
    wanted = Conversation().feed(b"CONNECT Printer.FIPS:443 HTTP/1.1\r\nHost: printer.fips\r\n\r\n")
    assert wanted == Wanted("printer.fips", 443, False, b"HTTP/1.1 200 Connection established\r\n\r\n")


def test_a_page_is_asked_for_as_its_own_server_expects() -> None:
    wanted = Conversation().feed(
        b"GET http://printer.fips:8080/a?b=c HTTP/1.1\r\nHost: printer.fips:8080\r\n"
        b"Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic c2VjcmV0\r\nAccept: */*\r\n\r\n"
    )
    assert wanted == Wanted(
        "printer.fips",
        8080,
        False,
        b"",
        b"GET /a?b=c HTTP/1.1\r\nHost: printer.fips:8080\r\nAccept: */*\r\nConnection: close\r\n\r\n",
    )


def test_a_page_without_a_path_is_the_first_one() -> None:
    wanted = Conversation().feed(b"GET http://printer.fips HTTP/1.1\r\n\r\n")
    assert isinstance(wanted, Wanted)
    assert wanted.port == 80
    assert wanted.head.startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET http://example.com/ HTTP/1.1", b"403"),
        (b"CONNECT example.com:443 HTTP/1.1", b"403"),
        (b"CONNECT printer.fips:0 HTTP/1.1", b"501"),
        (b"CONNECT printer.fips:x HTTP/1.1", b"501"),
        (b"GET / HTTP/1.1", b"501"),
        (b"GET https://printer.fips/ HTTP/1.1", b"501"),
        (b"nonsense", b"501"),
    ],
)
def test_what_http_is_not_granted_has_a_status_and_a_sentence(line: bytes, status: bytes) -> None:
    answer = refusal(line + b"\r\n\r\n").answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert body.endswith(b"\n")


def test_browsers_are_told_to_come_here_for_the_mesh_only() -> None:
    page = Conversation().feed(b"GET /proxy.pac HTTP/1.1\r\nHost: 192.168.1.1:1080\r\n\r\n")
    assert isinstance(page, Page)
    text = page.answer().decode()
    assert 'dnsDomainIs(host, ".fips") ? "SOCKS5 192.168.1.1:1080; PROXY 192.168.1.1:1080" : "DIRECT"' in text


def test_a_host_header_cannot_smuggle_a_script() -> None:
    page = Conversation().feed(b'GET /proxy.pac HTTP/1.1\r\nHost: x"; alert(1); "\r\n\r\n')
    assert isinstance(page, Page)
    assert b"alert(1)" not in page.answer()


def test_who_never_comes_to_the_point_is_refused() -> None:
    assert refusal(b"GET /" + b"a" * MOST_HEAD).trouble is Trouble.GENERAL


REQUESTS = [
    GREETING + BY_NAME,
    b"CONNECT printer.fips:22 HTTP/1.1\r\n\r\n",
    b"GET http://a.fips/ HTTP/1.0\r\nA: b\r\n\r\n",
]


@given(st.sampled_from(REQUESTS), st.data())
def test_how_a_request_is_cut_makes_no_difference(request_: bytes, data: st.DataObject) -> None:
    whole = Conversation()
    expected = whole.feed(request_)
    cut, conversation, found = 0, Conversation(), None
    while cut < len(request_):
        size = data.draw(st.integers(1, len(request_) - cut))
        found = conversation.feed(request_[cut : cut + size])
        cut += size
    assert found == expected
    assert conversation.to_client == whole.to_client


@given(st.binary(max_size=300))
def test_any_bytes_are_understood_or_refused(noise: bytes) -> None:
    for begin in (b"", GREETING, b"GET http://"):
        with suppress(RequestRefused):
            found = Conversation().feed(begin + noise)
            assert not isinstance(found, Wanted) or found.name.endswith(".fips")


def test_one_host_cannot_use_up_the_places_of_all_others() -> None:
    reactor = MemoryReactorClock()

    async def resolve(name: str) -> bytes | None:
        return None

    proxy = Proxy(Listening("proxy", ("192.0.2.1", 1080), "meshnode.gateway.proxy", (TCP,)), resolve, reactor)
    proxy.start()
    factory = reactor.tcpServers[0][1]

    def connect(host: str) -> StringTransportWithDisconnection:
        client = factory.buildProtocol(None)
        transport = StringTransportWithDisconnection(peerAddress=IPv4Address("TCP", host, 40000))
        transport.protocol = client
        client.makeConnection(transport)
        return transport

    greedy = [connect("192.0.2.20") for _ in range(MOST_CLIENTS)]
    assert [one.connected for one in greedy] == [True] * MOST_CLIENTS_OF_ONE + [False] * MOST_CLIENTS_OF_ONE
    assert connect("192.0.2.21").connected
    greedy[0].loseConnection()
    assert connect("192.0.2.20").connected
    crowd = [connect(f"192.0.2.{number}").connected for number in range(30, 30 + 130)]
    assert crowd.count(True) == MOST_CLIENTS - MOST_CLIENTS_OF_ONE - 1
    assert proxy.counters.turned_away == MOST_CLIENTS_OF_ONE + crowd.count(False)
