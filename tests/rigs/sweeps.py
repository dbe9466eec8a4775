"""Echoes between many hosts at once from one thread: which pairs answer, and after how long.

One raw socket per host instead of one ping process per pair, since a mesh of ten nodes has ninety pairs.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv6Address
from statistics import median

from tests.rigs.nodes import Node
from tests.rigs.waiting import NotInTime

Pair = tuple[Node, Node]
_ECHO = struct.Struct("!BBHHH16s")  # type, code, checksum (the kernel's work), identifier, sequence, padding
_REQUEST, _REPLY = 128, 129
_ICMP6_FILTER = 1
_ONLY_REPLIES = struct.pack(
    "=8I", *(0xFFFF_FFFF ^ (1 << _REPLY % 32 if word == _REPLY // 32 else 0) for word in range(8))
)


@dataclass(frozen=True)
class Sweep:
    """Seconds until each pair's first answer, and the pairs that never answered."""

    times: dict[Pair, float]
    silent: list[Pair]

    @property
    def slowest(self) -> float:
        return max(self.times.values(), default=0.0)

    def latest(self, count: int = 8) -> str:
        """Return the pairs that answered last, the very last first."""
        slowest = sorted(self.times.items(), key=lambda item: -item[1])[:count]
        return ", ".join(f"{near.name} to {far.name} after {seconds:.1f} s" for (near, far), seconds in slowest)

    def __str__(self) -> str:
        if self.silent:
            return f"{len(self.silent)} of {len(self.silent) + len(self.times)} pairs silent: {names(self.silent)}"
        return f"{len(self.times)} pairs in {self.slowest:.2f} s, half of them in {median(self.times.values()):.2f} s"


def names(pairs: Iterable[Pair], limit: int = 8) -> str:
    """Return pairs in words, the first few of them."""
    words = [f"{near.name} to {far.name}" for near, far in pairs]
    return ", ".join(words[:limit]) + (", ..." if len(words) > limit else "")


class Echoes:
    """Raw sockets on the hosts of some nodes. Nodes that hear of each other by name must have been `introduce`d."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._sockets = {node: _echo_socket(node) for node in nodes}
        self._by_address = {IPv6Address(node.address).packed: node for node in nodes}
        self._selector = selectors.DefaultSelector()
        for node, echo_socket in self._sockets.items():
            self._selector.register(echo_socket, selectors.EVENT_READ, node)
        self._round = os.getpid() & 0x7FFF

    def close(self) -> None:
        self._selector.close()
        for echo_socket in self._sockets.values():
            echo_socket.close()

    def sweep(self, pairs: Iterable[Pair], deadline: float, interval: float = 0.1) -> Sweep:
        """Send every pair an echo each `interval` seconds until it answers; only answers to these echoes count."""
        self._round = (self._round + 1) & 0xFFFF
        begin = time.monotonic()
        waiting, times = dict.fromkeys(pairs), dict[Pair, float]()
        number = 0
        while waiting and (now := time.monotonic()) < begin + deadline:
            for near, far in waiting:
                self._send(near, far, number)
            number += 1
            for pair in self._arrivals(now + interval):
                if pair in waiting:
                    del waiting[pair]
                    times[pair] = time.monotonic() - begin
                if not waiting:
                    break
        return Sweep(times, list(waiting))

    def all_answer(self, pairs: Iterable[Pair], deadline: float, interval: float = 0.1) -> Sweep:
        """As `sweep`, and raise `NotInTime` when a pair stays silent."""
        result = self.sweep(pairs, deadline, interval)
        if result.silent:
            raise NotInTime(f"after {deadline:g} s {result}")
        return result

    def lost(self, pairs: Iterable[Pair], rounds: int, interval: float = 0.25, grace: float = 2.0) -> dict[Pair, int]:
        """Send every pair `rounds` echoes whatever comes back; return which pairs lost some, and how many."""
        self._round = (self._round + 1) & 0xFFFF
        missing = dict.fromkeys(pairs, rounds)
        for number in range(rounds):
            begin = time.monotonic()
            for near, far in missing:
                self._send(near, far, number)
            for pair in self._arrivals(begin + (interval if number < rounds - 1 else grace)):
                missing[pair] -= 1
                if not any(missing.values()):
                    return {}
        return {pair: count for pair, count in missing.items() if count > 0}

    def _send(self, near: Node, far: Node, number: int) -> None:
        echo = _ECHO.pack(_REQUEST, 0, 0, self._round, number & 0xFFFF, b"")
        with suppress(OSError):  # no interface, no route, no room: an echo that gets no answer
            self._sockets[near].sendto(echo, (far.address, 0))

    def _arrivals(self, until: float) -> Iterator[Pair]:
        while (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                with suppress(OSError):
                    message, source = key.fileobj.recvfrom(256)  # type: ignore[union-attr]
                    far = self._by_address.get(IPv6Address(source[0]).packed)
                    if far is not None and _ECHO.unpack_from(message)[3] == self._round:
                        yield key.data, far


def _echo_socket(node: Node) -> socket.socket:
    with node.host.inside():
        raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    raw.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, _ONLY_REPLIES)
    raw.setblocking(False)
    return raw


@contextmanager
def echoes(nodes: Sequence[Node]) -> Iterator[Echoes]:
    sockets = Echoes(nodes)
    try:
        yield sockets
    finally:
        sockets.close()


def introduce(nodes: Sequence[Node]) -> None:
    """Ask every node's own responder for the name of every other, as its programs would; raises `NotInTime`."""
    for node in nodes:
        with node.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(2)
            asker.connect(("127.0.0.1", 53))
            for other in nodes:
                if other is not node and _look_up(asker, f"{other.npub}.fips") != other.address:
                    raise NotInTime(f"{node.name} does not resolve {other.npub}.fips\n{node.log_tail()}")


def _look_up(asker: socket.socket, name: str, attempts: int = 3) -> str | None:
    """Return the IPv6 address in the answer to an AAAA query."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    query = struct.pack("!6H", os.getpid() & 0xFFFF, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, 28, 1)
    for _ in range(attempts):
        with suppress(TimeoutError):
            asker.send(query)
            answer = asker.recv(1024)
            return str(IPv6Address(answer[-16:])) if answer[6:8] == b"\0\1" else None
    return None
