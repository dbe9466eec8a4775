"""ICMPv6 errors towards the host (spec 02 sections 11.6 and 21)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.ipv6.checksum import ICMPV6, transport_checksum
from meshnode.ipv6.icmp import SourceLimiter, destination_unreachable, may_be_answered, packet_too_big

A = bytes.fromhex("fd69e08d65cc3a6b9c2c2ac4bd405e4b")
B = bytes.fromhex("fdec3925bdbd24aa1cfd002f9ccf52f2")
PACKET = bytes.fromhex("602abcde00121140") + A + B + bytes.fromhex("9c4013880012ae1e68656c6c6f2066697073")
MULTICAST = b"\xff\x02" + bytes(14)


def between(source: bytes, destination: bytes, next_header: int = 17, payload: bytes = bytes(8)) -> bytes:
    return b"\x60\0\0\0" + len(payload).to_bytes(2, "big") + bytes((next_header, 64)) + source + destination + payload


def test_packet_too_big_is_the_vector() -> None:
    expected = bytes.fromhex("6000000000423a40") + B + A + bytes.fromhex("02004384000004b3") + PACKET
    assert packet_too_big(PACKET, 1203) == expected


def test_destination_unreachable_is_the_vector() -> None:
    expected = bytes.fromhex("6000000000423a40") + A + A + bytes.fromhex("01000ef300000000") + PACKET
    assert destination_unreachable(PACKET, A) == expected


def test_an_error_is_at_most_1280_bytes_and_its_checksum_right() -> None:
    error = packet_too_big(between(A, B, payload=bytes(range(256)) * 6), 1203)
    assert error is not None
    assert len(error) == 1280
    assert transport_checksum(error[8:40], ICMPV6, error[40:]) == 0


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(PACKET[:39], id="too short"),
        pytest.param(b"\x40" + PACKET[1:], id="not IPv6"),
        pytest.param(between(bytes(16), B), id="unspecified source"),
        pytest.param(between(MULTICAST, B), id="multicast source"),
        pytest.param(between(A, B, ICMPV6, b"\x01" + bytes(7)), id="itself an error"),
        pytest.param(between(A, B, ICMPV6, b"\x7f" + bytes(7)), id="itself an unknown error"),
    ],
)
def test_no_error_about(packet: bytes) -> None:
    assert packet_too_big(packet, 1280) is None
    assert destination_unreachable(packet, A) is None


def test_multicast_destinations_are_too_big_but_never_unreachable() -> None:
    assert destination_unreachable(between(A, MULTICAST), A) is None
    assert packet_too_big(between(A, MULTICAST), 1280) is not None


def test_pings_are_answered() -> None:
    assert may_be_answered(between(A, B, ICMPV6, b"\x80" + bytes(7)))


def test_the_limiter_lets_one_error_per_source_through_each_interval() -> None:
    limiter = SourceLimiter()
    assert limiter.charge(A, 50.0)
    assert not limiter.charge(A, 50.099)
    assert limiter.charge(B, 50.099)
    assert limiter.charge(A, 50.11)


def test_a_refused_charge_does_not_extend_the_interval() -> None:
    limiter = SourceLimiter()
    assert [limiter.charge(A, at) for at in (1.0, 1.06, 1.12)] == [True, False, True]


def test_the_limiter_forgets_old_sources() -> None:
    limiter = SourceLimiter()
    for number in range(100):
        limiter.charge(number.to_bytes(16, "big"), 1.0)
    limiter.charge(A, 12.0)
    assert len(limiter) == 1


@given(st.binary(max_size=100), st.integers(0, 0xFFFFFFFF))
def test_any_bytes_are_survived(noise: bytes, mtu: int) -> None:
    for error in (packet_too_big(noise, mtu), destination_unreachable(noise, A)):
        assert error is None or transport_checksum(error[8:40], ICMPV6, error[40:]) == 0
