"""The responder's sockets, on the loopback: where it listens, whom it answers, how it behaves under load."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from random import Random

import pytest
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.testing import MemoryReactorClock

from meshnode.identity import Identity, PeerIdentity
from meshnode.ipv6.dns import DnsResponder, Endpoint, FipsZone, interface_index
from meshnode.ipv6.dns_forward import Forwarder, Reply
from meshnode.ipv6.dns_message import Query
from meshnode.ipv6.hosts import HostMap
from tests.unit.test_dns_message import question

PEER = Identity.generate(Random(3).randbytes).peer
LOOPBACK = interface_index("lo")


class RecordingForwarder(Forwarder):
    """Keeps the questions instead of sending them."""

    def __init__(self) -> None:
        super().__init__([], None, Random(0).randbytes)
        self.kept: list[tuple[bytes, Reply]] = []

    def ask(self, message: bytes, query: Query, reply: Reply) -> None:
        self.kept.append((message, reply))


class Bench:
    """A responder on real loopback sockets, read by hand instead of by a reactor."""

    def __init__(self, *listen: Endpoint, tun_index: int | None = None, forwarder: Forwarder | None = None) -> None:
        self.reactor = MemoryReactorClock()
        self.resolved: list[PeerIdentity] = []
        zone = FipsZone(HostMap(None, [("peer", PEER)]), 300, self.resolved.append)
        self.responder = DnsResponder(zone, listen, self.reactor, tun_index, forwarder)
        self.problems = self.responder.start()

    def readers(self) -> list[IReadDescriptor]:
        return list(self.reactor.getReaders())

    def wake(self) -> None:
        """Do what the reactor does for readable sockets, once."""
        ready, _, _ = select.select(self.readers(), [], [], 0)
        for reader in ready:
            reader.doRead()


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        yield sock


@pytest.fixture
def client6() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        yield sock


def answered(sock: socket.socket) -> bool:
    """Tell whether an answer lies waiting."""
    return bool(select.select([sock], [], [], 0)[0])


def test_a_name_is_answered_over_ipv4(client: socket.socket) -> None:
    bench = Bench(("127.0.0.1", 0))
    client.sendto(question("peer.fips"), bench.responder.bound[0])
    bench.wake()
    answer, source = client.recvfrom(4096)
    assert answer.endswith(PEER.ipv6)
    assert source == bench.responder.bound[0]
    assert bench.resolved == [PEER]
    bench.responder.stop()


def test_a_name_is_answered_over_ipv6_and_only_there(client6: socket.socket, client: socket.socket) -> None:
    bench = Bench(("::1", 0))
    port = bench.responder.bound[0][1]
    client6.sendto(question("peer.fips"), ("::1", port))
    bench.wake()
    assert client6.recvfrom(4096)[0].endswith(PEER.ipv6)
    client.connect(("127.0.0.1", port))
    client.send(question("peer.fips"))
    with pytest.raises(ConnectionRefusedError):
        client.recv(4096)
    bench.responder.stop()


def test_bound_to_any_address_both_families_are_answered_from_the_address_asked(
    client6: socket.socket, client: socket.socket
) -> None:
    bench = Bench(("::", 0))
    port = bench.responder.bound[0][1]
    client.sendto(question("peer.fips"), ("127.0.0.9", port))
    client6.sendto(question("peer.fips"), ("::1", port))
    bench.wake()
    assert client.recvfrom(4096)[1] == ("127.0.0.9", port)
    assert client6.recvfrom(4096)[1][:2] == ("::1", port)
    bench.responder.stop()


def test_bound_to_any_ipv4_address_the_answer_comes_from_the_address_asked(client: socket.socket) -> None:
    bench = Bench(("0.0.0.0", 0))
    port = bench.responder.bound[0][1]
    client.sendto(question("peer.fips"), ("127.0.0.7", port))
    bench.wake()
    assert client.recvfrom(4096)[1] == ("127.0.0.7", port)
    bench.responder.stop()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_questions_through_the_tun_are_dropped_silently(address: str) -> None:
    bench = Bench((address, 0), tun_index=LOOPBACK)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.sendto(question("peer.fips"), bench.responder.bound[0])
        bench.wake()
        assert not answered(sock)
        bench.responder.tun_index = None
        sock.sendto(question("peer.fips"), bench.responder.bound[0])
        bench.wake()
        assert answered(sock)
    assert bench.responder.counters.from_mesh == 1
    bench.responder.stop()


def test_junk_is_dropped_counted_and_does_not_close_the_socket(client: socket.socket) -> None:
    bench = Bench(("127.0.0.1", 0))
    for junk in (b"", b"x", bytes(4096), bytes(5000), question("peer.fips", flags=0x8100)):
        client.sendto(junk, bench.responder.bound[0])
    client.sendto(question("nobody.fips"), bench.responder.bound[0])
    bench.wake()
    assert client.recv(4096)[3] == 3
    assert not answered(client)
    assert bench.responder.counters.malformed == 5
    assert bench.responder.counters.not_found == 1
    bench.responder.stop()


def test_one_wake_up_takes_a_bounded_burst(client: socket.socket) -> None:
    bench = Bench(("127.0.0.1", 0))
    for _ in range(80):
        client.sendto(b"junk", bench.responder.bound[0])
    taken = []
    for _ in range(4):
        before = bench.responder.counters.malformed
        bench.wake()
        taken.append(bench.responder.counters.malformed - before)
    assert taken == [32, 32, 16, 0]
    bench.responder.stop()


def test_several_endpoints_are_served_at_once(client: socket.socket) -> None:
    bench = Bench(("127.0.0.1", 0), ("127.0.0.2", 0))
    for endpoint in bench.responder.bound:
        client.sendto(question("peer.fips"), endpoint)
    bench.wake()
    assert {client.recvfrom(4096)[1] for _ in range(2)} == set(bench.responder.bound)
    bench.responder.stop()


@pytest.mark.parametrize("address", ["localhost", "[::1]", "127.0.0.1:53", "", "::1 "])
def test_an_address_that_is_no_literal_is_one_line_and_no_responder(address: str) -> None:
    bench = Bench((address, 5354))
    assert len(bench.problems) == 1
    assert repr(address) in bench.problems[0]
    assert "such as ::1" in bench.problems[0]
    assert bench.responder.bound == []
    assert bench.readers() == []
    bench.responder.stop()


def test_a_port_in_use_is_one_line_and_the_other_endpoint_works() -> None:
    first = Bench(("127.0.0.1", 0))
    second = Bench(first.responder.bound[0], ("127.0.0.2", 0))
    assert len(second.problems) == 1
    assert "another program uses that port" in second.problems[0]
    assert [address for address, _ in second.responder.bound] == ["127.0.0.2"]
    first.responder.stop()
    second.responder.stop()


def test_an_address_of_another_machine_is_one_line() -> None:
    bench = Bench(("192.0.2.1", 0))
    assert len(bench.problems) == 1
    assert "not one of this machine" in bench.problems[0]


def test_stopping_closes_the_sockets_and_frees_the_port() -> None:
    bench = Bench(("127.0.0.1", 0))
    endpoint = bench.responder.bound[0]
    bench.responder.stop()
    bench.responder.stop()
    assert bench.readers() == []
    again = Bench(endpoint)
    assert again.problems == []
    again.responder.stop()


def test_questions_outside_the_zone_go_to_the_forwarder_and_their_answer_comes_back(client: socket.socket) -> None:
    forwarder = RecordingForwarder()
    bench = Bench(("127.0.0.1", 0), forwarder=forwarder)
    message = question("example.com")
    client.sendto(message, bench.responder.bound[0])
    client.sendto(question("fips"), bench.responder.bound[0])
    bench.wake()
    assert client.recv(4096)[3] == 3
    assert [kept for kept, _ in forwarder.kept] == [message]
    forwarder.kept[0][1](b"the answer")
    assert client.recv(4096) == b"the answer"
    assert bench.responder.counters.forwarded == 1
    bench.responder.stop()
    forwarder.kept[0][1](b"too late")
    assert bench.responder.counters.send_failed == 0


def test_an_answer_the_system_does_not_take_is_counted(client: socket.socket) -> None:
    forwarder = RecordingForwarder()
    bench = Bench(("127.0.0.1", 0), forwarder=forwarder)
    client.sendto(question("example.com"), bench.responder.bound[0])
    bench.wake()
    forwarder.kept[0][1](bytes(70000))
    assert bench.responder.counters.send_failed == 1
    bench.responder.stop()


def test_an_unknown_interface_has_no_index() -> None:
    assert interface_index("no-such-if0") is None
