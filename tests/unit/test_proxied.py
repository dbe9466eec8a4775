"""Tor and Nym over a SOCKS5 server of our own: isolation, causes, waiting for the proxy (spec 04 sections 6 to 8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from zope.interface.verify import verifyObject

from meshnode.transports.interfaces import IConnectionTransport, ITransportDetails, TransportError
from meshnode.transports.nym import NymSettings, NymTransport
from meshnode.transports.proxied import ProxiedTransport
from meshnode.transports.registry import factory
from meshnode.transports.tor.settings import DirectoryService, OwnTor, TorSettings
from meshnode.transports.tor.transport import ONION_PATIENCE, TorTransport
from tests.unit.socks_rig import SocksServer
from tests.unit.stream_rig import MESSAGE1, JumpingReactor, Station, close_down, frame
from tests.unit.udp_rig import RecordingHost, log_lines

ONION = "a" * 56 + ".onion:8443"
NAME = "node.example.org:8443"


class Rig:
    """A proxy, a TCP listener behind it, and a transport that uses the proxy."""

    def __init__(self, reactor: JumpingReactor, kind: str = "tor", running: bool = True, **settings: Any) -> None:
        self.reactor = reactor
        self.proxy = SocksServer(reactor)
        self.proxy.start()
        self.behind = Station(reactor)
        self.proxy.routes = {ONION: self.behind.port, NAME: self.behind.port, "192.0.2.1:8443": self.behind.port}
        self.host = RecordingHost()
        if not running:
            self.proxy.stop()
        settings["socks5_addr"] = self.proxy.address
        self.transport: ProxiedTransport
        if kind == "tor":
            self.transport = TorTransport(1, None, TorSettings(**settings), self.host, reactor)
        else:
            self.transport = NymTransport(1, None, NymSettings(**settings), self.host, reactor)
        with log_lines():
            self.transport.start()
            reactor.turn()

    def connect(self, address: str) -> None:
        self.transport.connect(address)
        self.reactor.until(lambda: ("connected", address) in self.host.events, "connected")

    def failure(self, address: str) -> str:
        """Dial in vain; returns the cause."""
        self.transport.connect(address)
        self.reactor.until(lambda: any(event[:2] == ("failed", address) for event in self.host.events))
        (event,) = [event for event in self.host.events if event[:2] == ("failed", address)]
        self.host.events.remove(event)
        return str(event[2])

    def states(self) -> list[object]:
        return [event[1] for event in self.host.events if event[0] == "state"]


@pytest.fixture
def reactor() -> Iterator[JumpingReactor]:
    running = JumpingReactor()
    yield running
    close_down(running)


@pytest.mark.parametrize("kind", ["tor", "nym"])
def test_it_is_a_connection_transport(reactor: JumpingReactor, kind: str) -> None:
    rig = Rig(reactor, kind)
    verifyObject(IConnectionTransport, rig.transport)
    assert ITransportDetails.providedBy(rig.transport) == (kind == "tor")


@pytest.mark.parametrize("kind", ["tor", "nym"])
@pytest.mark.parametrize("address", [NAME, "192.0.2.1:8443"])
def test_frames_pass_both_ways_through_the_proxy(reactor: JumpingReactor, kind: str, address: str) -> None:
    rig = Rig(reactor, kind)
    rig.connect(address)
    frames = [frame(1400, number) for number in range(50)]
    rig.transport.send(address, frames)
    rig.transport.flush()
    reactor.until(lambda: len(rig.behind.host.frames) == 50)
    assert rig.behind.host.frames == frames
    (inbound,) = rig.behind.transport.connections()
    rig.behind.emit(inbound, [MESSAGE1])
    reactor.until(lambda: rig.host.frames == [MESSAGE1])
    assert rig.proxy.asked == [address]


def test_no_name_is_ever_looked_up_here(reactor: JumpingReactor) -> None:
    class NoQuestions:
        def resolveHostName(self, *arguments: object, **named: object) -> None:
            raise AssertionError(f"a name server was asked: {arguments}")

    rig = Rig(reactor)
    reactor.installNameResolver(NoQuestions())  # type: ignore[arg-type]
    for address in (ONION, NAME):
        rig.connect(address)
    assert rig.proxy.asked == [ONION, NAME]


def test_every_destination_has_circuits_of_its_own(reactor: JumpingReactor) -> None:
    rig = Rig(reactor)
    rig.connect(ONION)
    rig.connect(NAME)
    assert rig.proxy.passwords == [ONION, NAME]


def test_nym_offers_no_password(reactor: JumpingReactor) -> None:
    rig = Rig(reactor, "nym")
    rig.connect(NAME)
    assert rig.proxy.passwords == []


@pytest.mark.parametrize(
    ("code", "cause", "counter"),
    [
        (5, "connection refused", "connect_refused"),
        (1, "the proxy cannot reach it", "socks5_errors"),
        (0xF0, "the onion service has published no descriptor", "socks5_errors"),
    ],
)
def test_a_refusal_is_told_and_counted_as_what_it_is(
    reactor: JumpingReactor, code: int, cause: str, counter: str
) -> None:
    rig = Rig(reactor)
    rig.proxy.replies[ONION] = code
    assert rig.failure(ONION) == cause
    counted = {name: rig.transport.stats()[name] for name in ("connect_refused", "socks5_errors", "connect_timeouts")}
    assert counted == {"connect_refused": 0, "socks5_errors": 0, "connect_timeouts": 0, counter: 1}


def test_an_onion_without_an_answer_is_given_up_early_and_asked_anew(reactor: JumpingReactor) -> None:
    rig = Rig(reactor)
    rig.proxy.silent.add(ONION)
    rig.transport.connect(ONION)
    reactor.until(lambda: rig.proxy.asked)
    reactor.jump(ONION_PATIENCE + 1)
    reactor.until(lambda: rig.host.events)
    assert rig.host.events == [("failed", ONION, "no answer within 30 s")]
    assert rig.transport.stats()["connect_timeouts"] == 1
    reactor.until(lambda: not rig.proxy.streams, "the old request is given up")
    rig.proxy.silent.clear()
    rig.connect(ONION)
    assert rig.proxy.passwords == [ONION, f"{ONION}#1"], "the new request shares no circuit with the old one"


def test_a_slow_mixnet_is_waited_for(reactor: JumpingReactor) -> None:
    rig = Rig(reactor, "nym")
    rig.proxy.delay = 120
    rig.transport.connect(NAME)
    reactor.until(lambda: rig.proxy.asked)
    reactor.jump(119)
    assert rig.host.events == []
    reactor.jump(2)
    reactor.until(lambda: rig.host.events == [("connected", NAME)])


@pytest.mark.parametrize("kind", ["tor", "nym"])
def test_a_proxy_that_comes_later_is_waited_for(reactor: JumpingReactor, kind: str) -> None:
    rig = Rig(reactor, kind, running=False)
    reactor.until(lambda: rig.states() == ["down"])
    assert "connection refused; waiting for it" in str(rig.host.events[0][2])
    assert not rig.transport.can_dial(NAME)
    rig.proxy.start()
    reactor.jump(10.5)
    reactor.until(lambda: rig.states() == ["down", "up"])
    rig.connect(NAME)


def test_a_proxy_that_goes_away_is_noticed_by_the_next_dial_and_waited_for(reactor: JumpingReactor) -> None:
    rig = Rig(reactor)
    rig.connect(ONION)
    rig.proxy.stop()
    reactor.until(lambda: any(event[0] == "lost" for event in rig.host.events))
    assert rig.failure(ONION) == "the proxy cannot be reached: connection refused"
    reactor.until(lambda: rig.states() == ["down"])
    rig.proxy.start()
    reactor.jump(5.5)
    reactor.until(lambda: rig.states() == ["down", "up"])
    rig.host.events.clear()
    rig.connect(ONION)


def test_a_proxy_that_hangs_up_is_told(reactor: JumpingReactor) -> None:
    rig = Rig(reactor)
    rig.proxy.silent.add(ONION)
    rig.transport.connect(ONION)
    reactor.until(lambda: rig.proxy.asked)
    rig.proxy.streams[0].transport.abortConnection()
    reactor.until(lambda: rig.host.events)
    assert "the proxy hung up" in str(rig.host.events[0][2])


def test_nym_says_once_more_when_its_client_does_not_come(reactor: JumpingReactor) -> None:
    with log_lines() as lines:
        rig = Rig(reactor, "nym", running=False, startup_timeout_secs=20)
        reactor.until(lambda: rig.states() == ["down"])
        reactor.jump(21)
    assert any("still no nym-socks5-client" in line for line in lines)


@pytest.mark.parametrize(
    ("address", "dialled"),
    [
        (ONION, True),
        ("192.0.2.1:80", True),
        ("[2001:db8::1]:80", True),
        ("node.example.org:80", True),
        ("localhost:80", False),
        (f"{'a' * 56}.onion:0", False),
        (f"{'a' * 56}.onion:x", False),
        ("nonsense", False),
    ],
)
def test_tor_takes_onions_numbers_and_names_with_a_dot(reactor: JumpingReactor, address: str, dialled: bool) -> None:
    assert Rig(reactor).transport.can_dial(address) == dialled


# --- the onion service that Tor keeps


def test_the_onion_name_is_read_as_soon_as_tor_has_written_it(reactor: JumpingReactor, tmp_path: Any) -> None:
    file = tmp_path / "hostname"
    with log_lines() as lines:
        rig = Rig(
            reactor, mode="directory", directory_service=DirectoryService(str(file), "127.0.0.1:0"), advertised_port=1
        )
    details = rig.transport.details()  # type: ignore[attr-defined]
    assert details == {"tor_mode": "directory", "onion_address": None, "tor_monitoring": None}
    assert not rig.transport.accepts_connections
    assert any("no such file or directory; waiting for Tor to write it" in line for line in lines)
    file.write_text("not a name\n")
    reactor.jump(5.1)
    assert not rig.transport.accepts_connections
    file.write_text("b" * 56 + ".onion\n")
    reactor.jump(5.1)
    assert rig.transport.accepts_connections
    assert rig.transport.details()["onion_address"] == "b" * 56 + ".onion"  # type: ignore[attr-defined]
    assert rig.transport.local_address is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mode": "onion"}, "mode 'onion' is unknown; write one of socks5, control_port, directory"),
        ({"directory_service": DirectoryService()}, "directory_service requires mode 'directory', not 'socks5'"),
        ({"mode": "directory", "directory_service": DirectoryService("/x", "a.example:1")}, "is a name"),
        ({"mode": "directory", "own": OwnTor(launch=True)}, "write mode 'control_port'"),
        ({"own": OwnTor(launch=True, data_directory="/proc/nowhere")}, "cannot be used for a Tor of our own"),
        ({"socks5_addr": "nonsense"}, "expected ip:port"),
    ],
)
def test_a_bad_setting_is_one_clear_line(reactor: JumpingReactor, settings: dict[str, Any], words: str) -> None:
    transport = TorTransport(1, None, TorSettings(**settings), RecordingHost(), reactor)
    with pytest.raises(TransportError, match=words) as caught:
        transport.start()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["tor", "nym"])
def test_the_registry_makes_one_from_its_section(reactor: JumpingReactor, kind: str) -> None:
    class Section:
        mtu = 1300
        directory_service = None
        own = None

    transport = factory(kind).create(3, "backup", Section(), RecordingHost(), reactor)
    assert (transport.kind, transport.name, transport.mtu) == (kind, "backup", 1300)
