"""The gateway inside a node follows the configuration while the node runs."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.testing import MemoryReactorClock

from meshnode.config.errors import ConfigError
from meshnode.config.load import Loaded, load
from meshnode.config.shown import differing, take_over
from meshnode.gateway.assembly import LocalNetwork
from meshnode.gateway.embedded import RETRY_SECS, EmbeddedGateway
from meshnode.gateway.listening import TCP, UDP, Listening
from meshnode.gateway.listening import check as check_listening
from meshnode.gateway.plan import GatewayError

GATEWAY = {"enabled": True, "pool": "fd01::/112", "lan_interface": "lan-that-is-not-there"}
BESIDE = (
    "gateway: this section is for the program meshnode-gateway; make it begin anew: systemctl reload meshnode-gateway"
)


class Rig:
    """A node's configuration file and the gateway that goes by it, on a reactor without sockets."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "fips.yaml"
        self.reactor = MemoryReactorClock()
        self.said: list[str] = []
        self.config = self.read().config
        self.gateway = EmbeddedGateway(self.config, self.reactor, lambda level, text: self.said.append(text))

    def read(self, gateway: dict[str, Any] | None = None, **extras: Any) -> Loaded:
        self.file.write_text(json.dumps({"gateway": gateway, "meshnode": {"gateway": {"embedded": True, **extras}}}))
        return load(self.file, {}, self.file.parent)

    def reload(self, loaded: Loaded) -> str | None:
        """What a node does with a file that it has read."""
        self.gateway.check(loaded.config, loaded.places)
        take_over(self.config, loaded.config, set(differing(self.config, loaded.config)))
        followed = ensureDeferred(self.gateway.follow(loaded.places))
        self.reactor.advance(0)
        assert followed.called
        problem: str | None = followed.result  # type: ignore[assignment]
        return problem

    def listening(self) -> list[tuple[str, int]]:
        return [(interface, port) for port, _, _, interface in self.reactor.tcpServers]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_without_a_wish_there_is_nothing(rig: Rig) -> None:
    assert rig.reload(rig.read()) is None
    assert (rig.listening(), rig.said) == ([], [])


def test_proxies_come_with_the_file_and_stay_as_long_as_they_are_in_it(rig: Rig) -> None:
    one, two = "127.9.0.1:1080", "[::1]:1080"
    assert rig.reload(rig.read(proxy=[one])) is None
    assert rig.listening() == [("127.9.0.1", 1080)]
    assert rig.reload(rig.read(proxy=[one], lan_interfaces=["guests"])) is None
    assert rig.listening() == [("127.9.0.1", 1080)], "nobody's connection ended for a key that is not theirs"
    assert rig.reload(rig.read(proxy=[one, two])) is None
    assert rig.listening()[1:] == [("127.9.0.1", 1080), ("::1", 1080)]


def test_what_this_machine_cannot_be_is_refused_before_anything_changes(rig: Rig) -> None:
    with pytest.raises(ConfigError, match=r"interface|forward|root|missing"):
        rig.reload(rig.read(GATEWAY))
    with pytest.raises(ConfigError, match=r"meshnode.gateway.proxy\[0\] is the name 'router'"):
        rig.reload(rig.read(proxy=["router:1080"]))
    assert rig.config.gateway is None
    assert rig.listening() == []


def test_a_proxy_where_this_machine_cannot_listen_is_refused_and_the_others_stay(rig: Rig) -> None:
    here, gone = "127.9.0.1:1080", "192.0.2.9:1080"
    assert rig.reload(rig.read(proxy=[here])) is None
    absent = r"no proxy on port 1080 of 192\.0\.2\.9: that address is not one of this machine; correct meshnode.*\[1\]"
    with pytest.raises(ConfigError, match=absent):
        rig.reload(rig.read(proxy=[here, gone]))
    with socket.create_server(("127.9.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = rf"no proxy on port {port} of 127\.9\.0\.1: another program uses that port; stop it or choose"
        with pytest.raises(ConfigError, match=taken):
            rig.reload(rig.read(proxy=[here, f"127.9.0.1:{port}"]))
    assert rig.listening() == [("127.9.0.1", 1080)]
    assert rig.config.meshnode.gateway.proxy == [here]


def test_an_address_next_to_one_that_is_held_is_not_taken_for_another_program(rig: Rig) -> None:
    with socket.create_server(("127.9.0.1", 0)) as ours:  # the reactor of this test listens to nothing itself
        port = ours.getsockname()[1]
        held = Listening("proxy", ("127.9.0.1", port), "proxy[0]")
        check_listening([held, Listening("proxy", ("0.0.0.0", port), "proxy[1]")], [held])
        with pytest.raises(GatewayError, match="another program uses that port"):
            check_listening([Listening("proxy", ("0.0.0.0", port), "proxy[1]")], [])


def test_a_place_for_names_that_is_taken_over_udp_alone_is_refused() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
        other.bind(("::1", 0))
        names = Listening("names", ("::1", other.getsockname()[1]), "gateway.dns.listen", (UDP, TCP))
        with pytest.raises(GatewayError, match=r"no names on port .* choose another port in gateway.dns.listen"):
            check_listening([names], [])


def test_a_gateway_that_cannot_start_is_no_reason_to_refuse_other_changes(rig: Rig) -> None:
    loaded = rig.read(GATEWAY)
    take_over(rig.config, loaded.config, {"gateway"})  # as when the node itself started with this file
    problem = rig.reload(rig.read(GATEWAY))
    assert problem is not None
    assert problem.startswith("no gateway for the local network yet, everything else works: ")


def test_one_that_cannot_start_is_tried_again_until_it_can(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut the node may be there before the address that its proxy listens at."""
    start, obstacles = LocalNetwork.start, ["no address", "no address", "no way"]

    async def late(network: LocalNetwork) -> None:
        if obstacles:
            raise GatewayError(obstacles.pop(0))
        await start(network)

    monkeypatch.setattr(LocalNetwork, "start", late)
    loaded = rig.read(proxy=["127.9.0.1:1080"])
    assert rig.reload(loaded) == "no gateway for the local network yet, everything else works: no address"
    rig.reactor.advance(RETRY_SECS)
    assert rig.said == [], "what is known is not said again"
    rig.reactor.advance(RETRY_SECS)
    assert rig.said == ["no gateway for the local network yet, everything else works: no way"]
    assert rig.listening() == []
    rig.reactor.advance(RETRY_SECS)
    assert rig.listening() == [("127.9.0.1", 1080)]
    assert not rig.reactor.getDelayedCalls()


def test_one_that_could_not_start_is_forgotten_when_the_node_stops(rig: Rig) -> None:
    loaded = rig.read(GATEWAY)
    take_over(rig.config, loaded.config, {"gateway"})
    assert rig.reload(loaded) is not None
    ensureDeferred(rig.gateway.stop())
    assert not rig.reactor.getDelayedCalls()


def test_who_runs_the_program_is_told_whom_else_to_tell(rig: Rig) -> None:
    assert rig.gateway.advice(["gateway"]) == []
    rig.config.meshnode.gateway.embedded = False
    assert rig.gateway.advice(["gateway", "peers"]) == [BESIDE]
    assert rig.gateway.advice(["peers"]) == []
