"""The header shim of port 256 (spec 02 sections 11.1, 11.8 and 21)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshnode.ipv6.shim import SHIM_SIZE, expand_payloads, mark_congestion, shim_payloads

A = bytes.fromhex("fd69e08d65cc3a6b9c2c2ac4bd405e4b")
B = bytes.fromhex("fdec3925bdbd24aa1cfd002f9ccf52f2")
PACKET = bytes.fromhex("602abcde00121140") + A + B + bytes.fromhex("9c4013880012ae1e68656c6c6f2066697073")
SHIM = bytes.fromhex("00602abcde11409c4013880012ae1e68656c6c6f2066697073")


def test_the_vector_compresses() -> None:
    assert shim_payloads([PACKET, PACKET]) == [SHIM, SHIM]


def test_the_vector_expands_from_anywhere_in_a_buffer() -> None:
    assert expand_payloads([b"0123456789" + SHIM], 10, A + B) == [PACKET]


def test_bytes_behind_the_payload_become_payload() -> None:
    (expanded,) = expand_payloads(shim_payloads([PACKET + b"tail"]), 0, A + B)
    assert expanded == PACKET[:4] + b"\0\x16" + PACKET[6:] + b"tail"


def test_an_empty_payload_is_a_packet_of_forty_bytes() -> None:
    assert expand_payloads([SHIM[:SHIM_SIZE]], 0, A + B) == [PACKET[:4] + b"\0\0" + PACKET[6:40]]


def test_short_and_foreign_formats_are_left_out() -> None:
    assert expand_payloads([b"", SHIM[:6], b"\x01" + SHIM[1:], SHIM], 0, A + B) == [PACKET]
    assert expand_payloads([b"short"], 10, A + B) == []


def test_more_payload_than_a_length_field_can_say_is_left_out() -> None:
    assert expand_payloads([bytes(SHIM_SIZE + 0x10000)], 0, A + B) == []


def test_the_version_is_always_six() -> None:
    (packet,) = expand_payloads([b"\0\xf2" + SHIM[2:]], 0, A + B)
    assert packet[:4] == b"\x62\x2a\xbc\xde"


def test_congestion_is_marked_on_capable_packets() -> None:
    assert mark_congestion(b"head" + SHIM, 4) == SHIM[:2] + b"\x3a" + SHIM[3:]
    assert mark_congestion(b"\0\x60\x20\0\0\x11\x40", 0) == b"\0\x60\x30\0\0\x11\x40"


def test_congestion_is_not_marked_on_incapable_packets() -> None:
    incapable = b"\0\x6f\xc0\0\0\x11\x40data"
    assert mark_congestion(b"head" + incapable, 4) == incapable


@given(st.lists(st.binary(max_size=60)), st.integers(0, 20))
def test_any_bytes_are_survived(noise: list[bytes], offset: int) -> None:
    packets = expand_payloads(noise, offset, A + B)
    assert all(packet[0] >> 4 == 6 and packet[8:40] == A + B for packet in packets)
    for buffer in noise:
        assert len(mark_congestion(buffer, offset)) == max(0, len(buffer) - offset)


@given(st.binary(min_size=32, max_size=100))
def test_a_packet_between_the_session_ends_survives_the_mesh(rest: bytes) -> None:
    packet = b"\x60" + rest[:3] + len(rest[5:]).to_bytes(2, "big") + rest[3:5] + A + B + rest[5:]
    assert expand_payloads(shim_payloads([packet]), 0, A + B) == [packet]
