"""Tor's control port: who is trusted, what is read, what survives a restart (spec 04 section 7.5)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode.transports.tor.control import TorControl
from meshnode.transports.tor.onion import OnionKey
from meshnode.transports.tor.settings import OwnTor, TorSettings
from tests.unit.stream_rig import JumpingReactor, close_down
from tests.unit.tor_rig import COOKIE, PRIVATE_KEY, SERVICE, ControlPort


class Rig:
    """A control port and its supervisor."""

    def __init__(
        self, reactor: JumpingReactor, directory: Path, running: bool = True, key: Path | None = None, **settings: Any
    ) -> None:
        self.reactor = reactor
        self.tor = ControlPort(reactor)
        self.tor.start()
        self.cookie = directory / "cookie"
        self.cookie.write_bytes(COOKIE)
        if not running:
            self.tor.stop()
        self.troubles: list[str] = []
        settings = {"mode": "control_port", "cookie_path": str(self.cookie), "advertised_port": 443, **settings}
        self.settings = TorSettings(control_addr=self.tor.address, **settings)
        onion = {"onion_target": 12345, "onion_key": OnionKey(key, self.troubles.append)}
        offered = onion if self.settings.offers_onion else {}
        self.control = TorControl(
            self.settings,
            reactor,
            lambda: None,
            self.troubles.append,
            **offered,  # type: ignore[arg-type]
        )
        self.control.start()

    def ready(self) -> None:
        self.reactor.until(lambda: self.control.monitoring is not None, "monitoring")


@pytest.fixture
def reactor() -> Iterator[JumpingReactor]:
    running = JumpingReactor()
    yield running
    close_down(running)


def test_what_tor_says_about_itself_is_read(reactor: JumpingReactor, tmp_path: Path) -> None:
    rig = Rig(reactor, tmp_path)
    rig.ready()
    assert rig.control.monitoring is not None
    assert rig.control.monitoring.as_dict() == {
        "bootstrap": 100,
        "circuit_established": True,
        "traffic_read": 1234,
        "traffic_written": 567,
        "network_liveness": "up",
        "version": "0.4.9.11",
        "dormant": False,
    }
    rig.tor.info["traffic/read"] = "9999"
    reactor.jump(10.5)
    reactor.until(lambda: rig.control.monitoring is not None and rig.control.monitoring.traffic_read == 9999)
    rig.control.stop()
    reactor.until(lambda: not rig.tor.sessions)
    assert rig.troubles == []


def test_keys_that_this_tor_does_not_know_fall_back(reactor: JumpingReactor, tmp_path: Path) -> None:
    rig = Rig(reactor, tmp_path)
    rig.tor.info.clear()
    rig.ready()
    assert rig.control.monitoring is not None
    assert rig.control.monitoring.as_dict() == {
        "bootstrap": 0,
        "circuit_established": False,
        "traffic_read": 0,
        "traffic_written": 0,
        "network_liveness": "unknown",
        "version": "unknown",
        "dormant": False,
    }


def test_the_cookie_itself_is_never_sent(reactor: JumpingReactor, tmp_path: Path) -> None:
    rig = Rig(reactor, tmp_path)
    rig.ready()
    assert not [command for command in rig.tor.commands if COOKIE.hex() in command.lower()]
    rig.control.stop()


def test_a_stranger_on_the_control_port_is_found_out(reactor: JumpingReactor, tmp_path: Path) -> None:
    rig = Rig(reactor, tmp_path)
    rig.tor.knows = bytes(32)
    reactor.until(lambda: rig.troubles)
    assert rig.troubles == [f"whoever has the control port does not know the cookie in {rig.cookie}"]
    assert rig.tor.asked("AUTHENTICATE") == []


def test_a_password_is_quoted(reactor: JumpingReactor, tmp_path: Path) -> None:
    rig = Rig(reactor, tmp_path, control_auth='password:a"b\\c')
    rig.tor.password = 'a\\"b\\\\c'
    rig.ready()
    assert rig.tor.asked("AUTHENTICATE") == ['AUTHENTICATE "a\\"b\\\\c"']


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"control_auth": "password:wrong"}, "Tor answers: Authentication failed: Password did not match"),
        ({"control_auth": "nothing"}, "control_auth is none of"),
        ({"control_auth": "cookie:/nowhere/cookie"}, "/nowhere/cookie cannot be read: no such file or directory"),
        ({"control_auth": "cookie:/etc/hostname"}, "bytes and not 32"),
    ],
)
def test_what_is_wrong_is_said_once_and_tried_again(
    reactor: JumpingReactor, tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    rig = Rig(reactor, tmp_path, **settings)
    reactor.until(lambda: rig.troubles)
    sessions = len(rig.tor.commands)
    for _ in range(3):
        reactor.jump(10.5)
        reactor.turn(30)
    assert len(rig.troubles) == 1
    assert words in rig.troubles[0]
    assert rig.control.monitoring is None
    assert len(rig.tor.commands) >= sessions


def test_a_control_port_that_comes_later_is_found(reactor: JumpingReactor, tmp_path: Path) -> None:
    rig = Rig(reactor, tmp_path, running=False)
    reactor.until(lambda: rig.troubles)
    assert rig.troubles == [f"no Tor control port at {rig.tor.address}: connection refused"]
    rig.tor.start()
    reactor.jump(2)
    rig.ready()


def test_after_a_restart_of_tor_old_figures_are_gone_and_new_ones_come(reactor: JumpingReactor, tmp_path: Path) -> None:
    rig = Rig(reactor, tmp_path)
    rig.ready()
    rig.tor.stop()
    reactor.jump(10.5)
    reactor.until(lambda: rig.control.monitoring is None)
    rig.tor.start()
    reactor.jump(5.5)
    rig.ready()


@pytest.mark.parametrize("kind", ["ephemeral", "persistent"])
def test_an_onion_service_is_made_and_keeps_its_name_when_tor_restarts(
    reactor: JumpingReactor, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "keys" / "onion.key"
    rig = Rig(reactor, tmp_path, key=file if kind == "persistent" else None, own=OwnTor(onion_service=kind))
    reactor.until(lambda: rig.control.published)
    assert rig.control.onion_address == f"{SERVICE}.onion"
    rig.tor.stop()
    reactor.jump(10.5)
    reactor.until(lambda: rig.control.monitoring is None)
    rig.tor.start()
    reactor.jump(5.5)
    reactor.until(lambda: rig.control.published)
    assert rig.tor.asked("ADD_ONION") == [
        "ADD_ONION NEW:ED25519-V3 Port=443,127.0.0.1:12345",
        f"ADD_ONION {PRIVATE_KEY} Port=443,127.0.0.1:12345",
    ]
    if kind == "persistent":
        assert file.read_text() == f"{PRIVATE_KEY}\n"
        assert file.stat().st_mode & 0o777 == 0o600
    else:
        assert not file.exists()


def test_a_key_file_that_is_none_is_replaced_with_a_line_about_it(reactor: JumpingReactor, tmp_path: Path) -> None:
    file = tmp_path / "onion.key"
    file.write_text("gibberish\n")
    rig = Rig(reactor, tmp_path, key=file, own=OwnTor(onion_service="persistent"))
    reactor.until(lambda: rig.control.published)
    assert rig.troubles == [f"the onion key {file} is none; a new one will be made under another name"]
    assert file.read_text() == f"{PRIVATE_KEY}\n"
