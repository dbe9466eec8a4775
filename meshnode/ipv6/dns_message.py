"""The part of the DNS message format that a responder for one zone needs (RFC 1035; spec 02 section 14.1).

A parser of our own, because the answer has to repeat the questions label by label (twisted.names joins labels with
dots, so it cannot tell one label holding a dot from two), has to refuse over-long labels, forward pointers and the
reserved header bit, and must not raise anything unforeseen on junk.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from struct import error as StructError  # noqa: N812

MAX_MESSAGE = 4096
"""Largest query looked at, in bytes."""
TYPE_SOA = 6
TYPE_AAAA = 28
TYPE_ANY = 255
CLASS_IN = 1

_HEADER = Struct(">6H")
_QUESTION_TAIL = Struct(">HH")
_RECORD_TAIL = Struct(">HHIH")
_QR, _AA, _RD, _RA, _RESERVED, _OPCODE = 0x8000, 0x0400, 0x0100, 0x0080, 0x0040, 0x7800
_SOA_NUMBERS = Struct(">5I")
_CLASSES = frozenset({1, 2, 3, 4, 254, 255})
_CLASS_TOP_BIT = 0x8000
_MAX_QUESTIONS = 8
_MAX_NAME = 255
_MAX_LABEL = 63
_MAX_STEPS = 160  # 127 labels and a few compression pointers


class DnsFormatError(ValueError):
    """A datagram that is not a query this responder can read, which gets no answer; or a name that none can hold."""


class Rcode(IntEnum):
    """Response codes in use here."""

    NOERROR = 0
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5


@dataclass(frozen=True, slots=True)
class Question:
    """One question; `labels` are in the case of the query, without the root."""

    labels: tuple[bytes, ...]
    qtype: int
    qclass: int

    @property
    def name(self) -> bytes:
        """The labels joined with dots, in the case of the query, without the root dot."""
        return b".".join(self.labels)


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query. `questions_end` is the offset behind its question section."""

    message_id: int
    flags: int
    questions: tuple[Question, ...]
    questions_end: int

    @property
    def opcode(self) -> int:
        """Operation code, 0 for an ordinary query."""
        return (self.flags & _OPCODE) >> 11


def parse_query(message: bytes) -> Query:
    """Parse a datagram of at most `MAX_MESSAGE` bytes; raise `DnsFormatError` for anything that is not a whole query.

    Records behind the questions have to be framed correctly but are not looked at; bytes behind them are ignored.
    """
    try:
        return _parse(message)
    except (IndexError, StructError):
        raise DnsFormatError(f"query of {len(message)} bytes ends too early") from None


def encode_answer(query: Query, rcode: int, address: bytes | None = None, ttl: int = 0) -> bytes:
    """Return the authoritative answer to `query`; an `address` becomes an AAAA record for its first question.

    Id, operation code and questions are those of the query; every other flag is clear. `ttl` is in seconds.
    """
    out = bytearray(_HEADER.pack(query.message_id, _QR | _AA | query.flags & _OPCODE | rcode, *_counts(query, address)))
    offsets = _write_questions(out, query)
    _write_address(out, _divided_owner(query), address, ttl, offsets)
    return bytes(out)


def encode_relayed(
    query: Query, rcode: int, address: bytes | None = None, ttl: int = 0, serial: int | None = None
) -> bytes:
    """Return an answer of somebody who asks others: as `encode_answer`, but without authority and with recursion.

    A `serial` adds a start-of-authority record, which tells how long, `ttl` seconds, the absence of an answer counts
    (spec 07 section 4). Records are about the very name of the question, whatever its labels hold.
    """
    flags = _QR | _RA | query.flags & _OPCODE | rcode
    questions, answers, _, _ = _counts(query, address)
    out = bytearray(_HEADER.pack(query.message_id, flags, questions, answers, int(serial is not None), 0))
    offsets = _write_questions(out, query)
    owner = query.questions[0].labels
    _write_address(out, owner, address, ttl, offsets)
    if serial is not None:
        _write_authority(out, owner, ttl, serial, offsets)
    return bytes(out)


def encode_query(message_id: int, labels: tuple[bytes, ...], qtype: int, qclass: int = CLASS_IN) -> bytes:
    """Return a query with one question, recursion desired. Raises `DnsFormatError` for labels that no name has."""
    if not all(1 <= len(label) <= _MAX_LABEL for label in labels):
        raise DnsFormatError(f"a label of a name has 1 to {_MAX_LABEL} bytes")
    out = bytearray(_HEADER.pack(message_id, _RD, 1, 0, 0, 0))
    _write_name(out, labels, {})
    return bytes(out + _QUESTION_TAIL.pack(qtype, qclass))


def find_address(reply: bytes, query: Query) -> tuple[int, bytes | None]:
    """Return the response code and the first AAAA record of `reply`, which answers `query` (see `is_reply_to`)."""
    try:
        _, flags, _, answers, _, _ = _HEADER.unpack_from(reply)
        offset, address = query.questions_end, None
        for _ in range(answers):
            offset = _skip_name(reply, offset)
            kind, _, _, size = _RECORD_TAIL.unpack_from(reply, offset)
            data = reply[offset + _RECORD_TAIL.size : offset + _RECORD_TAIL.size + size]
            offset += _RECORD_TAIL.size + size
            if address is None and kind == TYPE_AAAA and len(data) == 16:
                address = data
    except (IndexError, StructError, DnsFormatError):
        return Rcode.SERVFAIL, None
    return flags & 0x000F, address


def _counts(query: Query, address: bytes | None) -> tuple[int, int, int, int]:
    return len(query.questions), int(address is not None), 0, 0


def server_failure(message: bytes, query: Query) -> bytes:
    """Return the answer that says a forwarded `message` (parsed as `query`) found no working server."""
    flags = _QR | query.flags & (_OPCODE | 0x0100) | 0x0080 | Rcode.SERVFAIL
    return _HEADER.pack(query.message_id, flags, len(query.questions), 0, 0, 0) + message[12 : query.questions_end]


def is_reply_to(reply: bytes, message: bytes, query: Query) -> bool:
    """Tell whether `reply` answers `message`: same id, the response bit, the same question section but for case."""
    if len(reply) < query.questions_end or reply[:2] != message[:2] or not reply[2] & 0x80:
        return False
    return reply[12 : query.questions_end].lower() == message[12 : query.questions_end].lower()


def _parse(message: bytes) -> Query:
    if len(message) > MAX_MESSAGE:
        raise DnsFormatError(f"query is longer than {MAX_MESSAGE} bytes")
    message_id, flags, count, *records = _HEADER.unpack_from(message)
    if flags & (_QR | _RESERVED):
        raise DnsFormatError("message is a response or sets the reserved header bit")
    if not 1 <= count <= _MAX_QUESTIONS:
        raise DnsFormatError(f"message asks {count} questions")
    questions = []
    offset = _HEADER.size
    for _ in range(count):
        question, offset = _read_question(message, offset)
        questions.append(question)
    _skip_records(message, offset, sum(records))
    return Query(message_id, flags, tuple(questions), offset)


def _read_question(message: bytes, offset: int) -> tuple[Question, int]:
    labels, offset = _read_name(message, offset)
    qtype, qclass = _QUESTION_TAIL.unpack_from(message, offset)
    if qclass & ~_CLASS_TOP_BIT not in _CLASSES:
        raise DnsFormatError(f"class {qclass} is unknown")
    return Question(labels, qtype, qclass), offset + _QUESTION_TAIL.size


def _read_name(message: bytes, offset: int) -> tuple[tuple[bytes, ...], int]:
    """Return the labels of the name at `offset` and the offset behind it. Pointers may only go backwards."""
    labels: list[bytes] = []
    size, end, start = 1, 0, offset
    for _ in range(_MAX_STEPS):
        length = message[offset]
        if length == 0:
            return tuple(labels), end or offset + 1
        if length >= 0xC0:
            end = end or offset + 2
            target = (length & 0x3F) << 8 | message[offset + 1]
            if target >= start:
                raise DnsFormatError("compression pointer does not go backwards")
            offset = start = target
            continue
        label = message[offset + 1 : offset + 1 + length]
        size += length + 1
        if length > _MAX_LABEL or len(label) < length or size > _MAX_NAME:
            raise DnsFormatError("label or name is too long or cut short")
        labels.append(label)
        offset += 1 + length
    raise DnsFormatError("name never ends")


def _skip_name(message: bytes, offset: int) -> int:
    """Return the offset behind the name at `offset`, without following it."""
    while 0 < (length := message[offset]) <= _MAX_LABEL:
        offset += 1 + length
    if 0 < length < 0xC0:
        raise DnsFormatError("label is too long")
    return offset + (2 if length else 1)


def _skip_records(message: bytes, offset: int, count: int) -> None:
    for _ in range(count):
        offset = _skip_name(message, offset)
        *_, size = _RECORD_TAIL.unpack_from(message, offset)
        offset += _RECORD_TAIL.size + size
        if offset > len(message):
            raise DnsFormatError("record is cut short")


def _write_questions(out: bytearray, query: Query) -> dict[tuple[bytes, ...], int]:
    """Append the questions of `query`; returns where the names in them begin."""
    offsets: dict[tuple[bytes, ...], int] = {}
    for question in query.questions:
        _write_name(out, question.labels, offsets)
        out += _QUESTION_TAIL.pack(question.qtype, question.qclass)
    return offsets


def _divided_owner(query: Query) -> tuple[bytes, ...]:
    """The name that the reference's responder gives to its record: a dot within a label divides it in two."""
    return tuple(part for label in query.questions[0].labels for part in label.split(b".") if part)


def _write_address(
    out: bytearray, owner: tuple[bytes, ...], address: bytes | None, ttl: int, offsets: dict[tuple[bytes, ...], int]
) -> None:
    if address is not None:
        _write_name(out, owner, offsets)
        out += _RECORD_TAIL.pack(TYPE_AAAA, CLASS_IN, ttl, len(address)) + address


def _write_authority(
    out: bytearray, owner: tuple[bytes, ...], ttl: int, serial: int, offsets: dict[tuple[bytes, ...], int]
) -> None:
    """Append the record that says who is responsible for names without the record asked for."""
    _write_name(out, owner, offsets)
    begin = len(out)
    out += _RECORD_TAIL.pack(TYPE_SOA, CLASS_IN, ttl, 0)
    _write_name(out, (b"gateway", b"fips"), offsets)
    _write_name(out, (b"nobody", b"fips"), offsets)
    out += _SOA_NUMBERS.pack(serial & 0xFFFFFFFF, ttl, ttl, ttl, ttl)
    size = len(out) - begin - _RECORD_TAIL.size
    out[begin : begin + _RECORD_TAIL.size] = _RECORD_TAIL.pack(TYPE_SOA, CLASS_IN, ttl, size)


def _write_name(out: bytearray, labels: tuple[bytes, ...], offsets: dict[tuple[bytes, ...], int]) -> None:
    """Append `labels` with a pointer to the longest suffix that `offsets` knows, and remember the new suffixes."""
    while labels:
        known = offsets.get(labels)
        if known is not None:
            out += (0xC000 | known).to_bytes(2, "big")
            return
        offsets[labels] = len(out)
        out.append(len(labels[0]))
        out += labels[0]
        labels = labels[1:]
    out.append(0)
