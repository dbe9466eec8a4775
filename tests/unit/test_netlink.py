"""Reading what the kernel tells about interfaces, and passing over what it should not."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from meshnode.transports.netlink import Interface, Removed, parse_links

NEW, REMOVED, DONE = 16, 17, 3
NAME, MTU, MAC = 3, 4, 1
ETH0 = {NAME: b"eth0\0", MTU: struct.pack("=I", 1500), MAC: b"\x02\0\0\0\0\x01", 99: b"odd"}


def message(kind: int, attributes: dict[int, bytes], flags: int = 0x41, family: int = 0) -> bytes:
    body = struct.pack("=BxHiII", family, 1, 7, flags, 0)
    for number, value in attributes.items():
        body += struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def test_an_interface_is_read_whole() -> None:
    assert list(parse_links(message(NEW, ETH0))) == [
        Interface("eth0", 7, 1, 1500, b"\x02\0\0\0\0\x01", is_up=True, carrier=True)
    ]


def test_up_and_carrier_are_two_things() -> None:
    (off,) = parse_links(message(NEW, ETH0, flags=0))
    (unplugged,) = parse_links(message(NEW, ETH0, flags=0x1))
    assert isinstance(off, Interface)
    assert isinstance(unplugged, Interface)
    assert (off.is_up, off.carrier) == (False, False)
    assert (unplugged.is_up, unplugged.carrier) == (True, False)


def test_several_messages_in_one_datagram_keep_their_order() -> None:
    renamed = {**ETH0, NAME: b"lan\0"}
    data = message(NEW, ETH0) + message(DONE, {}) + message(REMOVED, renamed)
    assert [type(event) for event in parse_links(data)] == [Interface, Removed]
    assert list(parse_links(data))[1] == Removed("lan", 7)


def test_a_port_that_leaves_its_bridge_is_not_removed() -> None:
    assert list(parse_links(message(REMOVED, ETH0, family=7))) == []


def test_an_interface_without_a_name_or_an_mtu_is_passed_over() -> None:
    for missing in (NAME, MTU):
        assert list(parse_links(message(NEW, {key: value for key, value in ETH0.items() if key != missing}))) == []
    assert list(parse_links(message(NEW, {**ETH0, MTU: b"\1"}))) == []


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_passed_over(noise: bytes) -> None:
    list(parse_links(noise))


@given(st.binary(max_size=120))
def test_any_bytes_behind_a_good_header_too(noise: bytes) -> None:
    list(parse_links(struct.pack("=IHHII", 16 + len(noise), NEW, 0, 0, 0) + noise))
    list(parse_links(message(NEW, {NAME: noise, MTU: noise})))
