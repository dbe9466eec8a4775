"""Nodes that meet over a private Tor network: onion services of all kinds, a Tor that goes away, no leaked question."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.net import reference
from tests.rigs import tor, traffic
from tests.rigs.examples import Example
from tests.rigs.hosts import Bridge, Host
from tests.rigs.labs import Lab
from tests.rigs.nodes import Node, Program
from tests.rigs.tor import TorClient, TorNetwork
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net

ONION_PORT = 8443
HUB = "10.98.0.1"


@dataclass
class OnionLab:
    """A Tor network and two hosts with a Tor each; the one of `service` also keeps an onion service."""

    lab: Lab
    network: TorNetwork
    service: TorClient
    dialler: TorClient

    def node(self, name: str, client: TorClient, program: Program | None = None, **tor_settings: Any) -> Node:
        node = self.lab.node(f"{name}{len(self.lab.nodes)}", client.host, program)
        node.carries(tor={"socks5_addr": "127.0.0.1:9050", **tor_settings})
        node.settings["dns"]["enabled"] = False
        return node

    def serving(self, program: Program | None = None) -> Node:
        """A node behind the onion service that Tor keeps."""
        service = {"hostname_file": str(self.service.hostname_file), "bind_addr": f"127.0.0.1:{ONION_PORT}"}
        return self.node(
            "service",
            self.service,
            program,
            mode="directory",
            directory_service=service,
            advertised_port=ONION_PORT,
            control_addr=str(self.service.control_socket),
            control_auth=f"cookie:{self.service.cookie}",
        )

    def offering(self, kind: str) -> Node:
        """A node that has its onion service made through the control port."""
        node = self.node(
            "service",
            self.service,
            mode="control_port",
            advertised_port=ONION_PORT,
            control_addr=str(self.service.control_socket),
            cookie_path=str(self.service.cookie),
        )
        node.settings["meshnode"] = {"tor": {"onion_service": kind}}
        return node

    def dialling(self, program: Program | None = None) -> Node:
        return self.node("dialler", self.dialler, program)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as laboratory:
        yield laboratory


@pytest.fixture(scope="module")
def onions(lab: Lab, request: pytest.FixtureRequest) -> OnionLab:
    missing = tor.missing()
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"onion tests need these programs: {', '.join(missing)} (Debian package tor)")
    hub = lab.host("hub")
    bridge = Bridge(hub, "10.98.0")
    hub.ip(f"addr add {HUB}/24 dev br0")
    hosts = [lab.host(name) for name in ("onion", "caller")]
    for host in hosts:
        bridge.join(host)
    network = TorNetwork(lab.directory / "tor", hub, HUB)
    service = network.client(hosts[0], ONION_PORT, f"127.0.0.1:{ONION_PORT}")
    dialler = network.client(hosts[1])
    network.wait_ready()
    wait_until(lambda: dialler.reaches(service.hostname, ONION_PORT), 60, "the onion service is found", interval=1.0)
    return OnionLab(lab, network, service, dialler)


def ended(*nodes: Node) -> None:
    for node in nodes:
        if node.process is not None and node.process.poll() is None:
            node.stop()


def link(service: Node, dialler: Node, onion: str, within: float = 60.0) -> float:
    """Let `dialler` dial `service` at an onion address; returns how long it took from the start of the dialler."""
    dialler.dials(service, onion, ONION_PORT, "tor")
    begin = time.monotonic()
    dialler.start()
    dialler.wait_ready(30)
    dialler.wait_connected(service, deadline=within)
    return time.monotonic() - begin


def answers(near: Node, far: Node) -> None:
    """Echoes come back, the first of them once a session is there, which takes several round trips through Tor."""
    traffic.first_echo(near.host, far.address, 30)
    assert len(traffic.ping(near.host, far.address)) == 3


def onion_of(node: Node) -> str:
    return str(node.transport("tor").get("onion_address", ""))


class QuestionWatch:
    """Takes every question that a host asks its name server."""

    def __init__(self, host: Host) -> None:
        self.socket = host.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        self.socket.setblocking(False)

    def questions(self) -> list[bytes]:
        found = []
        try:
            while True:
                found.append(self.socket.recv(2048))
        except BlockingIOError:
            return found


def test_two_nodes_meet_through_an_onion_service_that_tor_keeps(
    onions: OnionLab, measured: Callable[[str], None]
) -> None:
    service, dialler = onions.serving(), onions.dialling()
    watch = QuestionWatch(onions.dialler.host)
    service.start()
    service.wait_ready(30)
    try:
        measured(f"linked {link(service, dialler, onions.service.hostname):.1f} s after the dialler's start")
        echoes = traffic.ping(dialler.host, service.address, count=5)
        measured(f"echo {sum(echo.milliseconds for echo in echoes) / len(echoes):.0f} ms")
        moved = traffic.transfer(dialler.host, service.host, service.address, 2_000_000)
        measured(f"2 MB in {moved.seconds:.1f} s")
        assert moved.intact
        row = service.transport("tor")
        assert (row["tor_mode"], row["onion_address"]) == ("directory", onions.service.hostname)
        assert row["tor_monitoring"]["bootstrap"] == 100
        assert row["tor_monitoring"]["circuit_established"] is True
        assert row["stats"]["pool_inbound"] == 1
        assert "tor_monitoring" not in dialler.transport("tor")
        assert watch.questions() == []
    finally:
        watch.socket.close()
        ended(dialler, service)


def test_an_onion_service_made_through_the_control_port_keeps_its_name(
    onions: OnionLab, measured: Callable[[str], None]
) -> None:
    service, dialler = onions.offering("persistent"), onions.dialling()
    service.start()
    service.wait_ready(30)
    try:
        begin = time.monotonic()
        wait_until(lambda: onion_of(service), 40, "the onion service is published")
        measured(f"published after {time.monotonic() - begin:.1f} s")
        onion = onion_of(service)
        assert onion != onions.service.hostname
        key = service.directory / "fips.onion.key"
        assert key.stat().st_mode & 0o777 == 0o600
        measured(f"linked {link(service, dialler, onion):.1f} s after the dialler's start")
        answers(dialler, service)
        service.stop()
        service.start()
        service.wait_ready(30)
        wait_until(lambda: onion_of(service) == onion, 40, "the same name is published again")
    finally:
        ended(dialler, service)


def test_a_tor_that_restarts_takes_the_link_with_it_for_moments(
    onions: OnionLab, measured: Callable[[str], None]
) -> None:
    """The dialler's Tor goes: its proxy is noticed to be gone and back, the control port of the other is untouched."""
    service, dialler = onions.serving(), onions.dialling()
    service.start()
    service.wait_ready(30)
    try:
        link(service, dialler, onions.service.hostname)
        with traffic.pinging(dialler.host, service.address, interval=0.2) as echoes:
            echoes.first(10)
            onions.dialler.stop()
            wait_until(lambda: dialler.transport("tor")["state"] == "down", 10, "the proxy is known to be gone")
            restarted = time.time()
            onions.dialler.start()
            seconds = echoes.reply_after(restarted, 60).at - restarted
        measured(f"{seconds:.1f} s after Tor's start")
        assert dialler.transport("tor")["state"] == "up"
        assert "waiting for it" in dialler.log()
    finally:
        ended(dialler, service)


def test_the_services_tor_restarts_and_its_control_port_is_opened_again(
    onions: OnionLab, is_long: bool, measured: Callable[[str], None]
) -> None:
    if not is_long:
        pytest.skip("takes a minute: set MESHNODE_LONG=1")
    service, dialler = onions.serving(), onions.dialling()
    service.start()
    service.wait_ready(30)
    try:
        link(service, dialler, onions.service.hostname)
        with traffic.pinging(dialler.host, service.address, interval=0.2) as echoes:
            echoes.first(10)
            onions.service.stop()
            wait_until(lambda: "tor_monitoring" not in service.transport("tor"), 12, "old figures are not shown")
            restarted = time.time()
            onions.service.start()
            wait_until(
                lambda: service.transport("tor").get("tor_monitoring", {}).get("bootstrap") == 100,
                60,
                "the control port is read again",
            )
            seconds = echoes.reply_after(restarted, 90).at - restarted
        measured(f"{seconds:.1f} s after Tor's start")
    finally:
        ended(dialler, service)


def test_a_port_that_the_service_does_not_map_is_refused_by_name(onions: OnionLab) -> None:
    service, dialler = onions.serving(), onions.dialling()
    dialler.dials(service, onions.service.hostname, 4444, "tor")
    dialler.start()
    dialler.wait_ready(30)
    try:
        wait_until(lambda: dialler.transport("tor")["stats"]["connect_refused"] >= 1, 40, "the refusal is counted")
        assert "failed: connection refused" in dialler.log()
        assert dialler.transport("tor")["stats"]["socks5_errors"] == 0
    finally:
        ended(dialler)


def test_what_is_missing_at_the_start_is_waited_for(onions: OnionLab) -> None:
    """No proxy, no control port, a wrong password: each is said in one line, and nothing of it ends the node."""
    node = onions.node(
        "early",
        onions.dialler,
        socks5_addr="127.0.0.1:9999",
        mode="control_port",
        control_addr="127.0.0.1:9051",
        control_auth="password:wrong",
    )
    node.start()
    node.wait_ready(30)
    try:
        wait_until(lambda: node.transport("tor")["state"] == "down", 5, "the missing proxy is noticed")
        wait_until(
            lambda: "tor: Tor answers: Authentication failed: Password did not match" in node.log(),
            5,
            "the wrong password is told",
        )
        assert "no proxy at 127.0.0.1:9999: connection refused; waiting for it" in node.log()
        assert node.transport("tor")["stats"]["control_errors"] >= 1
    finally:
        ended(node)


def test_a_tor_of_our_own_is_started_and_goes_with_the_node(
    onions: OnionLab, is_long: bool, measured: Callable[[str], None]
) -> None:
    """It needs neither of the Tors around it, and offers an onion service that the other node reaches."""
    if not is_long:
        pytest.skip("takes a minute: set MESHNODE_LONG=1")
    service, dialler = onions.node("own", onions.service), onions.dialling()
    service.carries(tor={"mode": "control_port", "advertised_port": ONION_PORT})
    own = {"launch": True, "onion_service": "ephemeral", "torrc": str(onions.network.own_tor())}
    service.settings["meshnode"] = {"tor": own}
    begin = time.monotonic()
    service.start()
    service.wait_ready(30)
    try:
        wait_until(lambda: onion_of(service), 60, "the onion service is published")
        measured(f"published {time.monotonic() - begin:.1f} s after the start of the node")
        link(service, dialler, onion_of(service))
        answers(dialler, service)
        torrc = service.directory / "tor" / "torrc"
        assert _runs(service.host, str(torrc))
        service.kill()
        wait_until(lambda: not _runs(service.host, str(torrc)), 30, "its Tor has ended with it", interval=0.5)
    finally:
        ended(dialler, service)


def _runs(host: Host, argument: str) -> bool:
    return host.run(["pgrep", "-f", argument]).returncode == 0


@pytest.mark.interop
@pytest.mark.parametrize("role", ["we dial", "they dial"])
def test_links_with_the_reference_in_both_roles(onions: OnionLab, role: str, measured: Callable[[str], None]) -> None:
    theirs = reference.program()
    service = onions.serving(theirs if role == "we dial" else None)
    dialler = onions.dialling(theirs if role == "they dial" else None)
    service.start()
    service.wait_ready(30)
    try:
        measured(f"linked {link(service, dialler, onions.service.hostname):.1f} s after the dialler's start")
        answers(dialler, service)
        answers(service, dialler)
    finally:
        ended(dialler, service)


@pytest.mark.interop
def test_the_reference_reaches_an_onion_service_that_we_made(onions: OnionLab, measured: Callable[[str], None]) -> None:
    service, dialler = onions.offering("ephemeral"), onions.dialling(reference.program())
    service.start()
    service.wait_ready(30)
    try:
        wait_until(lambda: onion_of(service), 40, "the onion service is published")
        measured(f"linked {link(service, dialler, onion_of(service)):.1f} s after the dialler's start")
        answers(dialler, service)
    finally:
        ended(dialler, service)


# -- the example


def test_the_example_is_reached_at_the_onion_address_it_made(onions: OnionLab) -> None:
    places = {"control": onions.service.control_socket, "control.authcookie": onions.service.cookie}
    onions.service.host.run(["mkdir", "-p", "/run/tor"])
    for name, file in places.items():
        onions.service.host.run(["ln", "-s", str(file), f"/run/tor/{name}"])
    example = Example("tor-only", onions.service.host)
    onion = wait_until(lambda: _onion_of(example), 60, "the example has an onion address", interval=1.0)
    dialler = onions.dialling()
    endpoint = {"transport": "tor", "addr": f"{onion}:{ONION_PORT}"}
    dialler.settings["peers"].append({"npub": example.npub, "addresses": [endpoint]})
    dialler.start()
    dialler.wait_ready(30)
    wait_until(lambda: example.npub in dialler.peers(), 90, "the example is reached", interval=0.5)
    traffic.first_echo(dialler.host, example.address, 30)
    assert [row["type"] for row in example.show("transports")["transports"]] == ["tor"]
    ended(dialler)


def _onion_of(example: Example) -> str:
    rows = example.show("transports").get("transports", [])
    return next((row["onion_address"] for row in rows if row.get("onion_address")), "")
