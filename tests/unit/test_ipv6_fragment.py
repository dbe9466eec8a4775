"""Packets in fragments: split small enough, together again as they were (RFC 8200 section 4.5)."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.ipv6.fragment import FRAGMENT, Fragmenter, Reassembler

ADDRESSES = b"\xfd" + bytes(15) + b"\xfd" + bytes(14) + b"\1"


def packet(payload: bytes, next_header: int = 17) -> bytes:
    return b"\x60\x2a\xbc\xde" + len(payload).to_bytes(2, "big") + bytes((next_header, 64)) + ADDRESSES + payload


def together(fragments: list[bytes]) -> list[bytes]:
    """What a host has after each of them."""
    reassembler = Reassembler()
    return [whole for whole in map(reassembler.add, fragments) if whole is not None]


def test_the_fragments_of_a_packet_are_those_of_the_standard() -> None:
    first, second = Fragmenter(7).split(packet(bytes(range(24))), 64)
    assert first == bytes.fromhex("602abcde00182c40") + ADDRESSES + bytes.fromhex("1100000100000007") + bytes(range(16))
    assert second[:48] == bytes.fromhex("602abcde00102c40") + ADDRESSES + bytes.fromhex("1100001000000007")
    assert second[48:] == bytes(range(16, 24))


@given(st.binary(max_size=1240), st.integers(56, 1400), st.integers(56, 1280), st.randoms())
def test_fragments_fit_and_come_together_however_often_split(
    payload: bytes, mtu: int, smaller: int, random: Random
) -> None:
    """Also those that the kernel has made; in any order, each as often as one likes."""
    fragmenter = Fragmenter(0xFFFFFFFF)
    original = packet(payload)
    fragments = [part for whole in fragmenter.split(original, mtu) for part in fragmenter.split(whole, smaller)]
    assert max(map(len, fragments), default=0) <= min(mtu, smaller)
    assert {fragment[6] for fragment in fragments} <= {FRAGMENT}
    random.shuffle(fragments)
    assert together(fragments) == ([original] if payload else [])


def test_packets_do_not_get_mixed_up() -> None:
    fragmenter = Fragmenter(0)
    one, other = packet(bytes(100)), packet(b"\1" * 100)
    (a, b), (c, d) = fragmenter.split(one, 112), fragmenter.split(other, 112)
    assert together([a, c, d, b]) == [other, one]


@pytest.mark.parametrize(
    ("whole", "mtu"),
    [
        pytest.param(packet(bytes(100)), 55, id="no room"),
        pytest.param(packet(bytes(100), 0), 100, id="hop-by-hop options"),
        pytest.param(packet(bytes(100), 43), 100, id="a routing header"),
        pytest.param(packet(bytes(100), 60), 100, id="destination options"),
        pytest.param(packet(b"\x11\0\xff\xf8" + bytes(104), FRAGMENT), 100, id="a part beyond the end of all packets"),
    ],
)
def test_what_cannot_be_split_is_not(whole: bytes, mtu: int) -> None:
    assert Fragmenter(0).split(whole, mtu) == []


def test_what_never_gets_complete_is_bounded() -> None:
    fragmenter, reassembler = Fragmenter(0), Reassembler()
    for _ in range(1000):
        assert reassembler.add(fragmenter.split(packet(bytes(100)), 100)[0]) is None
    assert len(reassembler._incomplete) == 256


@given(st.binary(max_size=200), st.integers(0, 1400))
def test_any_bytes_are_survived(noise: bytes, mtu: int) -> None:
    for whole in (packet(noise), packet(noise, FRAGMENT), packet(b"\x11\0\xff" + noise, FRAGMENT)):
        Fragmenter(0).split(whole, mtu)
