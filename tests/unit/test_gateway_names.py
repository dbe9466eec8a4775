"""What hosts of the local network are answered (spec 07 section 4)."""

from __future__ import annotations

from collections.abc import Awaitable
from ipaddress import IPv6Address
from struct import unpack_from

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.names import dns

from meshnode.gateway.names import GatewayNames
from meshnode.ipv6.dns_forward import Reply
from meshnode.ipv6.dns_message import (
    TYPE_AAAA,
    Query,
    Rcode,
    encode_answer,
    encode_query,
    parse_query,
    server_failure,
)

MESH = IPv6Address("fd97:1::1").packed
VIRTUAL = IPv6Address("fd01::1").packed
NOW = 1_700_000_000.0
A, HTTPS, ANY = 1, 65, 255


class FakeNode:
    """The node's responder: answers at once, or keeps the question."""

    def __init__(self, address: bytes | None = MESH, rcode: int = Rcode.NOERROR) -> None:
        self.address = address
        self.rcode = rcode
        self.asked: list[Query] = []
        self.busy = self.dead = False

    def ask(self, message: bytes, query: Query, reply: Reply) -> bool:
        self.asked.append(query)
        if self.busy:
            return False
        reply(server_failure(message, query) if self.dead else encode_answer(query, self.rcode, self.address, 300))
        return True


class Rig:
    def __init__(self, node: FakeNode | None = None, virtual: bytes | None = VIRTUAL) -> None:
        self.node = node or FakeNode()
        self.lent: list[tuple[bytes, str]] = []
        self.warnings: list[str] = []
        self.pending: Deferred[bytes | None] | None = None
        self._virtual = virtual
        self.names = GatewayNames(self.node, self._lend, 60, lambda: NOW, self.warnings.append)  # type: ignore[arg-type]

    def _lend(self, mesh: bytes, name: str, client: str) -> Awaitable[bytes | None]:
        self.lent.append((mesh, name))
        return self.pending or succeed(self._virtual)

    def ask(self, name: str, kind: int = TYPE_AAAA, message_id: int = 77) -> dns.Message:
        labels = tuple(label.encode() for label in name.split("."))
        answer = self.raw(encode_query(message_id, labels, kind))
        assert answer is not None
        message = dns.Message()
        message.fromStr(answer)
        return message

    def raw(self, message: bytes) -> bytes | None:
        results: list[bytes | None] = []
        ensureDeferred(self.names.answer(message, "fd02::20")).addCallback(results.append)
        return results[0]


def test_a_name_is_answered_with_the_lent_address() -> None:
    rig = Rig()
    answer = rig.ask("Printer.FIPS")
    assert (answer.id, answer.rCode, answer.recAv, answer.recDes, answer.auth) == (77, 0, 1, 0, 0)
    (record,) = answer.answers
    assert (record.name.name, record.ttl) == (b"Printer.FIPS", 60)
    assert IPv6Address(record.payload._address).packed == VIRTUAL
    assert rig.lent == [(MESH, "printer.fips")]
    assert answer.queries[0].name.name == b"Printer.FIPS"


def test_any_gets_the_address_too() -> None:
    assert len(Rig().ask("x.fips", ANY).answers) == 1


@pytest.mark.parametrize("kind", [A, HTTPS])
def test_other_types_get_nothing_and_a_word_for_how_long(kind: int) -> None:
    rig = Rig()
    answer = rig.ask("x.fips", kind)
    assert (answer.rCode, answer.answers) == (0, [])
    (authority,) = answer.authority
    soa = authority.payload
    assert (authority.name.name, soa.mname.name, soa.rname.name) == (b"x.fips", b"gateway.fips", b"nobody.fips")
    assert (soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum) == (int(NOW), 60, 60, 60, 60)
    assert len(rig.lent) == 1


@pytest.mark.parametrize("name", ["example.com", "fips", "xfips", "fips.example.com"])
def test_names_elsewhere_are_refused_without_asking_anybody(name: str) -> None:
    rig = Rig()
    answer = rig.ask(name)
    assert answer.rCode == Rcode.REFUSED
    assert answer.queries[0].name.name == name.encode()
    assert rig.node.asked == []


def test_the_node_is_asked_for_an_ipv6_address_whatever_the_question() -> None:
    rig = Rig()
    rig.ask("x.fips", A)
    (asked,) = rig.node.asked
    assert (asked.questions[0].qtype, asked.questions[0].name) == (TYPE_AAAA, b"x.fips")


def test_a_name_the_node_does_not_know_does_not_exist() -> None:
    rig = Rig(FakeNode(None, Rcode.NXDOMAIN))
    assert rig.ask("x.fips").rCode == Rcode.NXDOMAIN
    assert rig.lent == []


@pytest.mark.parametrize("address", [None, IPv6Address("2001:db8::1").packed])
def test_an_answer_without_a_mesh_address_is_a_failure(address: bytes | None) -> None:
    rig = Rig(FakeNode(address))
    assert rig.ask("x.fips").rCode == Rcode.SERVFAIL
    assert rig.lent == []
    assert bool(rig.warnings) == (address is not None)


def test_a_node_that_does_not_answer_or_is_too_busy_is_a_failure() -> None:
    rig = Rig()
    rig.node.dead = True
    assert rig.ask("x.fips").rCode == Rcode.SERVFAIL
    rig.node.busy = True
    assert rig.ask("x.fips").rCode == Rcode.SERVFAIL


def test_an_exhausted_pool_is_a_failure() -> None:
    assert Rig(virtual=None).ask("x.fips").rCode == Rcode.SERVFAIL


def test_nobody_is_answered_before_the_address_works() -> None:
    rig = Rig()
    rig.pending = Deferred()
    results: list[bytes | None] = []
    ensureDeferred(rig.names.answer(encode_query(1, (b"x", b"fips"), TYPE_AAAA), "fd02::20")).addCallback(
        results.append
    )
    assert results == []
    rig.pending.callback(VIRTUAL)
    assert results[0] is not None


@pytest.mark.parametrize("junk", [b"", b"\0" * 11, b"\xff" * 40, encode_query(1, (b"x", b"fips"), 28)[:-1]])
def test_junk_is_counted_and_not_answered(junk: bytes) -> None:
    rig = Rig()
    assert rig.raw(junk) is None
    assert rig.names.counters.malformed == 1


def test_what_is_no_ordinary_question_is_not_implemented() -> None:
    message = bytearray(encode_query(1, (b"x", b"fips"), TYPE_AAAA))
    message[2] |= 0x20
    answer = Rig().raw(bytes(message))
    assert answer is not None
    assert unpack_from(">H", answer, 2)[0] & 0xF == Rcode.NOTIMP


def test_the_node_is_reminded_of_a_name() -> None:
    rig = Rig()
    results: list[bytes | None] = []
    ensureDeferred(rig.names.ask_node("x.fips")).addCallback(results.append)
    assert results == [MESH]
    assert parse_query(encode_query(0, rig.node.asked[0].questions[0].labels, 28)).questions[0].name == b"x.fips"


@pytest.mark.parametrize("name", ["a..fips", ".fips", "x" * 64 + ".fips", "x" * 300 + ".fips", "x." * 126 + "fips"])
def test_what_can_be_no_name_is_not_asked_for(name: str) -> None:
    rig = Rig()
    results: list[bytes | None] = []
    ensureDeferred(rig.names.ask_node(name)).addCallback(results.append)
    assert results == [None]
    assert not rig.node.asked
