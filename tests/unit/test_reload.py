"""Reading the configuration again: what takes effect, what waits, and that a broken file changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.task import Clock

from meshnode.access import AccessControl
from meshnode.carriers import Carriers
from meshnode.config.errors import ConfigError
from meshnode.config.keys import leaves
from meshnode.config.live import LIVE, is_live
from meshnode.config.load import Loaded, load, parse
from meshnode.config.schema import Config
from meshnode.config.shown import HIDDEN, shown
from meshnode.gateway.embedded import EmbeddedGateway
from meshnode.hooks import Hooks
from meshnode.identity import Identity, IdentityError, PeerIdentity
from meshnode.ipv6.hosts import HostMap
from meshnode.logs import OperatorLog
from meshnode.node.peering import PeerAddress, PeerConfig
from meshnode.reload import Reload, Running
from tests.unit.node_rig import MeshNet


def peers_of(config: Config) -> list[PeerConfig]:
    found = []
    for section in config.peers:
        try:
            identity = PeerIdentity.from_npub(section.npub)
        except IdentityError:
            continue
        addresses = [PeerAddress(address.transport, address.addr) for address in section.addresses]
        found.append(PeerConfig(identity, addresses, section.alias))
    return found


class Rig:
    """A node `a` whose settings come from a file, and two others it may know."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.file = directory, directory / "fips.yaml"
        self.net = MeshNet()
        self.a, self.b, self.c = (self.net.host(name) for name in "abc")
        for host in (self.b, self.c):
            host.start()
        self.settings: dict[str, Any] = {
            "meshnode": {"access": {f"{verb}_file": str(directory / verb) for verb in ("allow", "deny")}},
            "transports": {"udp": {"bind_addr": "127.0.0.1:0"}},
            "peers": [self.peer(self.b, "bee")],
        }

    def peer(self, host: Any, alias: str, address: str | None = None) -> dict[str, Any]:
        endpoint = {"transport": "memory", "addr": address or host.name}
        return {"npub": host.identity.npub, "alias": alias, "addresses": [endpoint]}

    def write(self, **changes: Any) -> None:
        self.file.write_text(json.dumps({**self.settings, **changes}))

    def read(self) -> Loaded:
        return load(self.file, {}, self.directory)

    def start(self) -> Rig:
        self.write()
        config = self.read().config
        config.node.identity.nsec = self.a.identity.nsec
        self.log = OperatorLog("info", {}, self.net.clock.seconds)
        self.hosts = HostMap(None, [("bee", self.b.identity.peer)])
        files = config.meshnode.access
        self.lists = AccessControl(
            Path(files.allow_file),
            Path(files.deny_file),
            self.hosts,
            self.net.clock.seconds,
            lambda: 0.0,
            lambda *_: None,
        )
        self.hooks = Hooks(self.a.node.events, Clock(), lambda text: None)
        self.problems: list[str] = []
        carriers = Carriers(self.a.node, config, {}, reactor, Path(), self.problems.append, self.problems.append)
        self.gateway = EmbeddedGateway(config, reactor, lambda level, text: self.problems.append(text))
        running = Running(
            config, self.a.node, self.log, self.lists, self.hosts, self.hooks, carriers, self.gateway, peers_of
        )
        self.config = config
        self.reload = Reload(running, self.read)
        self.a.node.start(peers_of(config))
        self.net.run(2)
        return self

    def connected(self) -> set[str]:
        addresses = {host.identity.node_addr: host.name for host in self.net.hosts}
        return {addresses[address] for address in self.a.node.links.peers}


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path).start()


def test_the_same_file_changes_nothing(rig: Rig) -> None:
    assert rig.reload() == {"applied": [], "needs_restart": [], "warnings": []}
    assert rig.connected() == {"b"}


def test_a_new_peer_is_dialled_and_named(rig: Rig) -> None:
    rig.write(peers=[rig.peer(rig.b, "bee"), rig.peer(rig.c, "sea")])
    assert rig.reload()["applied"] == ["peers"]
    rig.net.run(3)
    assert rig.connected() == {"b", "c"}
    assert rig.hosts.lookup("sea") == rig.c.identity.peer
    assert rig.a.node.names.display(rig.c.identity.node_addr) == "sea"


def test_a_peer_that_is_gone_from_the_file_is_let_go_and_not_dialled_again(rig: Rig) -> None:
    rig.write(peers=[])
    rig.reload()
    rig.net.run(60)
    assert rig.connected() == set()
    assert rig.hosts.lookup("bee") is None


def test_a_peer_that_dialled_us_may_stay_when_it_leaves_the_file(rig: Rig) -> None:
    rig.b.node.connect(PeerConfig(rig.a.identity.peer, [PeerAddress("memory", "a")]))
    rig.write(peers=[])
    rig.reload()
    rig.net.run(3)
    rig.b.node.connect(PeerConfig(rig.a.identity.peer, [PeerAddress("memory", "a")]))
    rig.net.run(3)
    assert rig.connected() == {"b"}
    rig.write(peers=[rig.peer(rig.b, "bee")])
    rig.reload()
    rig.write(peers=[])
    rig.reload()
    rig.net.run(3)
    assert rig.connected() == {"b"}


def test_another_address_is_used_at_the_next_dial(rig: Rig) -> None:
    rig.write(peers=[rig.peer(rig.b, "bee"), rig.peer(rig.c, "sea", "nowhere")])
    rig.reload()
    rig.net.run(5)
    assert rig.connected() == {"b"}
    rig.write(peers=[rig.peer(rig.b, "bee"), rig.peer(rig.c, "sea")])
    rig.reload()
    rig.net.run(60)
    assert rig.connected() == {"b", "c"}


def test_limits_levels_and_lists_take_effect(rig: Rig, tmp_path: Path) -> None:
    rig.write(
        node={"limits": {"max_peers": 7, "max_pending_inbound": 9}, "log_level": "debug", "retry": {"max_retries": 2}},
        meshnode={"access": {"deny_file": str(tmp_path / "other")}, "log": {"levels": {"link": "error"}}},
    )
    answer = rig.reload()
    assert set(answer["applied"]) == {
        "node.limits.max_peers",
        "node.limits.max_pending_inbound",
        "node.log_level",
        "node.retry.max_retries",
        "meshnode.access.allow_file",
        "meshnode.access.deny_file",
        "meshnode.log.levels.link",
    }
    assert answer["needs_restart"] == []
    settings = rig.a.node.settings
    assert (settings.limits.max_peers, settings.retry.max_retries) == (7, 2)
    assert rig.a.node.links._table.candidates.limit == 9
    assert (rig.log.level, rig.log.levels) == ("debug", {"link": "error"})
    assert rig.lists.status()["deny_file"] == str(tmp_path / "other")
    assert rig.lists.refresh()


def test_what_needs_a_restart_is_named_until_the_file_is_changed_back(rig: Rig) -> None:
    for _ in range(2):
        rig.write(tun={"mtu": 1300}, node={"tick_interval_secs": 3})
        assert rig.reload()["needs_restart"] == ["node.tick_interval_secs", "tun.mtu"]
    rig.write()
    assert rig.reload()["needs_restart"] == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"node": {"limits": {"max_peers": "many"}}}, "node.limits.max_peers"),
        ({"node": {"rekey": {"after_secs": 3}}, "peers": []}, "node.rekey.after_secs"),
        ({"node": {"identity": {"nsec": "nonsense"}}, "peers": []}, "identity error"),
        ({"meshnode": {"hooks": {"on_event": "/no/such/program"}}, "peers": []}, "not a program"),
        ({"meshnode": {"hooks": {"on_event": "true", "events": ["x"]}}, "peers": []}, "there is no event 'x'"),
        ({"transports": {}, "peers": []}, "no transport would be left"),
        ({"transports": {"udp": {"bind_addr": "0.0.0.0:99999"}}, "peers": []}, "udp.bind_addr is `0.0.0.0:99999`"),
    ],
)
def test_a_file_that_cannot_be_used_changes_nothing(rig: Rig, changes: dict[str, Any], reason: str) -> None:
    before = shown(rig.config)
    rig.write(**changes)
    with pytest.raises(ConfigError, match=reason):
        rig.reload()
    rig.net.run(3)
    assert shown(rig.config) == before
    assert rig.connected() == {"b"}
    assert [record.event.KIND for record in rig.a.node.events.since(0)][-1] == "reload_refused"


def test_a_file_that_is_no_yaml_or_gone_changes_nothing(rig: Rig) -> None:
    rig.file.write_text("peers: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        rig.reload()
    rig.file.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        rig.reload()
    assert rig.connected() == {"b"}


def test_transports_come_change_and_go(rig: Rig) -> None:
    rig.write(transports={"udp": {"one": {"bind_addr": "127.0.0.1:0"}, "two": {"bind_addr": "127.0.0.1:0"}}})
    assert rig.reload()["applied"] == ["transports.udp"]
    first, second = udp_of(rig)
    other = {"bind_addr": "127.0.0.1:0", "mtu": 1400}
    rig.write(transports={"udp": {"one": {"bind_addr": "127.0.0.1:0"}, "two": other}})
    rig.reload()
    assert udp_of(rig)[0] is first
    third = udp_of(rig)[1]
    assert (second.state, third.state, third.mtu, third.name) == ("down", "up", 1400, "two")
    assert third.transport_id > second.transport_id
    rig.write()
    rig.reload()
    (last,) = udp_of(rig)
    assert (first.state, third.state, last.state, last.name) == ("down", "down", "up", None)
    last.stop()
    assert rig.problems == []
    assert rig.connected() == {"b"}


def test_one_of_several_transports_that_cannot_start_is_told(rig: Rig) -> None:
    bad = {"one": {"bind_addr": "127.0.0.1:0"}, "two": {"bind_addr": "127.0.0.1:99999"}}
    rig.write(transports={"udp": bad})
    answer = rig.reload()
    assert answer["applied"] == ["transports.udp"]
    assert [text.split(",")[0] for text in answer["warnings"]] == ["transports.udp.two.bind_addr is `127.0.0.1:99999`"]
    (one,) = [transport for transport in udp_of(rig) if transport.state == "up"]
    one.stop()


def udp_of(rig: Rig) -> list[Any]:
    return [transport for transport in rig.a.node.transports if transport.kind == "udp"]


def test_a_transport_of_a_plug_in_waits_for_a_restart(rig: Rig) -> None:
    udp = rig.settings["transports"]["udp"]
    for section in ({"wings": 2}, {"wings": 4}):
        rig.write(transports={"udp": udp, "pigeon": section})
        assert rig.reload()["needs_restart"] == ["transports.pigeon"]
    rig.write()
    assert rig.reload()["needs_restart"] == []


def test_peers_of_a_transport_that_goes_are_told_and_looked_for_elsewhere(rig: Rig) -> None:
    node = rig.a.node
    node.run(lambda now: node.links.leave_transport(rig.a.transport.transport_id, "gone", now))
    rig.net.run(0.1)
    down = [record.event for record in rig.b.node.events.since(0) if record.event.KIND == "peer_down"]
    assert down[0].values()["reason"] == "disconnected by peer (configuration_change)"
    rig.net.run(5)
    assert rig.connected() == {"b"}


def test_the_key_in_use_is_no_change_in_whatever_form_the_file_has_it(rig: Rig) -> None:
    for nsec in (rig.a.identity.nsec, rig.a.identity.secret.hex()):
        rig.write(node={"identity": {"nsec": nsec}})
        assert rig.reload()["needs_restart"] == []


def test_another_key_waits_for_a_restart_and_is_not_shown(rig: Rig) -> None:
    other = Identity.parse("11" * 32)
    rig.write(node={"identity": {"nsec": other.nsec}})
    answer = rig.reload()
    assert answer["needs_restart"] == ["node.identity.nsec"]
    assert other.nsec not in f"{answer}{[record.as_dict() for record in rig.a.node.events.since(0)]}"


# -- which keys, and how a configuration is shown


def test_every_live_key_is_a_key_of_the_file() -> None:
    paths = [path for *_, path, _ in leaves(Config())]
    for live in LIVE:
        assert any(path == live or path.startswith(f"{live}.") for path in paths), live
    assert is_live("node.limits.max_peers")
    assert not is_live("node.limitsx")


def test_no_secret_is_shown() -> None:
    secret = Identity.parse("22" * 32)
    text = f"node: {{identity: {{nsec: {secret.nsec}}}}}\npeers: [{{npub: {secret.nsec}, addresses: []}}]\n"
    config, _warnings = parse(text)
    values = shown(config)
    assert values["node.identity.nsec"] == HIDDEN
    assert values["peers"][0]["npub"] == HIDDEN
    assert secret.nsec not in json.dumps(values)


def test_settings_of_transports_are_shown_one_by_one() -> None:
    config, _warnings = parse("transports: {udp: {main: {mtu: 1400}, lab: {bind_addr: '[::1]:1'}}}")
    assert shown(config, all_keys=False) == {"transports.udp.main.mtu": 1400, "transports.udp.lab.bind_addr": "[::1]:1"}
