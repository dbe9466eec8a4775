"""Internet checksums against the plain word-by-word definition and against vectors of the specification."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshnode.ipv6.checksum import ICMPV6, TCP, UDP, transport_checksum, with_transport_checksum, word_sum

UDP_PACKET = bytes.fromhex(
    "602abcde00121140fd69e08d65cc3a6b9c2c2ac4bd405e4bfdec3925bdbd24aa1cfd002f9ccf52f29c4013880012ae1e68656c6c6f2066697073"
)


def plain_checksum(data: bytes) -> int:
    """RFC 1071, as written there."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(addresses: bytes, length: int, next_header: int) -> bytes:
    return addresses + length.to_bytes(4, "big") + next_header.to_bytes(4, "big")


@given(st.binary(min_size=32, max_size=32), st.sampled_from([TCP, UDP, ICMPV6]), st.binary(max_size=80))
def test_checksum_is_the_one_of_rfc_1071(addresses: bytes, next_header: int, segment: bytes) -> None:
    expected = plain_checksum(pseudo_header(addresses, len(segment), next_header) + segment)
    assert transport_checksum(addresses, next_header, segment) == expected


def test_a_right_checksum_sums_to_zero() -> None:
    assert transport_checksum(UDP_PACKET[8:40], UDP, UDP_PACKET[40:]) == 0


def test_an_odd_last_byte_is_a_high_half() -> None:
    assert word_sum(b"\x01\x02\x03") == 0x0102 + 0x0300


def test_udp_checksum_is_restored() -> None:
    broken = UDP_PACKET[:46] + b"\x12\x34" + UDP_PACKET[48:]
    assert with_transport_checksum(broken) == UDP_PACKET


def test_a_udp_checksum_of_zero_is_sent_as_all_ones() -> None:
    # The data makes the sum come out as 0xffff.
    packet = UDP_PACKET[:46] + b"\0\0" + UDP_PACKET[48:]
    rest = transport_checksum(packet[8:40], UDP, packet[40:48] + b"\0\0" + packet[50:])
    packet = packet[:48] + rest.to_bytes(2, "big") + packet[50:]
    assert transport_checksum(packet[8:40], UDP, packet[40:]) == 0
    assert with_transport_checksum(packet)[46:48] == b"\xff\xff"


def test_bytes_behind_the_payload_length_are_not_summed() -> None:
    assert with_transport_checksum(UDP_PACKET + b"trailer") == UDP_PACKET + b"trailer"


def test_a_length_that_does_not_fit_leaves_the_packet_alone() -> None:
    for length in (0, 7, 19, 0xFFFF):
        packet = UDP_PACKET[:4] + length.to_bytes(2, "big") + UDP_PACKET[6:]
        assert with_transport_checksum(packet) is packet


def test_other_transports_are_left_alone() -> None:
    packet = UDP_PACKET[:6] + bytes((ICMPV6,)) + UDP_PACKET[7:]
    assert with_transport_checksum(packet) is packet


@given(st.binary(max_size=120))
def test_any_bytes_are_survived(noise: bytes) -> None:
    assert len(with_transport_checksum(noise)) == len(noise)
