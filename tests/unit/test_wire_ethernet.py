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


def opened(*payloads: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return frames and beacons in `payloads`, split as a packet socket does it."""
    return enclosed(b"".join(payload[:DATA_OVERHEAD] for payload in payloads), [p[DATA_OVERHEAD:] for p in payloads])


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
            assert enclose(opened(payload)[0]) == payload
    assert set(kinds) == {DATA, BEACON}


def test_padding_is_ignored() -> None:
    assert opened(enclose([b"hello"]) + bytes(38)) == ([b"hello"], [])
    assert Beacon.parse(Beacon(KEY).encode() + bytes(12)) == Beacon(KEY)


@pytest.mark.parametrize(
    "payload",
    ["000500", "00050068656c6c", "00000568656c6c6f", "00000068656c6c6f", "00ffff68656c6c6f"],
    ids=["length", "one too large", "big-endian", "no frame", "65535"],
)
def test_a_payload_shorter_than_it_says_gives_no_frame(payload: str) -> None:
    wrong = bytes.fromhex(payload)
    assert opened(wrong) == opened(wrong, wrong) == ([], [])
    assert opened(wrong, enclose([b"hello"])) == ([b"hello"], [])


def test_a_length_one_too_small_cuts_the_frame() -> None:
    assert opened(bytes.fromhex("00040068656c6c6f")) == ([b"hell"], [])


def test_beacons_among_frames_come_apart_with_what_was_before_them() -> None:
    beacon, frame = Beacon(KEY).encode(), enclose([b"hello"])
    assert opened(frame, beacon + bytes(12), frame) == ([b"hello", b"hello"], [beacon + bytes(12)])
    assert opened(beacon, beacon) == ([], [beacon, beacon])


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
    assert opened(*payloads) == (frames, [])


@given(st.binary(min_size=DATA_OVERHEAD, max_size=100))
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    frames, beacons = opened(noise)
    assert len(frames) + len(beacons) <= 1
    assert beacons == ([noise] if noise[0] == BEACON else [])
    try:
        beacon = Beacon.parse(noise)
    except WireError:
        return
    assert noise.startswith(beacon.encode())
