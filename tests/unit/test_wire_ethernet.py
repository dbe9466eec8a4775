"""Payloads of raw Ethernet, against recordings of running daemons and against anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.wire import Beacon, WireError
from meshnode.wire.ethernet import BEACON, DATA, DATA_OVERHEAD, enclose, enclosed
from tests.unit.vectors import load

RECORDED = [(bytes.fromhex(row["hex"]), row) for row in load("transports")["ethernet"]["frames"]]
KEY = bytes.fromhex("24653eac434488002cc06bbfb7f10fe18991e35f9fe4302dbea6d2353dc0ab1c")

frames_of_any_size = st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=8)


def test_the_published_payloads_come_out() -> None:
    assert enclose([b"hello"]) == bytes.fromhex("00050068656c6c6f")
    assert Beacon(KEY).encode() == b"\x01\x01" + KEY


def test_recorded_payloads_read_and_encode_to_themselves() -> None:
    kinds = []
    for payload, row in RECORDED:
        kinds.append(payload[0])
        assert len(payload) == row["payload_bytes"]
        if payload[0] == BEACON:
            assert Beacon.parse(payload).encode() == payload
        else:
            assert enclose(enclosed([payload])) == payload
    assert set(kinds) == {DATA, BEACON}


def test_padding_is_ignored() -> None:
    assert enclosed([enclose([b"hello"]) + bytes(38)]) == [b"hello"]
    assert Beacon.parse(Beacon(KEY).encode() + bytes(12)) == Beacon(KEY)


@pytest.mark.parametrize(
    "payload",
    ["", "00", "0005", "000500", "00050068656c6c", "00000568656c6c6f", "000000", "00ffff68656c6c6f"],
    ids=["empty", "kind", "half a length", "length", "one too large", "big-endian", "no frame", "65535"],
)
def test_a_payload_shorter_than_it_says_gives_no_frame(payload: str) -> None:
    assert enclosed([bytes.fromhex(payload)]) == []


def test_a_length_one_too_small_cuts_the_frame() -> None:
    assert enclosed([bytes.fromhex("00040068656c6c6f")]) == [b"hell"]


@pytest.mark.parametrize("payload", [b"\x01\x02" + KEY, b"\x01\x01" + KEY[:-1], b"\x00\x01" + KEY, b"", b"\x01"])
def test_what_is_no_beacon_of_our_version_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        Beacon.parse(payload)


@given(frames_of_any_size)
def test_frames_come_out_as_they_went_in(frames: list[bytes]) -> None:
    payloads, rest = [], enclose(frames)
    for frame in frames:
        payloads.append(rest[: len(frame) + DATA_OVERHEAD])
        rest = rest[len(frame) + DATA_OVERHEAD :]
    assert rest == b""
    assert enclosed(payloads) == frames


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    assert len(enclosed([noise])) <= 1
    try:
        beacon = Beacon.parse(noise)
    except WireError:
        return
    assert noise.startswith(beacon.encode())
