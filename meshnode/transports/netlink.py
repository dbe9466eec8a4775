"""What the kernel tells about network interfaces: one of them now, and every change from now on (rtnetlink(7)).

Only the few attributes that a carrier on an interface needs are read. pyroute2 does all of this and more, but costs
10 MiB and 80 ms to import.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from struct import error as struct_error
from typing import Protocol

_HEADER = Struct("=IHHII")  # length, type, flags, sequence, port
_LINK = Struct("=BxHiII")  # family, type, index, flags, change
_ATTRIBUTE = Struct("=HH")  # length, type
_NUMBER = Struct("=I")
_RTMGRP_LINK = 1
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_NLM_F_REQUEST = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU = 1, 3, 4
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_ARPHRD_ETHER, _ARPHRD_LOOPBACK = 1, 772
_READ_SIZE = 65536


@dataclass(frozen=True, slots=True)
class Interface:
    """One network interface as it is now: `mtu` in bytes, `mac` the 6 bytes of its address.

    It `is_up` when somebody turned it on, and has `carrier` when a cable or an access point is at its other end.
    """

    name: str
    index: int
    type: int
    mtu: int
    mac: bytes
    is_up: bool
    carrier: bool

    @property
    def is_ethernet(self) -> bool:
        """Whether it has 6-byte addresses: a cable, Wi-Fi, a bridge, a VLAN, or the loopback interface."""
        return self.type in (_ARPHRD_ETHER, _ARPHRD_LOOPBACK)

    @property
    def is_loopback(self) -> bool:
        return self.type == _ARPHRD_LOOPBACK

    @property
    def is_usable(self) -> bool:
        """Whether frames can be sent over it."""
        return self.is_up and self.is_ethernet


@dataclass(frozen=True, slots=True)
class Removed:
    """The interface that had `index` and, at the end, `name` is no more."""

    name: str
    index: int


LinkEvent = Interface | Removed


class LinkFeed(Protocol):
    """An open source of news about interfaces."""

    def fileno(self) -> int: ...

    def look_up(self, name: str) -> Interface | None:
        """Return the interface of that name, None when there is none. Raises OSError."""

    def read(self) -> list[LinkEvent]:
        """Return what happened since the last call. Raises OSError, ENOBUFS when news were lost."""

    def close(self) -> None: ...


class KernelLinks:
    """The interfaces of this machine, or of its network namespace. Raises OSError when the kernel offers no netlink."""

    def __init__(self) -> None:
        self._news = _netlink_socket()
        try:
            self._news.bind((0, _RTMGRP_LINK))
        except OSError:
            self._news.close()
            raise

    def fileno(self) -> int:
        return self._news.fileno()

    def look_up(self, name: str) -> Interface | None:
        with _netlink_socket() as asking:
            asking.send(_question(name))
            # The kernel has answered by the time `send` returns.
            events = list(parse_links(asking.recv(_READ_SIZE)))
        return next((event for event in events if isinstance(event, Interface) and event.name == name), None)

    def read(self) -> list[LinkEvent]:
        events: list[LinkEvent] = []
        while True:
            try:
                data, (sender, _groups) = self._news.recvfrom(_READ_SIZE)
            except BlockingIOError:
                return events
            if sender == 0:  # only the kernel is to be believed
                events += parse_links(data)

    def close(self) -> None:
        self._news.close()


def _netlink_socket() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    opened.setblocking(False)
    return opened


def _question(name: str) -> bytes:
    text = name.encode() + b"\0"
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(text), _IFLA_IFNAME) + text + bytes(-len(text) % 4)
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + attribute
    return _HEADER.pack(_HEADER.size + len(body), _RTM_GETLINK, _NLM_F_REQUEST, 1, 0) + body


def parse_links(data: bytes) -> Iterator[LinkEvent]:
    """Read the link messages in one datagram of the kernel; others, and anything malformed, are passed over."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind = _HEADER.unpack_from(data, at)[:2]
        if length < _HEADER.size:
            return
        if kind in (_RTM_NEWLINK, _RTM_DELLINK):
            event = _parse_link(data[at + _HEADER.size : at + length], kind == _RTM_DELLINK)
            if event is not None:
                yield event
        at += length + -length % 4


def _parse_link(body: bytes, is_removal: bool) -> LinkEvent | None:
    try:
        family, kind, index, flags, _change = _LINK.unpack_from(body)
        attributes = dict(_attributes(body[_LINK.size :]))
        name = attributes[_IFLA_IFNAME].rstrip(b"\0").decode(errors="replace")
        if family != socket.AF_UNSPEC:
            return None  # a bridge tells of its port: neither made nor removed by that
        if is_removal:
            return Removed(name, index)
        (mtu,) = _NUMBER.unpack(attributes[_IFLA_MTU])
    except (KeyError, struct_error):
        return None
    mac = attributes.get(_IFLA_ADDRESS, b"")
    return Interface(name, index, kind, mtu, mac, bool(flags & _IFF_UP), bool(flags & _IFF_RUNNING))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind, data[at + _ATTRIBUTE.size : at + length]
        at += length + -length % 4


def news_were_lost(error: OSError) -> bool:
    """Whether `read` failed because more happened than the kernel kept for us: ask again what there is."""
    return error.errno == errno.ENOBUFS
