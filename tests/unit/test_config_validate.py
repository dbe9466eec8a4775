"""Every rule across keys has a file that breaks it and one that just keeps it; so has every feature to come."""

from __future__ import annotations

import pytest

from meshnode.config.errors import ConfigError, Place
from meshnode.config.features import NOT_YET, unsupported, unusable_addresses
from meshnode.config.load import parse
from meshnode.config.schema import Config
from meshnode.config.validate import CONTEXT, advice, is_loopback, split_transport, validate

NPUB = "npub1yutuesdf95tgktcm7zrrgxmc030fw5af6usegterjv6wa9zgpjus7fad5d"
NOSTR_ON = "node: {rendezvous: {nostr: {enabled: true}}}\n"


def peer(transport: str = "udp", addr: str = "192.0.2.1:2121") -> str:
    return f"peers: [{{npub: {NPUB}, addresses: [{{transport: {transport}, addr: '{addr}'}}]}}]\n"


def test_a_peer_that_is_written_twice_is_told() -> None:
    once = f"{{npub: {NPUB}, addresses: [{{transport: udp, addr: 'h:1'}}]}}"
    upper = once.replace(NPUB, NPUB.upper())
    assert advice(parse(f"peers: [{once}]")[0]) == []
    (line,) = advice(parse(f"peers: [{once}, {upper}]")[0])
    assert line.startswith("peers[1] is the same node as peers[0]: they count as one")


def refusal(text: str) -> ConfigError:
    config, _ = parse(text)
    with pytest.raises(ConfigError) as caught:
        validate(config)
    assert str(caught.value).startswith(CONTEXT)
    assert "\n" not in str(caught.value)
    return caught.value


def rate(key: str, value: str) -> str:
    return f"node: {{rate_limit: {{{key}: {value}}}}}"


BROKEN = [
    ("transports: {udp: {advertise_on_nostr: true}}", "at least one transport has `advertise_on_nostr = true`"),
    ("transports: {tcp: {x: {advertise_on_nostr: true}}}", "at least one transport has `advertise_on_nostr = true`"),
    ("transports: {tor: {advertise_on_nostr: true}}", "at least one transport has `advertise_on_nostr = true`"),
    (f"peers: [{{npub: {NPUB}, via_nostr: true}}]", "at least one peer has `via_nostr = true`"),
    (f"peers: [{{npub: {NPUB}}}]", f"peers[0] ({NPUB}): must specify at least one address"),
    (
        "node: {rendezvous: {nostr: {enabled: true, dm_relays: []}}}\ntransports: {udp: {advertise_on_nostr: true}}",
        "NAT UDP advert publishing requires `node.rendezvous.nostr.dm_relays`",
    ),
    (
        "node: {rendezvous: {nostr: {enabled: true, stun_servers: []}}}\ntransports: {udp: {advertise_on_nostr: true}}",
        "NAT UDP advert publishing requires `node.rendezvous.nostr.stun_servers`",
    ),
    ("node: {native_api: {backlog: 0}}", "node.native_api.backlog"),
    ("node: {native_api: {pending_per_flow: 0}}", "node.native_api.pending_per_flow"),
    ("node: {native_api: {pending_per_flow: 65}}", "node.native_api.pending_per_flow"),
    (
        peer() + "transports: {udp: {bind_addr: '127.0.0.1:2121'}}",
        "transports.udp[(unnamed)].bind_addr is loopback",
    ),
    (
        peer(addr="nat") + "transports: {udp: {a: {bind_addr: '[::1]:2121'}}}",
        "transports.udp[a].bind_addr is loopback",
    ),
    (peer("udp/main") + "transports: {udp: {}}", f"peer `{NPUB}` has address "),
    (peer("tcp/main") + "transports: {tcp: {main: {}}}", f"peer `{NPUB}` has address "),
    ("node: {rekey: {after_messages: 0, enabled: false}}", "`node.rekey.after_messages` must be at least 1"),
    ("node: {rekey: {after_secs: 15, enabled: false}}", "`node.rekey.after_secs` is 15, but must be greater than "),
    (rate("established_handshake_burst", "0"), "`node.rate_limit.established_handshake_burst` is 0"),
    (rate("established_handshake_rate", ".nan"), "`node.rate_limit.established_handshake_rate` is NaN"),
    (rate("established_handshake_rate", "-1"), "`node.rate_limit.established_handshake_rate` is -1"),
    (rate("session_setup_burst", "0"), "`node.rate_limit.session_setup_burst` is 0"),
    (rate("session_setup_rate", "0"), "`node.rate_limit.session_setup_rate` is 0"),
    (rate("session_setup_rate", ".inf"), "`node.rate_limit.session_setup_rate` is inf"),
    ("node: {rendezvous: {nostr: {signal_ttl_secs: 180}}}", "`node.rendezvous.nostr.signal_ttl_secs` is 180"),
    (
        "node: {rendezvous: {nostr: {max_concurrent_offers_per_npub: 0}}}",
        "`node.rendezvous.nostr.max_concurrent_offers_per_npub` is 0",
    ),
    (
        "node: {rendezvous: {nostr: {max_concurrent_offers_per_npub: 2305843009213693952}}}",
        "`node.rendezvous.nostr.max_concurrent_offers_per_npub` is 2305843009213693952",
    ),
]


@pytest.mark.parametrize(("text", "begins"), BROKEN)
def test_each_broken_rule_is_named(text: str, begins: str) -> None:
    error = refusal(text)
    assert error.problem == "validation"
    assert error.reason.startswith(begins)


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("node: {tick_interval_secs: 0}", "`node.tick_interval_secs` is 0"),
        ("node: {buffers: {packet_channel: 0}}", "`node.buffers.packet_channel` is 0"),
        ("node: {buffers: {tun_channel: 0}}\ntun: {enabled: true}", "`node.buffers.tun_channel` is 0"),
        ("node: {buffers: {dns_channel: 0}}", "`node.buffers.dns_channel` is 0"),
        ("transports: {udp: {mtu: 77}}", "`transports.udp.mtu` is 77"),
        ("transports: {udp: {a: {mtu: 0}}}", "`transports.udp.a.mtu` is 0"),
        ("tun: {enabled: true, mtu: 1279}", "`tun.mtu` is 1279"),
        ("transports: {udp: {a: {}, b: {}}}", "`transports.udp.b.bind_addr` is 0.0.0.0:2121"),
        (
            "node: {rendezvous: {lan: {enabled: true, service_type: fips}}}",
            "`node.rendezvous.lan.service_type` is fips",
        ),
        ("transports: {ethernet: {interface: e, mtu: 50}}", "`transports.ethernet.mtu` is 50"),
        ("transports: {ethernet: {a: {interface: e}, b: {interface: e}}}", "`transports.ethernet.b.interface` is e"),
    ],
)
def test_our_own_rules(text: str, begins: str) -> None:
    error = refusal(text)
    assert error.problem == "policy"
    assert error.reason.startswith(begins)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "transports: {udp: {advertise_on_nostr: true, outbound_only: true}}",
        NOSTR_ON + "transports: {udp: {advertise_on_nostr: true}}",
        "node: {rendezvous: {nostr: {enabled: true, dm_relays: []}}}\n"
        "transports: {udp: {advertise_on_nostr: true, public: true}}",
        NOSTR_ON + f"peers: [{{npub: {NPUB}, via_nostr: true}}]",
        "node: {native_api: {backlog: 1, pending_per_flow: 64}}",
        peer() + "transports: {udp: {bind_addr: '127.0.0.1:2121', outbound_only: true}}",
        peer(addr="127.0.0.1:9") + "transports: {udp: {bind_addr: '127.0.0.1:2121'}}",
        peer("tcp") + "transports: {udp: {bind_addr: '127.0.0.1:2121'}}",
        peer("udp/main") + "transports: {udp: {main: {}}}",
        peer("udp/") + "transports: {udp: {}}",
        peer("/x") + "transports: {udp: {}}",
        "node: {rekey: {after_messages: 1, after_secs: 16}}",
        "node: {rendezvous: {nostr: {signal_ttl_secs: 179, max_concurrent_offers_per_npub: 1}}}",
        "node: {rate_limit: {established_handshake_burst: 1, session_setup_rate: 0.001}}",
        "node: {limits: {max_peers: 0}, buffers: {tun_channel: 0}}",
        "node: {buffers: {dns_channel: 0}}\ndns: {enabled: false}",
        "transports: {udp: {mtu: 78}}",
        "tun: {enabled: false, mtu: 0}",
        "transports: {udp: {a: {bind_addr: '0.0.0.0:0'}, b: {bind_addr: '0.0.0.0:0'}}}",
        "transports: {udp: {a: {outbound_only: true}, b: {}}}",
        "transports: {ethernet: {a: {interface: eth0}, b: {interface: eth0, ethertype: 0x2122}}}",
        "transports: {ethernet: {interface: eth0, mtu: 78}}",
        "node: {rendezvous: {lan: {enabled: true, service_type: _my-mesh._udp.local.}}}",
    ],
)
def test_what_just_keeps_the_rules(text: str) -> None:
    validate(parse(text)[0])


def test_the_first_broken_rule_in_order_is_the_one_reported() -> None:
    node = "node: {tick_interval_secs: 0, rekey: {after_secs: 1}, native_api: {backlog: 0}}\n"
    assert refusal(node + f"peers: [{{npub: {NPUB}}}]").reason.startswith("peers[0]")


def test_the_place_of_the_key_is_named_when_known() -> None:
    config, _ = parse("node: {tick_interval_secs: 0}")
    with pytest.raises(ConfigError, match=r"\(node.tick_interval_secs in /etc/fips/fips.yaml line 7\)$"):
        validate(config, {"node.tick_interval_secs": Place("/etc/fips/fips.yaml", 7, 1)})


def test_a_secret_key_given_as_npub_is_not_shown() -> None:
    error = refusal("peers: [{npub: nsec1secretsecret}]")
    assert "nsec1" not in str(error)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:2121", True),
        ("127.9.9.9:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("::1:1", True),
        ("0:0:0:0:0:0:0:1:1", True),
        ("[::2]:1", False),
        ("0.0.0.0:1", False),
        ("nat", False),
        ("127.0.0.1", False),
    ],
)
def test_loopback_is_told_by_the_text(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("udp", ("udp", None)),
        ("udp/main", ("udp", "main")),
        ("udp/a/b", ("udp", "a/b")),
        ("udp/", ("udp/", None)),
        ("/x", ("/x", None)),
        ("/", ("/", None)),
    ],
)
def test_instance_qualifiers(text: str, parts: tuple[str, str | None]) -> None:
    assert split_transport(text) == parts


# --- advice


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("peers: [{npub: npub1xyz}]", "peers[0].npub is not a public key"),
        ("peers: [{npub: ''}]", "peers[0].npub is not a public key"),
        ("node: {tree: {parent_hysteresis: -0.5}}", "node.tree.parent_hysteresis"),
        ("node: {bloom: {max_inbound_fpr: 0}}", "node.bloom.max_inbound_fpr"),
        ("node: {link_dead_timeout_secs: 0}", "node.link_dead_timeout_secs is 0, and is meant to be 1 or more"),
        (rate("handshake_rate", "-1"), "node.rate_limit.handshake_rate is -1.0, and is meant to be above 0 and below"),
        (rate("handshake_resend_backoff", ".inf"), "node.rate_limit.handshake_resend_backoff is inf, and is meant to"),
        ("node: {mmp: {owd_window_size: 5000}}", "node.mmp.owd_window_size is 5000, and is meant to be from 1 to 4096"),
        ("node: {ecn: {loss_threshold: 5}}", "node.ecn.loss_threshold is 5.0, and is meant to be from 0 to 1"),
        ("node: {lookup: {attempt_timeouts_secs: [1, 0]}}", "node.lookup.attempt_timeouts_secs[1] is 0"),
        ("transports: {ethernet: {lan: {interface: e, ethertype: 100}}}", "transports.ethernet.lan.ethertype is 100"),
        ("transports: {tcp: {connect_timeout_ms: 0}}", "transports.tcp.connect_timeout_ms is 0, and is meant to be 1"),
        ("meshnode: {firewall: {allow_tcp: [80, 0]}}", "meshnode.firewall.allow_tcp[1] is 0, and is meant to be 1"),
        (
            "node: {heartbeat_interval_secs: 30}",
            "node.heartbeat_interval_secs is 30: links without traffic do not last",
        ),
        ("dns: {ttl: 301}", "dns.ttl"),
        ("transports: {udp: {outbound_only: true, bind_addr: '127.0.0.1:1'}}", "transports.udp.bind_addr is ignored"),
    ],
)
def test_advice(text: str, says: str) -> None:
    lines = advice(parse(text)[0])
    assert len(lines) == 1
    assert lines[0].startswith(says)


def test_advice_about_a_secret_key_does_not_show_it() -> None:
    nsec = "nsec1s43n47krjnx7qnykaslg37le9jlrz4j67vh3fl5x03r04alaewyq44vns0"
    (line,) = advice(parse(f"peers: [{{npub: {nsec}}}]")[0])
    assert nsec not in line
    assert "secret key" in line


def test_the_defaults_need_no_advice() -> None:
    assert advice(Config()) == []
    assert advice(parse(peer())[0]) == []


# --- features to come


FEATURES = {
    "node.rendezvous.nostr.enabled": NOSTR_ON,
    "node.native_api.enabled": "node: {native_api: {enabled: true}}",
    "peers[].via_nostr": f"peers: [{{npub: {NPUB}, via_nostr: true}}]",
}


@pytest.mark.parametrize("missing", NOT_YET, ids=lambda missing: missing.key)
def test_a_feature_to_come_is_named_when_turned_on(missing: object) -> None:
    key = missing.key  # type: ignore[attr-defined]
    (line,) = unsupported(parse(FEATURES[key])[0])
    assert line.startswith(f"{key} is not available in this version: ")


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "transports: {udp: {a: {}}, ethernet: {interface: eth0}}",
        "gateway: {enabled: true, pool: 'fd01::/112', lan_interface: br-lan}",
        peer("tor"),
    ],
)
def test_what_is_there_is_not_complained_about(text: str) -> None:
    assert unsupported(parse(text)[0]) == []


def test_addresses_nobody_can_dial_are_only_warned_about() -> None:
    config, _ = parse(peer("quic") + "transports: {udp: {}}")
    (line,) = unusable_addresses(config)
    assert line.startswith("peers[0].addresses[0].transport is `quic`")
    assert unusable_addresses(parse(peer("tcp"))[0]) == []
    assert unusable_addresses(parse(peer("udp/main"))[0]) == []


def test_the_shipped_file_starts() -> None:
    config, warnings = parse(
        "node:\n  identity:\n  rendezvous:\ntun: {enabled: true, name: fips0, mtu: 1280}\n"
        "dns: {enabled: true, port: 5354}\n"
        'transports:\n  udp:\n    bind_addr: "0.0.0.0:2121"\n  tcp:\n    bind_addr: "0.0.0.0:8443"\npeers: []\n'
    )
    validate(config)
    assert warnings == []
    assert unsupported(config) == []
