"""The IPv6 shim (spec 02 section 11.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.wire import WireError
from meshnode.wire.ipv6_shim import compress, decompress

from .vectors import unhex

SOURCE = unhex("fd69e08d65cc3a6b9c2c2ac4bd405e4b")
DESTINATION = unhex("fdec3925bdbd24aa1cfd002f9ccf52f2")
PACKET = unhex("602abcde00121140") + SOURCE + DESTINATION + unhex("9c4013880012ae1e68656c6c6f2066697073")
SHIM = unhex("00602abcde11409c4013880012ae1e68656c6c6f2066697073")


def test_the_printed_packet_compresses_and_comes_back() -> None:
    assert compress(PACKET) == SHIM
    assert decompress(SHIM, SOURCE, DESTINATION) == PACKET


def test_bytes_beyond_the_payload_length_become_payload() -> None:
    longer = decompress(compress(PACKET + b"tail"), SOURCE, DESTINATION)
    assert longer[4:6] == (18 + 4).to_bytes(2, "big")
    assert longer.endswith(b"tail")


@pytest.mark.parametrize("packet", [b"", PACKET[:39], b"\x45" + PACKET[1:], b"\x70" + PACKET[1:]], ids=len)
def test_what_is_no_ipv6_packet_is_refused(packet: bytes) -> None:
    with pytest.raises(WireError):
        compress(packet)


@pytest.mark.parametrize("payload", [b"", SHIM[:6], b"\x01" + SHIM[1:], bytes(7 + 0x10000)], ids=len)
def test_what_is_no_shim_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        decompress(payload, SOURCE, DESTINATION)


def test_the_version_is_always_six_on_the_way_out() -> None:
    assert decompress(unhex("00 4f123456 11 40"), SOURCE, DESTINATION)[:6] == unhex("6f123456 0000")


@given(st.binary(min_size=7, max_size=300))
def test_any_shim_is_a_packet_that_compresses_to_itself(tail: bytes) -> None:
    payload = b"\x00" + bytes([0x60 | tail[0] & 0x0F]) + tail[1:]
    packet = decompress(payload, SOURCE, DESTINATION)
    assert packet[8:24] == SOURCE
    assert packet[24:40] == DESTINATION
    assert len(packet) == 40 + int.from_bytes(packet[4:6], "big")
    assert compress(packet) == payload
