"""Forwarding: servers in turn, bounds, and what is believed."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from meshnode.ipv6.dns_forward import Forwarder
from meshnode.ipv6.dns_message import parse_query
from tests.unit.test_dns_message import question

SERVERS = [("192.0.2.1", 53), ("2001:db8::1", 53)]
QUESTION = question("example.com")


class FakeSocket:
    """A connected socket that goes nowhere."""

    def __init__(self, server: tuple[str, int], refuses: bool) -> None:
        self.server = server
        self.sent: list[bytes] = []
        self.arrived: list[bytes | OSError] = []
        self.open = True
        self._refuses = refuses

    def send(self, message: bytes) -> None:
        if self._refuses:
            raise ConnectionRefusedError
        self.sent.append(message)

    def recv(self, size: int) -> bytes:
        if not self.arrived:
            raise BlockingIOError
        arrived = self.arrived.pop(0)
        if isinstance(arrived, OSError):
            raise arrived
        return arrived[:size]

    def fileno(self) -> int:
        return 3 if self.open else -1

    def close(self) -> None:
        self.open = False


class FakeReactor(Clock):
    """A clock that keeps who wants to read, and knows the sockets that were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets: list[FakeSocket] = []
        self.readers: list[Any] = []
        self.unreachable: set[str] = set()
        self.refusing: set[str] = set()

    def dial(self, server: tuple[str, int]) -> FakeSocket:
        if server[0] in self.unreachable:
            raise OSError(101, "Network is unreachable")
        self.sockets.append(FakeSocket(server, server[0] in self.refusing))
        return self.sockets[-1]

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        assert reader.fileno() != -1, "a reactor does not find what is closed"
        self.readers = [one for one in self.readers if one is not reader]

    def arrive(self, what: bytes | OSError) -> None:
        """Something comes for the question that was asked first of those that are open."""
        next(one for one in self.sockets if one.open).arrived.append(what)
        self.readers[0].doRead()


class Bench:
    """A forwarder with known ids, collecting what clients get."""

    def __init__(self, servers: list[tuple[str, int]] = SERVERS) -> None:
        self.reactor = FakeReactor()
        dial: Any = self.reactor.dial
        self.forwarder = Forwarder(servers, self.reactor, lambda size: b"\xab\xcd"[:size], dial=dial)
        self.replies: list[bytes] = []

    def ask(self, message: bytes = QUESTION, reply: Callable[[bytes], None] | None = None) -> None:
        self.forwarder.ask(message, parse_query(message), reply or self.replies.append)

    def open_sockets(self) -> list[FakeSocket]:
        sockets = [one for one in self.reactor.sockets if one.open]
        assert len(self.reactor.readers) == len(sockets)
        return sockets


def upstream_reply(tail: bytes = b"records", message: bytes = QUESTION, message_id: bytes = b"\xab\xcd") -> bytes:
    return message_id + b"\x81\x80" + message[4:] + tail


def test_a_question_goes_out_under_a_fresh_id_and_comes_back_under_the_clients() -> None:
    bench = Bench()
    bench.ask()
    (sock,) = bench.open_sockets()
    assert (sock.server, sock.sent) == (SERVERS[0], [b"\xab\xcd" + QUESTION[2:]])
    bench.reactor.arrive(upstream_reply())
    assert bench.replies == [upstream_reply(message_id=QUESTION[:2])]
    assert bench.open_sockets() == []
    assert bench.reactor.getDelayedCalls() == []


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        upstream_reply(message_id=b"\xab\xce"),
        upstream_reply(message=question("example.org")),
        b"\xab\xcd" + QUESTION[2:],
    ],
    ids=["empty", "other id", "other question", "not a response"],
)
def test_a_reply_to_something_else_is_ignored(reply: bytes) -> None:
    bench = Bench()
    bench.ask()
    bench.reactor.arrive(reply)
    assert bench.replies == []
    bench.reactor.arrive(upstream_reply())
    assert len(bench.replies) == 1


def test_a_silent_server_is_given_up_for_the_next_after_three_seconds() -> None:
    bench = Bench()
    bench.ask()
    bench.reactor.advance(2.9)
    assert len(bench.reactor.sockets) == 1
    bench.reactor.advance(0.2)
    assert [sock.server for sock in bench.open_sockets()] == [SERVERS[1]]


@pytest.mark.parametrize("tells_first", [False, True])
def test_a_refusing_server_is_given_up_at_once(tells_first: bool) -> None:
    """Some reactors let the descriptor find out, that of epoll takes it away and tells it."""
    bench = Bench()
    bench.ask()
    if tells_first:
        (reader,) = bench.reactor.readers
        reader.connectionLost(Failure(ConnectionDone()))
    else:
        bench.reactor.arrive(ConnectionRefusedError())
    assert [sock.server for sock in bench.open_sockets()] == [SERVERS[1]]


@pytest.mark.parametrize("trouble", ["unreachable", "refusing"])
def test_a_server_that_fails_while_being_asked_is_given_up_at_once(trouble: str) -> None:
    bench = Bench()
    getattr(bench.reactor, trouble).add(SERVERS[0][0])
    bench.ask()
    assert [sock.server for sock in bench.open_sockets()] == [SERVERS[1]]
    assert len(bench.reactor.getDelayedCalls()) == 1


def test_when_no_server_answers_the_client_is_told() -> None:
    bench = Bench()
    bench.ask()
    bench.reactor.pump([3.1, 3.1])
    assert [(reply[:2], reply[3] & 15) for reply in bench.replies] == [(QUESTION[:2], 2)]
    assert bench.forwarder.counters.failed == 1
    assert bench.open_sockets() == []


def test_without_servers_or_descriptors_the_client_is_told_at_once() -> None:
    bench = Bench([])
    bench.ask()
    starved = Bench()
    starved.reactor.unreachable.update(host for host, _ in SERVERS)
    starved.ask()
    assert [len(bench.replies), len(starved.replies)] == [1, 1]


def test_open_questions_are_bounded_and_the_rest_dropped() -> None:
    bench = Bench()
    for _ in range(140):
        bench.ask()
    assert len(bench.open_sockets()) == 128
    assert bench.forwarder.counters.dropped == 12
    bench.reactor.arrive(upstream_reply())
    bench.ask()
    assert len(bench.open_sockets()) == 128


def test_stopping_forgets_every_open_question() -> None:
    bench = Bench()
    bench.ask()
    bench.ask()
    bench.forwarder.stop()
    assert (bench.open_sockets(), bench.reactor.getDelayedCalls(), bench.replies) == ([], [], [])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_question_leaves_from_a_port_of_its_own_and_nothing_in_the_log(host: str) -> None:
    """A gateway asks the node for up to 32 names every ten seconds; each was two lines of Twisted's."""
    reactor, replies, said = FakeReactor(), [], []
    observer: Callable[[LogEvent], None] = said.append
    globalLogPublisher.addObserver(observer)
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.settimeout(5)
            server.bind((host, 0))
            forwarder = Forwarder([server.getsockname()[:2]], reactor, os.urandom)
            for _ in range(2):
                forwarder.ask(QUESTION, parse_query(QUESTION), replies.append)
            asked = [server.recvfrom(512) for _ in range(2)]
            for message, client in asked:
                server.sendto(upstream_reply(message_id=message[:2]), client)
            for reader in list(reactor.readers):
                select.select([reader], [], [], 5)
                reader.doRead()
    finally:
        globalLogPublisher.removeObserver(observer)
    assert len({client[1] for _, client in asked}) == 2
    assert replies == [upstream_reply(message_id=QUESTION[:2])] * 2
    assert (reactor.readers, said) == ([], [])
