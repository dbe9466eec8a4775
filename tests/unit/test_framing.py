"""Where frames begin and end in a stream (spec 04 section 3)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.transports.framing import FrameReader
from tests.unit.stream_rig import MESSAGE1, MESSAGE2, frame

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "transports.json").read_text())
STREAM = [MESSAGE1, MESSAGE2, frame(32), frame(1400, 7), frame(200), MESSAGE2, frame(33)]


def test_frames_of_every_phase_come_out_whole() -> None:
    assert FrameReader(1400).feed(b"".join(STREAM)) == STREAM


@given(st.lists(st.integers(1, 2500), max_size=12))
def test_it_does_not_matter_how_the_stream_is_cut(cuts: list[int]) -> None:
    reader, rest, frames = FrameReader(1400), b"".join(STREAM), []
    for cut in [*cuts, len(rest)]:
        frames += reader.feed(rest[:cut])
        rest = rest[cut:]
    assert frames == STREAM
    assert reader.pending == 0


def test_one_byte_at_a_time_is_enough() -> None:
    reader = FrameReader(1400)
    assert [f for byte in b"".join(STREAM) for f in reader.feed(bytes([byte]))] == STREAM


@pytest.mark.parametrize("direction", ["dialler_to_listener", "listener_to_dialler"])
def test_what_running_daemons_sent_is_cut_as_they_meant_it(direction: str) -> None:
    sent = VECTORS["tcp"][direction]
    frames = FrameReader(1400).feed(b"".join(bytes.fromhex(row["hex"]) for row in sent))
    assert [(len(f), f[0], f[:4].hex()) for f in frames] == [(r["bytes"], r["phase"], r["prefix"]) for r in sent]


@pytest.mark.parametrize(
    ("prefix", "total"), [("00005805", 1400), ("01006e00", 114), ("02004100", 69), ("00000000", 32), ("00ff5805", 1400)]
)
def test_these_prefixes_begin_a_frame(prefix: str, total: int) -> None:
    data = bytes.fromhex(prefix).ljust(total, b"\1")
    reader = FrameReader(1400)
    assert reader.feed(data[:-1]) == []
    assert reader.feed(data[-1:]) == [data]


@pytest.mark.parametrize(
    ("prefix", "cause"),
    [
        ("00005905", "1401 bytes"),
        ("16030102", "version 1"),
        ("03001000", "phase 3"),
        ("01006f00", "wrong length 111"),
        ("02004000", "wrong length 64"),
        (b"GET ".hex(), "version 4"),
        (b"SSH-".hex(), "version 5"),
    ],
)
def test_these_do_not_and_nothing_comes_after_them(prefix: str, cause: str) -> None:
    reader = FrameReader(1400)
    assert reader.feed(MESSAGE1 + bytes.fromhex(prefix)) == [MESSAGE1]
    assert reader.broken is not None
    assert cause in reader.broken
    assert reader.feed(MESSAGE1) == []


@given(st.lists(st.binary(max_size=400), max_size=8))
def test_noise_is_cut_or_refused(chunks: list[bytes]) -> None:
    reader = FrameReader(1400)
    frames = [f for chunk in chunks for f in reader.feed(chunk)]
    assert all(32 <= len(f) <= 1400 for f in frames)
    assert b"".join(chunks).startswith(b"".join(frames))
    assert reader.pending < 1400
