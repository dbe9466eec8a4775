"""Forwarding: servers in turn, bounds, and what is believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock

from meshnode.ipv6.dns_forward import Forwarder
from meshnode.ipv6.dns_message import parse_query
from tests.unit.test_dns_message import question

SERVERS = [("192.0.2.1", 53), ("2001:db8::1", 53)]
QUESTION = question("example.com")


class FakePort:
    """What listenUDP returns, and the transport the protocol sees."""

    def __init__(self, reactor: FakeReactor, protocol: DatagramProtocol, interface: str) -> None:
        self.reactor, self.protocol, self.interface = reactor, protocol, interface
        self.server: tuple[str, int] | None = None
        self.sent: list[bytes] = []
        self.open = True

    def connect(self, host: str, port: int) -> None:
        self.server = (host, port)
        if host in self.reactor.unreachable:
            raise OSError(101, "Network is unreachable")

    def write(self, datagram: bytes) -> None:
        self.sent.append(datagram)
        if self.server and self.server[0] in self.reactor.refusing:
            self.protocol.connectionRefused()

    def stopListening(self) -> None:
        self.open = False


class FakeReactor(Clock):
    """A clock whose UDP ports go nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[FakePort] = []
        self.unreachable: set[str] = set()
        self.refusing: set[str] = set()
        self.exhausted = False

    def listenUDP(self, port: int, protocol: DatagramProtocol, interface: str, size: int) -> FakePort:
        assert (port, size) == (0, 65535)
        if self.exhausted:
            raise CannotListenError(interface, port, OSError("too many open files"))
        self.ports.append(FakePort(self, protocol, interface))
        transport: Any = self.ports[-1]
        protocol.transport = transport
        protocol.startProtocol()
        return self.ports[-1]


class Bench:
    """A forwarder with known ids, collecting what clients get."""

    def __init__(self, servers: list[tuple[str, int]] = SERVERS) -> None:
        self.reactor = FakeReactor()
        self.forwarder = Forwarder(servers, self.reactor, lambda size: b"\xab\xcd"[:size])
        self.replies: list[bytes] = []

    def ask(self, message: bytes = QUESTION, reply: Callable[[bytes], None] | None = None) -> None:
        self.forwarder.ask(message, parse_query(message), reply or self.replies.append)

    def open_ports(self) -> list[FakePort]:
        return [port for port in self.reactor.ports if port.open]


def upstream_reply(tail: bytes = b"records", message: bytes = QUESTION, message_id: bytes = b"\xab\xcd") -> bytes:
    return message_id + b"\x81\x80" + message[4:] + tail


def test_a_question_goes_out_under_a_fresh_id_and_comes_back_under_the_clients() -> None:
    bench = Bench()
    bench.ask()
    (port,) = bench.open_ports()
    assert (port.server, port.interface, port.sent) == (SERVERS[0], "", [b"\xab\xcd" + QUESTION[2:]])
    port.protocol.datagramReceived(upstream_reply(), SERVERS[0])
    assert bench.replies == [upstream_reply(message_id=QUESTION[:2])]
    assert bench.open_ports() == []
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
    bench.reactor.ports[0].protocol.datagramReceived(reply, SERVERS[0])
    assert bench.replies == []
    bench.reactor.ports[0].protocol.datagramReceived(upstream_reply(), SERVERS[0])
    assert len(bench.replies) == 1


def test_a_silent_server_is_given_up_for_the_next_after_three_seconds() -> None:
    bench = Bench()
    bench.ask()
    bench.reactor.advance(2.9)
    assert len(bench.reactor.ports) == 1
    bench.reactor.advance(0.2)
    (port,) = bench.open_ports()
    assert (port.server, port.interface) == (SERVERS[1], "::")


def test_a_refusing_server_is_given_up_at_once() -> None:
    bench = Bench()
    bench.ask()
    bench.reactor.ports[0].protocol.connectionRefused()
    assert [port.server for port in bench.open_ports()] == [SERVERS[1]]


@pytest.mark.parametrize("trouble", ["unreachable", "refusing"])
def test_a_server_that_fails_while_being_asked_is_given_up_at_once(trouble: str) -> None:
    bench = Bench()
    getattr(bench.reactor, trouble).add(SERVERS[0][0])
    bench.ask()
    assert [port.server for port in bench.open_ports()] == [SERVERS[1]]
    assert len(bench.reactor.getDelayedCalls()) == 1


def test_when_no_server_answers_the_client_is_told() -> None:
    bench = Bench()
    bench.ask()
    bench.reactor.pump([3.1, 3.1])
    assert [(reply[:2], reply[3] & 15) for reply in bench.replies] == [(QUESTION[:2], 2)]
    assert bench.forwarder.counters.failed == 1
    assert bench.open_ports() == []


def test_without_servers_or_descriptors_the_client_is_told_at_once() -> None:
    bench = Bench([])
    bench.ask()
    starved = Bench()
    starved.reactor.exhausted = True
    starved.ask()
    assert [len(bench.replies), len(starved.replies)] == [1, 1]


def test_open_questions_are_bounded_and_the_rest_dropped() -> None:
    bench = Bench()
    for _ in range(140):
        bench.ask()
    assert len(bench.open_ports()) == 128
    assert bench.forwarder.counters.dropped == 12
    bench.reactor.ports[0].protocol.datagramReceived(upstream_reply(), SERVERS[0])
    bench.ask()
    assert len(bench.open_ports()) == 128


def test_stopping_forgets_every_open_question() -> None:
    bench = Bench()
    bench.ask()
    bench.ask()
    bench.forwarder.stop()
    assert (bench.open_ports(), bench.reactor.getDelayedCalls(), bench.replies) == ([], [], [])
