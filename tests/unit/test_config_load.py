"""Which files are read, how they combine, what is said about keys, and what the objects look like."""

from __future__ import annotations

import dataclasses
import math
import os
from importlib import import_module
from pathlib import Path

import pytest

from meshnode.config.errors import ConfigError
from meshnode.config.keys import Block, Section
from meshnode.config.load import LARGEST_FILE, Loaded, load, parse
from meshnode.config.schema import Config
from meshnode.config.transport_sections import EthernetSection, UdpSection
from meshnode.config.validate import validate
from meshnode.mesh.settings import MeshSettings

NSEC = "nsec1akmjfnywu8eyq5807v8nkvmm2js4dugs25jyt77el6u88vsmsuwqcyekmx"
NPUB = "npub1yutuesdf95tgktcm7zrrgxmc030fw5af6usegterjv6wa9zgpjus7fad5d"


def refusal(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(text, "t.yaml")
    return caught.value


class Files:
    """A system directory, a home and a working directory with configuration files in them."""

    def __init__(self, root: Path) -> None:
        self.system, self.home, self.cwd = root / "etc", root / "home", root / "cwd"
        for directory in (self.system, self.home, self.cwd):
            directory.mkdir()
        self.environment = {"HOME": str(self.home)}

    def load(self, path: str | None = None) -> Loaded:
        return load(Path(path) if path else None, self.environment, self.cwd, system_directory=self.system)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


# --- the files that go with a configuration


def test_companions_follow_a_configuration_in_our_own_directory_unless_it_names_them(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = files.cwd / "fips.yaml"
    file.write_text("meshnode: {access: {deny_file: /srv/deny}}\n")
    own = files.load(str(file)).config.meshnode
    assert (own.access.allow_file, own.firewall.rules_dir) == ("/etc/fips/peers.allow", "/etc/fips/fips.d")
    module = import_module("meshnode.config.load")
    monkeypatch.setattr(module, "companion_directory", lambda paths: Path("/etc/meshnode"))
    own = files.load(str(file)).config.meshnode
    assert (own.access.allow_file, own.firewall.rules_dir) == ("/etc/meshnode/peers.allow", "/etc/meshnode/fips.d")
    assert own.access.deny_file == "/srv/deny"


# --- the search list and the overlay


def test_every_existing_file_of_the_list_is_read_in_order(files: Files) -> None:
    named = [
        files.system / "fips.yaml",
        files.home / ".config" / "fips" / "fips.yaml",
        files.home / ".fips.yaml",
        files.cwd / "fips.yaml",
    ]
    for number, path in enumerate(named):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"dns: {{ttl: {number}}}\ntun: {{mtu: {1300 + number}}}\n")
    loaded = files.load()
    assert loaded.paths == named
    assert (loaded.config.dns.ttl, loaded.config.tun.mtu) == (3, 1303)


def test_no_file_anywhere_gives_the_defaults(files: Files) -> None:
    loaded = files.load()
    assert loaded.config == Config()
    assert loaded.paths == []


def test_with_an_option_no_other_file_is_read(files: Files) -> None:
    (files.system / "fips.yaml").write_text("tun: {mtu: 1400}\n")
    (files.cwd / "x.yaml").write_text("dns: {ttl: 5}\n")
    loaded = files.load("x.yaml")
    assert loaded.paths == [files.cwd / "x.yaml"]
    assert (loaded.config.tun.mtu, loaded.config.dns.ttl) == (1280, 5)


def test_a_higher_file_overlays_key_by_key(files: Files) -> None:
    (files.system / "fips.yaml").write_text(
        "node: {limits: {max_peers: 10, max_links: 11}, leaf_only: true}\n"
        "dns: {enabled: false}\ntun: {enabled: true, name: low0}\n"
        f"peers: [{{npub: {NPUB}, addresses: [{{transport: udp, addr: 'h:1'}}]}}]\n"
    )
    (files.cwd / "fips.yaml").write_text(
        "node: {limits: {max_links: 12}, leaf_only: false}\ntun: {enabled: false, mtu: 1400, name: ~}\npeers: []\n"
    )
    config = files.load().config
    assert (config.node.limits.max_peers, config.node.limits.max_links) == (10, 12)
    assert (config.node.leaf_only, config.dns.enabled, config.tun.enabled) == (False, False, False)
    assert (config.tun.mtu, config.tun.name) == (1400, "low0")
    assert [peer.npub for peer in config.peers] == [NPUB]


def test_lists_transports_peers_and_gateway_are_replaced_whole(files: Files) -> None:
    (files.system / "fips.yaml").write_text(
        "node: {lookup: {attempt_timeouts_secs: [1, 2]}, rendezvous: {nostr: {dm_relays: [a], app: low}}}\n"
        "transports: {udp: {a: {mtu: 1300}, b: {}}, tcp: {}, ethernet: {interface: eth0}}\n"
        "gateway: {pool: 'fd01::/112', lan_interface: eth0, enabled: true}\n"
        f"peers: [{{npub: {NPUB}}}]\n"
    )
    (files.cwd / "fips.yaml").write_text(
        "node: {lookup: {attempt_timeouts_secs: [9]}, rendezvous: {nostr: {dm_relays: []}}}\n"
        "transports: {udp: {bind_addr: '127.0.0.1:1'}, ethernet: {}}\n"
        "gateway: {pool: 'fd02::/112', lan_interface: br0}\n"
        "peers: [{npub: other}]\n"
    )
    config = files.load().config
    assert config.node.lookup.attempt_timeouts_secs == [9]
    assert (config.node.rendezvous.nostr.dm_relays, config.node.rendezvous.nostr.app) == ([], "low")
    assert config.transports.udp == {None: UdpSection(bind_addr="127.0.0.1:1")}
    assert list(config.transports.tcp) == [None]
    assert config.transports.ethernet == {None: EthernetSection(interface="eth0")}
    assert config.gateway is not None
    assert (config.gateway.pool, config.gateway.enabled) == ("fd02::/112", False)
    assert [peer.npub for peer in config.peers] == ["other"]


def test_a_null_gateway_leaves_the_lower_one(files: Files) -> None:
    (files.system / "fips.yaml").write_text("gateway: {pool: 'fd01::/112', lan_interface: eth0}\n")
    (files.cwd / "fips.yaml").write_text("gateway:\n")
    assert files.load().config.gateway is not None


def test_places_name_the_file_that_had_the_last_word(files: Files) -> None:
    (files.system / "fips.yaml").write_text("tun: {mtu: 1300}\ndns: {ttl: 1}\n")
    (files.cwd / "fips.yaml").write_text("\ntun:\n  mtu: 1400\n")
    places = files.load().places
    assert (places["tun.mtu"].file, places["tun.mtu"].line) == ("fips.yaml", 3)
    assert places["dns.ttl"].file == str(files.system / "fips.yaml")


def test_a_dangling_symlink_counts_as_absent(files: Files) -> None:
    (files.cwd / "fips.yaml").symlink_to("nowhere")
    assert files.load().paths == []


# --- files that cannot be read


def test_a_missing_file_named_by_option(files: Files) -> None:
    with pytest.raises(ConfigError) as caught:
        files.load("nope.yaml")
    assert str(caught.value) == (
        "Failed to load configuration from nope.yaml: failed to read config file nope.yaml: "
        "No such file or directory (os error 2)"
    )


def test_a_broken_file_of_the_search_list(files: Files) -> None:
    (files.cwd / "fips.yaml").write_text("tun: {enabled: yes}\n")
    with pytest.raises(ConfigError) as caught:
        files.load()
    assert str(caught.value) == (
        "Failed to load configuration: failed to parse config file fips.yaml: tun.enabled: `yes` does not fit here; "
        "write true or false, without quotes at line 1 column 16"
    )


def test_a_file_without_end_is_refused(files: Files) -> None:
    with (files.cwd / "big.yaml").open("wb") as stream:
        stream.truncate(LARGEST_FILE + 1)
    with pytest.raises(ConfigError, match="larger than"):
        files.load("big.yaml")


def test_a_pipe_is_read_to_its_end_at_the_start_and_keeps_no_running_node_waiting(files: Files) -> None:
    pipe = files.cwd / "pipe.yaml"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    try:
        with pytest.raises(ConfigError, match="not a regular file"):
            load(pipe, {}, files.cwd, may_wait=False)
    finally:
        os.close(writer)
    reading, writing = os.pipe()
    try:
        os.write(writing, b"tun: {mtu: 1300}")
        os.close(writing)
        assert load(Path(f"/proc/self/fd/{reading}"), {}, files.cwd).config.tun.mtu == 1300
    finally:
        os.close(reading)


# --- keys nobody knows


def test_an_ignored_key_is_reported_with_a_suggestion() -> None:
    config, warnings = parse("tun:\n  enabeld: true\nTUN: {}\n", "t.yaml")
    assert not config.tun.enabled
    assert warnings == [
        "t.yaml line 2: unknown key tun.enabeld is ignored; did you mean `enabled`?",
        "t.yaml line 3: unknown key TUN is ignored; did you mean `tun`?",
    ]


def test_an_ignored_key_far_from_any_known_one_has_no_suggestion() -> None:
    assert parse("whatever: [1]\n", "t.yaml")[1] == ["t.yaml line 1: unknown key whatever is ignored"]


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("peers: [{npub: x, address: []}]", "peers[0]", "did you mean `addresses`?"),
        ("peers: [{npub: x, addresses: [{adr: h}]}]", "peers[0].addresses[0]", "did you mean `addr`?"),
        ("transports: {udp: {bindaddr: x}}", "transports.udp", "did you mean `bind_addr`?"),
        ("transports: {udp: {main: {mtuu: 1}}}", "transports.udp.main", "did you mean `mtu`?"),
        ("transports: {udp: {main: {}, mtu: 1}}", "transports.udp", "`main` is not a key of a udp transport"),
        ("transports: {tor: {directory_service: {zzz: 1}}}", "transports.tor.directory_service", "hostname_file"),
        ("node: {rendezvous: {nostr: {qqq: 1}}}", "node.rendezvous.nostr", "remove it"),
    ],
)
def test_strict_sections_refuse_unknown_keys(text: str, key: str, says: str) -> None:
    error = refusal(text)
    assert (error.problem, error.key) == ("unknown field", key)
    assert says in str(error)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("transports: {udp: }", "transports.udp"),
        ("transports: {udp: {main: }}", "transports.udp.main"),
        ("transports: {udp: {main: ~}}", "transports.udp.main"),
        ("transports: {udp: {5: {}}}", "transports.udp"),
        ("transports: {udp: [{}]}", "transports.udp"),
        ("transports: {udp: {mtu: 70000}}", "transports.udp.mtu"),
        ("transports: {udp: {a: {mtu: x}, b: {}}}", "transports.udp.a.mtu"),
        ("transports: {udp: {a: {}, a: {}}}", "transports.udp.a"),
        ("transports: {ethernet: {announce: true}}", "transports.ethernet"),
        ("transports: {ethernet: {interface: 123}}", "transports.ethernet.interface"),
        ("transports: {ethernet: {interface: e, listen: true, discovery: true}}", "transports.ethernet.listen"),
        ("transports: {ble: {adapter: true}}", "transports.ble.adapter"),
    ],
)
def test_transport_errors_name_type_and_key(text: str, key: str) -> None:
    assert refusal(text).key == key


def test_a_secret_in_the_wrong_place_is_not_shown() -> None:
    assert NSEC not in str(refusal(f"node: {{identity: {{persistent: {NSEC}}}}}"))
    assert NSEC not in repr(parse(f"node: {{identity: {{nsec: {NSEC}}}}}")[0])


# --- instances of transports


def test_unnamed_and_named_instances_keep_the_order_of_the_file() -> None:
    config, _ = parse("transports: {tcp: {}, udp: {z: {}, a: {mtu: 1300}, mtu: {bind_addr: ~}}, ethernet: {}}")
    assert [(kind, name) for kind, name, _ in config.transports.each()] == [
        ("udp", "z"),
        ("udp", "a"),
        ("udp", "mtu"),
        ("tcp", None),
    ]
    assert config.transports.udp["mtu"] == UdpSection()


def test_the_older_name_of_the_beacon_switch() -> None:
    config, _ = parse("transports: {ethernet: {interface: eth0, discovery: false}}")
    assert config.transports.ethernet[None].listen is False


def test_outbound_only_overrides_the_bind_address_and_adverts() -> None:
    udp = UdpSection(outbound_only=True, bind_addr="127.0.0.1:2121", advertise_on_nostr=True)
    assert (udp.effective_bind_addr, udp.advertised) == ("0.0.0.0:0", False)


# --- the older discovery block


def test_the_older_block_moves_to_its_new_places() -> None:
    config, warnings = parse(
        "node:\n  lookup: {ttl: 9, recent_expiry_secs: 8}\n"
        "  rendezvous: {nostr: {app: new, advertise: false}, lan: {scope: new}}\n"
        "  discovery: {ttl: 3, nostr: {app: old}, lan: {enabled: true}}\n",
        "t.yaml",
    )
    assert (config.node.lookup.ttl, config.node.lookup.recent_expiry_secs) == (3, 8)
    assert (config.node.rendezvous.nostr.app, config.node.rendezvous.nostr.advertise) == ("old", True)
    assert (config.node.rendezvous.lan.enabled, config.node.rendezvous.lan.scope) == (True, None)
    assert warnings == ["t.yaml line 4: node.discovery is an older spelling; write node.lookup and node.rendezvous"]


@pytest.mark.parametrize("text", ["node:\n  discovery:\n", "node: {discovery: {}}", "node: {discovery: {nostr: }}"])
def test_an_empty_older_block_is_no_block(text: str) -> None:
    assert parse(text) == (Config(), [])


def test_errors_in_the_older_block_name_what_was_written() -> None:
    assert refusal("node: {discovery: {nostr: {policy: all}}}").key == "node.discovery.nostr.policy"
    assert refusal("node: {discovery: {ttl: 256}}").key == "node.discovery.ttl"


# --- single values


def test_sockets_take_null_for_the_default_and_quotes_for_a_name() -> None:
    config, warnings = parse("node: {control: {socket_path: null}, native_api: {socket_path: 'null'}}")
    assert (config.node.control.socket_path, config.node.native_api.socket_path) == (None, "null")
    assert len(warnings) == 1


def test_a_key_that_is_not_a_number_takes_its_default() -> None:
    config, warnings = parse("node: {rate_limit: {handshake_resend_backoff: .nan}, tree: {parent_hysteresis: .inf}}")
    assert config.node.rate_limit.handshake_resend_backoff == 2.0
    assert config.node.tree.parent_hysteresis == math.inf
    assert len(warnings) == 1


@pytest.mark.parametrize("text", ["VERBOSE", "5", "off", '""'])
def test_an_unknown_log_level_means_info(text: str) -> None:
    assert parse(f"node: {{log_level: {text}}}")[0].node.effective_log_level == "info"


def test_log_levels_in_any_case() -> None:
    assert parse("node: {log_level: WARNING}")[0].node.effective_log_level == "warn"
    assert parse("node: {log_level: ~}")[0].node.effective_log_level == "info"


@pytest.mark.parametrize("target", ["10.0.0.1:80", "[fd00::1]", "fd00::1:80", "[fd00::1]:65536", "[fd00::1]:", "x"])
def test_a_port_forward_leads_to_an_ipv6_address(target: str) -> None:
    error = refusal(
        "gateway: {pool: p, lan_interface: e, port_forwards: [{listen_port: 1, proto: tcp, target: '" + target + "'}]}"
    )
    assert (error.problem, error.key) == ("invalid value", "gateway.port_forwards[0].target")


# --- the worked examples of the specification (05 section 11)


def test_example_a_the_smallest_file() -> None:
    config, warnings = parse("transports: {udp: {}}\n")
    assert config.transports.udp == {None: UdpSection(bind_addr="0.0.0.0:2121")}
    assert (config.dns.enabled, config.dns.bind_addr, config.dns.port, config.tun.enabled) == (True, "::1", 5354, False)
    assert warnings == []


def test_example_b_conversions() -> None:
    config, _ = parse(
        "node:\n  identity:\n  tree: {parent_hysteresis: 0}\n  session: {default_ttl: 0x20}\n"
        "  control: {socket_path: null}\n  log_level: VERBOSE\ntun: {enabled: TRUE, name: 42}\ndns: {ttl: ~}\n"
        'transports:\n  udp: {a: {}, b: {bind_addr: "127.0.0.1:4000"}}\npeers:\n'
    )
    assert (config.node.tree.parent_hysteresis, config.node.session.default_ttl) == (0.0, 32)
    assert (config.node.control.socket_path, config.node.effective_log_level) == (None, "info")
    assert (config.tun.enabled, config.tun.name, config.dns.ttl, config.peers) == (True, "42", 300, [])
    assert [udp.bind_addr for udp in config.transports.udp.values()] == ["0.0.0.0:2121", "127.0.0.1:4000"]
    validate(config)


@pytest.mark.parametrize(
    "text",
    [
        "tun: {enabled: yes}",
        'dns: {port: "5354"}',
        "node: {tick_interval_secs: 1.0}",
        "node: null",
        "peers: null",
        f"peers: [{{npub: {NPUB}, address: []}}]",
        "node: {tree: {parent_hysteresis: 0x1}}",
        "transports: {udp: {mtu: 70000}}",
        "node: {limits: {max_peers: -1}}",
        "node: {mmp: {mode: Full}}",
        "node: {rendezvous: {nostr: {relays: []}}}",
        "gateway: {enabled: false}",
    ],
)
def test_example_c_refused(text: str) -> None:
    assert refusal(text).place is not None


@pytest.mark.parametrize(
    "text",
    ["tun: {enabeld: true}", "node: {discovry: {ttl: 3}}", "whatever: [1]"],
)
def test_example_d_ignored_with_a_warning(text: str) -> None:
    config, warnings = parse(text)
    assert config == Config()
    assert len(warnings) == 1


def test_example_e_overlay_by_our_rule(files: Files) -> None:
    (files.system / "fips.yaml").write_text(
        "dns: {enabled: false}\nnode: {limits: {max_peers: 10}}\n"
        f"peers: [{{npub: {NPUB}, via_nostr: true}}, {{npub: {NPUB}, via_nostr: true}}]\n"
    )
    (files.cwd / "fips.yaml").write_text("tun: {mtu: 1400}\n")
    config = files.load().config
    assert (config.dns.enabled, config.node.limits.max_peers, config.tun.mtu) == (False, 10, 1400)
    assert len(config.peers) == 2


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("{}", "fips-overlay-v1"),
        ("{nostr: {app: 'fips-overlay-v1:lab '}}", "lab"),
        ("{nostr: {app: 'fips-overlay-v1:'}}", None),
        ("{nostr: {app: '  '}}", None),
        ("{nostr: {app: myapp}}", "myapp"),
        ("{nostr: {app: myapp}, lan: {scope: '  '}}", "myapp"),
        ("{nostr: {app: myapp}, lan: {scope: ' x '}}", "x"),
    ],
)
def test_example_g_scope_of_the_local_network(text: str, scope: str | None) -> None:
    assert parse(f"node: {{rendezvous: {text}}}")[0].node.rendezvous.lan_scope() == scope


# --- the objects


def assert_same_names(settings: object, section: Section) -> None:
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        value, ours = getattr(settings, field.name), getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            assert isinstance(type(section).KEYS[field.name].kind, Block)
            assert_same_names(value, ours)
        else:
            assert value == ours


def test_sections_carry_the_names_and_defaults_of_the_mesh_settings() -> None:
    assert_same_names(MeshSettings(), Config().node)


def test_sections_refuse_unknown_attributes_and_missing_ones() -> None:
    with pytest.raises(TypeError, match="has no mtuu"):
        UdpSection(mtuu=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="needs interface"):
        EthernetSection()  # type: ignore[call-arg]


def test_defaults_are_not_shared_between_configurations() -> None:
    first, second = Config(), Config()
    first.node.lookup.attempt_timeouts_secs.append(16)
    first.transports.udp[None] = UdpSection()
    assert second == Config()
    assert first != second
    assert first != object()


@pytest.mark.parametrize("text", ["peers:\n  -\n", "peers: [{npub: npub1x, addresses: [~]}]\n", "peers: [~]\n"])
def test_an_empty_item_of_a_list_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    assert "peers" in str(caught.value)
