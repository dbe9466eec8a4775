"""Internet addresses in the three forms a transport meets: text, socket tuple, host name (spec 04 section 1.10)."""

from __future__ import annotations

import errno
import os
import re
import socket
from dataclasses import dataclass
from typing import TypeAlias

from meshnode.transports.interfaces import TransportError

SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""A numeric address as `socket` takes it: `(host, port)`, or `(host, port, flow, scope id)` for IPv6."""

CACHE_SIZE = 4096
_SHAPE = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MAX_NAME = 253
_MAX_NUMBER = 10  # digits
_BIND_ADVICE = {
    errno.EADDRINUSE: "address already in use; another node or daemon is running there, stop it or choose another"
    " bind_addr",
    errno.EADDRNOTAVAIL: "no interface of this machine has that address; write one that it has, or 0.0.0.0",
    errno.EACCES: "not permitted; ports below 1024 need root or CAP_NET_BIND_SERVICE",
    errno.EAFNOSUPPORT: "this system has no such address family; choose a bind_addr of the other one",
}


@dataclass(frozen=True, slots=True)
class HostName:
    """A destination that has to be looked up before anything can be sent to it."""

    host: str
    port: int


def parse_address(text: str) -> SocketAddress | HostName:
    """Read `ip:port`, `[ip6]:port`, `[ip6%scope]:port` or `host:port`.

    Raises `TransportError` for anything else, without asking a name server.
    """
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        raise _invalid(text, "expected ip:port, [ip6]:port or host:port")
    port = int(shape["port"])
    if port > 0xFFFF:
        raise _invalid(text, f"{port} is not a port")
    if shape["six"] is not None:
        return _parse_ipv6(text, shape["six"], port)
    return _parse_ipv4_or_name(text, shape["host"], port)


def _invalid(text: str, reason: str) -> TransportError:
    return TransportError(f"invalid transport address: {text!r}: {reason}")


def _parse_ipv6(text: str, host: str, port: int) -> SocketAddress:
    numeric, percent, scope = host.partition("%")
    try:
        packed = socket.inet_pton(socket.AF_INET6, numeric)
    except (OSError, ValueError):
        raise _invalid(text, f"{numeric!r} is not an IPv6 address") from None
    if percent and not scope:
        raise _invalid(text, "the scope after % is empty")
    return (socket.inet_ntop(socket.AF_INET6, packed), port, 0, _scope_id(text, scope) if scope else 0)


def _scope_id(text: str, scope: str) -> int:
    if scope.isascii() and scope.isdigit():
        if len(scope) > _MAX_NUMBER or int(scope) > 0xFFFFFFFF:
            raise _invalid(text, f"{scope} is not an interface number")
        return int(scope)
    try:
        return socket.if_nametoindex(scope)
    except (OSError, ValueError):
        raise _invalid(text, f"there is no interface {scope!r}") from None


def _parse_ipv4_or_name(text: str, host: str, port: int) -> SocketAddress | HostName:
    try:
        return (socket.inet_ntop(socket.AF_INET, socket.inet_pton(socket.AF_INET, host)), port)
    except (OSError, ValueError):
        pass
    labels = host.removesuffix(".").split(".")
    if len(host) > _MAX_NAME or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise _invalid(text, f"{host!r} is neither an IPv4 address nor a host name")
    return HostName(host, port)


def family_of(address: SocketAddress) -> int:
    """Return `AF_INET` or `AF_INET6`."""
    return socket.AF_INET6 if len(address) == 4 else socket.AF_INET


def format_address(address: SocketAddress) -> str:
    """Return the canonical text of a numeric address, its scope by interface name where there is one."""
    if len(address) == 2:
        return f"{address[0]}:{address[1]}"
    host, port, _flow, scope = address
    return f"[{host}%{_scope_name(scope)}]:{port}" if scope else f"[{host}]:{port}"


def _scope_name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except (OSError, OverflowError):
        return str(index)


def bind_advice(error: OSError) -> str:
    """What to do when an address cannot be bound, in one line."""
    number = error.errno or 0
    return _BIND_ADVICE.get(number) or os.strerror(number)


class AddressBook:
    """Both directions between text and socket tuple, remembered for at most `size` addresses each.

    Hot code reads `texts` and `tuples` directly and calls a method only for what it does not find there.
    """

    def __init__(self, size: int = CACHE_SIZE) -> None:
        self._size = size
        self.texts: dict[SocketAddress, str] = {}
        self.tuples: dict[str, SocketAddress] = {}

    def text_of(self, address: SocketAddress) -> str:
        """Return the canonical text of `address` and remember the pair."""
        text = self.texts.get(address)
        if text is None:
            text = format_address(address)
            self._make_room(self.texts)
            self.texts[address] = text
            self.learn(text, address)
        return text

    def learn(self, text: str, address: SocketAddress) -> None:
        """Remember that `text` means `address`."""
        self._make_room(self.tuples)
        self.tuples[text] = address

    def forget(self, address: SocketAddress) -> None:
        """Unlearn `address`, which the system refused: an interface that was made anew has a new scope number.

        Without a scope there is nothing to unlearn. Several spellings may lead to a scope, so all of them go.
        """
        if len(address) == 4 and address[3]:
            self.texts.clear()
            self.tuples.clear()

    def _make_room(self, table: dict[SocketAddress, str] | dict[str, SocketAddress]) -> None:
        # Emptying the whole table is cheap, rare, and leaves nothing a flood of spoofed sources could pin down.
        if len(table) >= self._size:
            table.clear()
