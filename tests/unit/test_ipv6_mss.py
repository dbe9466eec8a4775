"""The segment size clamp (spec 02 sections 10.1, 10.4, 11.7 and 21)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.ipv6.checksum import TCP, transport_checksum
from meshnode.ipv6.mss import MssCeilings, clamp_mss, effective_ipv6_mtu, is_syn, mss_ceiling

SYN = bytes.fromhex(
    "60000000001c0640fd69e08d65cc3a6b9c2c2ac4bd405e4bfdec3925bdbd24aa1cfd002f9ccf52f2"
    "9c400050000003e8000000007002faf060a2000001010402020405b4"
)
CLAMPED = SYN[:56] + bytes.fromhex("61df00000101040202040477")
PEER = SYN[24:40]


def with_options(options: bytes, flags: int = 2) -> bytes:
    """A SYN with a right checksum and these options, padded."""
    options += bytes(-len(options) % 4)
    tcp = SYN[40:52] + bytes(((20 + len(options)) // 4 << 4, flags)) + b"\xfa\xf0\0\0\0\0" + options
    tcp = tcp[:16] + transport_checksum(SYN[8:40], TCP, tcp).to_bytes(2, "big") + tcp[18:]
    return SYN[:4] + len(tcp).to_bytes(2, "big") + SYN[6:40] + tcp


@pytest.mark.parametrize(
    ("mtu", "ipv6", "mss"),
    [
        (137, 60, 0),
        (138, 61, 1),
        (256, 179, 119),
        (1280, 1203, 1143),
        (1357, 1280, 1220),
        (1472, 1395, 1335),
        (10, 0, 0),
    ],
)
def test_arithmetic_of_path_mtus(mtu: int, ipv6: int, mss: int) -> None:
    assert (effective_ipv6_mtu(mtu), mss_ceiling(mtu)) == (ipv6, mss)


def test_the_vector_is_clamped() -> None:
    assert clamp_mss(SYN, 1143) == CLAMPED


def test_a_syn_ack_is_clamped_too() -> None:
    packet = clamp_mss(with_options(b"\x02\x04\x05\xb4", flags=0x12), 1000)
    assert packet[62:64] == (1000).to_bytes(2, "big")
    assert transport_checksum(packet[8:40], TCP, packet[40:]) == 0


@pytest.mark.parametrize("ceiling", [0, 1460, 1461, 65535])
def test_a_small_enough_offer_stays(ceiling: int) -> None:
    assert clamp_mss(SYN, ceiling) is SYN


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(with_options(b"\x02\x04\x05\xb4", flags=0x10), id="no SYN"),
        pytest.param(with_options(b""), id="no option"),
        pytest.param(with_options(b"\x00\x02\x04\x05\xb4"), id="behind the end of options"),
        pytest.param(with_options(b"\x03\x01\x02\x04\x05\xb4"), id="option of length 1"),
        pytest.param(with_options(b"\x03\x20\x02\x04\x05\xb4"), id="option longer than the header"),
        pytest.param(with_options(b"\x02\x03\x05"), id="segment size of another length"),
        pytest.param(with_options(b"\x01\x01\x01\x02"), id="cut off"),
        pytest.param(SYN[:6] + b"\x11" + SYN[7:], id="not TCP"),
        pytest.param(SYN[:52] + b"\x40" + SYN[53:], id="data offset below the header"),
        pytest.param(SYN[:52] + b"\xf0" + SYN[53:], id="data offset behind the packet"),
        pytest.param(SYN[:59], id="too short"),
    ],
)
def test_what_is_no_offer_stays(packet: bytes) -> None:
    assert clamp_mss(packet, 500) is packet


def test_an_unknown_peer_is_assumed_behind_1280() -> None:
    assert MssCeilings(1472).ceiling(PEER) == 1143
    assert MssCeilings(1000).ceiling(PEER) == 863


def test_a_known_peer_has_its_own_ceiling_within_ours() -> None:
    ceilings = MssCeilings(1472)
    ceilings.set_path_mtu(PEER, 1400)
    assert ceilings.ceiling(PEER) == 1263
    ceilings.set_path_mtu(PEER, 9000)
    assert ceilings.ceiling(PEER) == 1335
    ceilings.set_path_mtu(PEER, None)
    assert ceilings.ceiling(PEER) == 1143


def test_an_mtu_without_room_counts_as_unknown() -> None:
    ceilings = MssCeilings(1472)
    ceilings.set_path_mtu(PEER, 137)
    assert ceilings.ceiling(PEER) == 1143


def test_addresses_outside_the_mesh_have_no_entry() -> None:
    ceilings = MssCeilings(1472)
    ceilings.set_path_mtu(b"\xfc" + PEER[1:], 1400)
    assert ceilings.ceiling(b"\xfc" + PEER[1:]) == 1143


@given(st.binary(max_size=100), st.integers(0, 65535))
def test_any_bytes_are_survived(noise: bytes, ceiling: int) -> None:
    assert len(clamp_mss(noise, ceiling)) == len(noise)


@given(st.binary(max_size=40), st.integers(1, 65535))
def test_clamping_keeps_a_right_checksum_right(options: bytes, ceiling: int) -> None:
    packet = clamp_mss(with_options(options), ceiling)
    assert is_syn(packet)
    assert transport_checksum(packet[8:40], TCP, packet[40:]) == 0
    assert clamp_mss(packet, ceiling) is packet
