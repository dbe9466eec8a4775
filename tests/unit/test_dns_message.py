"""The DNS message format: names, compression, bounds."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.names import dns

from meshnode.ipv6.dns_message import (
    MAX_MESSAGE,
    DnsFormatError,
    Query,
    Question,
    encode_answer,
    encode_relayed,
    is_reply_to,
    parse_query,
    server_failure,
)

LABELS = st.lists(st.binary(min_size=1, max_size=40), max_size=4).map(tuple)


def wire_name(labels: tuple[bytes, ...]) -> bytes:
    """Return labels as a name without compression."""
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\x00"


def question(name: str, qtype: int = 28, qclass: int = 1, flags: int = 0x0100, message_id: int = 0x1234) -> bytes:
    """Return a query with one question."""
    labels = tuple(label.encode() for label in name.split(".") if label)
    return struct.pack(">6H", message_id, flags, 1, 0, 0, 0) + wire_name(labels) + struct.pack(">HH", qtype, qclass)


def raw(body: bytes, counts: tuple[int, int, int, int] = (1, 0, 0, 0)) -> bytes:
    """Return a query header with `counts` before `body`."""
    return struct.pack(">6H", 1, 0, *counts) + body


@given(LABELS, st.integers(0, 65535), st.sampled_from([1, 2, 3, 4, 254, 255, 0x8001]))
def test_a_question_is_read_back_as_written(labels: tuple[bytes, ...], qtype: int, qclass: int) -> None:
    message = raw(wire_name(labels) + struct.pack(">HH", qtype, qclass))
    assert parse_query(message) == Query(1, 0, (Question(labels, qtype, qclass),), len(message))


@given(LABELS, LABELS)
def test_an_answer_repeats_the_questions_whatever_their_compression(
    first: tuple[bytes, ...], second: tuple[bytes, ...]
) -> None:
    query = parse_query(raw(b"".join(wire_name(x) + b"\x00\x01\x00\x01" for x in (first, second)), (2, 0, 0, 0)))
    answer = bytearray(encode_answer(query, 3))
    answer[2] &= 0x7F
    assert parse_query(bytes(answer)).questions == query.questions


@given(LABELS)
@example(())
@example((b"a.b", b"fips"))
@example((b".",))
@example((b"x..fips.",))
@pytest.mark.parametrize("encode", [encode_answer, encode_relayed])
def test_an_address_can_be_given_for_any_name(
    encode: Callable[[Query, int, bytes, int], bytes], labels: tuple[bytes, ...]
) -> None:
    query = parse_query(raw(wire_name(labels) + b"\x00\x1c\x00\x01"))
    answer = encode(query, 0, b"\xfd" * 16, 60)
    (record,) = read_by_another(answer).answers
    assert (record.type, record.ttl) == (28, 60)
    assert answer.endswith(b"\x00\x10" + b"\xfd" * 16)


@given(LABELS, st.integers(0, 2**32 - 1))
@example((), 1)
@example((b"a.b", b"fips"), 1)
@example((b".",), 1)
@example((b"x..fips.",), 1)
@example((b"gateway", b"fips"), 1)
def test_the_authority_is_told_for_the_very_name_of_the_question(labels: tuple[bytes, ...], serial: int) -> None:
    query = parse_query(raw(wire_name(labels) + b"\x00\x01\x00\x01"))
    answer = encode_relayed(query, 0, ttl=60, serial=serial)
    owner = b"\xc0\x0c" if labels else b"\x00"
    assert answer[query.questions_end :].startswith(owner + b"\x00\x06\x00\x01\x00\x00\x00\x3c")
    message = read_by_another(answer)
    (record,) = message.authority
    soa = record.payload
    assert record.name.name == query.questions[0].name
    assert (soa.mname.name, soa.rname.name) == (b"gateway.fips", b"nobody.fips")
    assert (soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum) == (serial, 60, 60, 60, 60)


def read_by_another(message: bytes) -> dns.Message:
    """What Twisted reads, to the last byte."""
    read = dns.Message()
    stream = BytesIO(message)
    read.decode(stream)
    assert stream.read() == b""
    return read


def test_a_pointer_may_go_back_into_an_earlier_question() -> None:
    body = b"\x01a\x04fips\x00\x00\x1c\x00\x01" + b"\x01b\xc0\x0e\x00\x1c\x00\x01"
    assert parse_query(raw(body, (2, 0, 0, 0))).questions[1].name == b"b.fips"


@pytest.mark.parametrize(
    "body",
    [
        b"\xc0\x0c\x00\x1c\x00\x01",
        b"\x01a\xc0\x0e\x00\x1c\x00\x01",
        b"\x01a\xc0\x0c\x00\x1c\x00\x01",
        b"\x01a\xc0\x0f\x00\x1c\x00\x01",
        b"\xc0",
        b"\x40" + b"a" * 64 + b"\x00\x00\x1c\x00\x01",
        b"\x80a\x00\x00\x1c\x00\x01",
        b"\x05del",
        b"\x01a\x00\x00\x1c\x00",
        (b"\x3f" + b"a" * 63) * 4 + b"\x00\x00\x1c\x00\x01",
    ],
    ids=[
        "self",
        "label then self",
        "loop",
        "forward",
        "half",
        "64 bytes",
        "reserved type",
        "cut label",
        "cut tail",
        "long",
    ],
)
def test_a_name_that_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(DnsFormatError):
        parse_query(raw(body))


def test_the_longest_possible_name_is_read() -> None:
    labels = (b"a" * 63, b"b" * 63, b"c" * 63, b"d" * 61)
    assert parse_query(raw(wire_name(labels) + b"\x00\x1c\x00\x01")).questions[0].labels == labels


@pytest.mark.parametrize("count", [0, 9, 65535])
def test_none_or_too_many_questions_are_refused(count: int) -> None:
    with pytest.raises(DnsFormatError):
        parse_query(raw(b"\x00\x00\x1c\x00\x01" * min(count, 9), (count, 0, 0, 0)))


@pytest.mark.parametrize(
    ("record", "whole"),
    [
        (b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00", True),
        (b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x01\x02\x03\x04", True),
        (b"\x03www\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x00", True),
        (b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x01", False),
        (b"\x41\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00\x00", False),
        (b"\x00\x00\x29", False),
        (b"", False),
    ],
)
def test_records_behind_the_questions_must_be_whole(record: bytes, whole: bool) -> None:
    message = raw(b"\x01a\x00\x00\x1c\x00\x01" + record, (1, 0, 0, 1))
    if whole:
        assert parse_query(message).questions_end == 19
    else:
        with pytest.raises(DnsFormatError):
            parse_query(message)


def test_a_message_above_the_limit_is_refused() -> None:
    body = b"\x01a\x00\x00\x1c\x00\x01"
    assert parse_query(raw(body).ljust(MAX_MESSAGE, b"\x00"))
    with pytest.raises(DnsFormatError):
        parse_query(raw(body).ljust(MAX_MESSAGE + 1, b"\x00"))


def test_a_long_chain_of_pointers_is_refused() -> None:
    chain = b"".join(struct.pack(">H", 0xC000 | 12 + 2 * link) for link in range(400))
    filler = b"\x01a" * 100 + b"\x00\x00\x1c\x00\x01"
    with pytest.raises(DnsFormatError):
        parse_query(raw(filler + chain + struct.pack(">H", 0xC000 | 12 + len(filler) + 798), (2, 0, 0, 0)))


def test_record_counts_that_promise_more_than_there_is_are_refused() -> None:
    with pytest.raises(DnsFormatError):
        parse_query(raw((b"\x01a" * 126 + b"\x00\x00\x1c\x00\x01") * 8 + b"\x00" * 2000, (8, 65535, 65535, 65535)))


def test_a_server_failure_carries_id_question_and_recursion_bits() -> None:
    message = question("example.com")
    answer = server_failure(message, parse_query(message))
    assert answer == message[:2] + b"\x81\x82\x00\x01" + bytes(6) + message[12:]


def test_a_reply_has_to_repeat_id_and_question() -> None:
    message = question("example.com")
    query = parse_query(message)
    reply = message[:2] + b"\x81\x80" + message[4:] + b"rest"
    assert is_reply_to(reply, message, query)
    assert is_reply_to(reply.replace(b"example", b"EXAMPLE"), message, query)
    assert not is_reply_to(reply.replace(b"example", b"exemple"), message, query)
    assert not is_reply_to(b"\x00\x00" + reply[2:], message, query)
    assert not is_reply_to(message, message, query)
    assert not is_reply_to(reply[:11], message, query)


@given(st.binary(max_size=512))
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    try:
        query = parse_query(noise)
    except DnsFormatError:
        return
    assert query.questions
