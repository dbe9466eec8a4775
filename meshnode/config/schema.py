"""The whole configuration file as objects (spec 05 section 5); every attribute is named like its key."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv6Address
from typing import ClassVar, Literal

from meshnode.config.guard_sections import AccessSection, CaptureSection, FirewallSection, HooksSection, LogSection
from meshnode.config.keys import (
    BOOL,
    TEXT,
    TEXTS,
    U8,
    U16,
    U32,
    U64,
    Kind,
    Many,
    Section,
    Values,
    Whole,
    block,
    choice,
    key,
    optional,
    replaced,
    required,
)
from meshnode.config.node_sections import (
    LOG_LEVELS,
    BloomSection,
    BuffersSection,
    CacheSection,
    ControlSection,
    EcnSection,
    IdentitySection,
    LimitsSection,
    LookupSection,
    MmpSection,
    NativeApiSection,
    RateLimitSection,
    RekeySection,
    RetrySection,
    SessionSection,
    TreeSection,
)
from meshnode.config.operator_sections import MetricsSection, WebSection
from meshnode.config.rendezvous_sections import DiscoverySection, LanInterfacesSection, RendezvousSection
from meshnode.config.transport_sections import TransportsSection
from meshnode.config.yaml12 import Cursor, clip, to_text

ConnectPolicy = Literal["auto_connect", "on_demand", "manual"]
Protocol = Literal["tcp", "udp"]
ResolverMode = Literal[
    "auto", "none", "dns-delegate", "global-drop-in", "resolvectl", "dnsmasq", "nm-dnsmasq", "resolv-conf"
]


class NodeSection(Section):
    """The node itself."""

    leaf_only: bool = key(BOOL, False, "Shown to operators; changes nothing in tree or routing.")
    tick_interval_secs: int = key(U64, 1, "Period of slow work; at least 1.")
    base_rtt_ms: int = key(U64, 100, "Read for compatibility, without effect: unmeasured links are treated as such.")
    heartbeat_interval_secs: int = key(U64, 10, "Time between heartbeats on a link.")
    link_dead_timeout_secs: int = key(U64, 30, "A peer silent for this long is removed.")
    drain_timeout_secs: int = key(
        U64, 2, "Read for compatibility, without effect: the node tells its peers and stops.", nullable=True
    )
    log_level: str = key(
        TEXT, "info", "`trace`, `debug`, `info`, `warn` or `error` in any case; other text is `info`.", nullable=True
    )
    identity: IdentitySection = block(IdentitySection)
    limits: LimitsSection = block(LimitsSection)
    rate_limit: RateLimitSection = block(RateLimitSection)
    retry: RetrySection = block(RetrySection)
    cache: CacheSection = block(CacheSection)
    lookup: LookupSection = block(LookupSection)
    rendezvous: RendezvousSection = block(RendezvousSection)
    discovery: Values | None = replaced(
        DiscoverySection,
        "Older spelling of `lookup` (its six keys) and `rendezvous` (`nostr`, `lan`); wins over them in the same file.",
    )
    tree: TreeSection = block(TreeSection)
    bloom: BloomSection = block(BloomSection)
    session: SessionSection = block(SessionSection)
    mmp: MmpSection = block(MmpSection)
    session_mmp: MmpSection = block(MmpSection)
    ecn: EcnSection = block(EcnSection)
    rekey: RekeySection = block(RekeySection)
    control: ControlSection = block(ControlSection)
    native_api: NativeApiSection = block(NativeApiSection)
    buffers: BuffersSection = block(BuffersSection)

    @property
    def effective_log_level(self) -> str:
        """One of `trace debug info warn error`."""
        return LOG_LEVELS.get(self.log_level.lower(), "info")


class TunSection(Section):
    """The network interface through which programs reach the mesh."""

    enabled: bool = key(BOOL, False, "Make the interface; needs the right to.")
    name: str = key(TEXT, "fips0", "Its name.", nullable=True)
    mtu: int = key(U16, 1280, "Its MTU in bytes; at least 1280 when enabled.", nullable=True)


class DnsSection(Section):
    """The responder for names under `.fips`."""

    enabled: bool = key(BOOL, True, "Answer such names.")
    bind_addr: str = key(TEXT, "::1", "Address to listen on, without brackets or port.", nullable=True)
    port: int = key(U16, 5354, "Port to listen on; 0 for any.", nullable=True)
    ttl: int = key(U32, 300, "Seconds an answer may be kept.", nullable=True)


class PeerAddressSection(Section):
    """One way to reach a peer."""

    STRICT: ClassVar[bool] = True
    TITLE: ClassVar[str] = "a peer address"

    transport: str = required(TEXT, "`udp`, `tcp`, ..., or `udp/NAME` for the instance of that name only.")
    addr: str = required(
        TEXT,
        "`host:port` for udp, tcp, tor and nym; `interface/aa:bb:cc:dd:ee:ff` for ethernet; "
        "`adapter/AA:BB:CC:DD:EE:FF` for ble.",
    )
    priority: int = key(U8, 100, "Lower is tried first.")


class PeerSection(Section):
    """One peer."""

    STRICT: ClassVar[bool] = True
    TITLE: ClassVar[str] = "a peer"

    npub: str = required(TEXT, "Its public key, `npub1...`.")
    alias: str | None = optional(TEXT, "Name to show, and host name under `.fips` when it can be one.")
    addresses: list[PeerAddressSection] = key(
        Many(Whole(PeerAddressSection)), [], "Where to reach it; may be empty only with `via_nostr`."
    )
    connect_policy: ConnectPolicy = key(
        choice("auto_connect", "on_demand", "manual"), "auto_connect", "When to dial; only `auto_connect` dials."
    )
    auto_reconnect: bool = key(BOOL, True, "Dial again after the link died.")
    via_nostr: bool = key(BOOL, False, "Also try the addresses it advertises over Nostr.")


def _ipv6_target(at: Cursor, reader: object) -> str:
    text = to_text(at)
    host, bracket, port = text.removeprefix("[").rpartition("]:")
    try:
        IPv6Address(host)
        fits = text.startswith("[") and bool(bracket) and port.isascii() and port.isdecimal() and int(port) < 65536
    except (AddressValueError, ValueError):
        fits = False
    if not fits:
        at.refuse("invalid value", f"`{clip(text)}` is not an IPv6 address with a port; write [fd00::1]:80")
    return text


class PortForwardSection(Section):
    """A port of the gateway that leads into the mesh."""

    TITLE: ClassVar[str] = "a port forward"

    listen_port: int = required(U16, "Port on the gateway.")
    proto: Protocol = required(choice("tcp", "udp"), "Protocol.")
    target: str = required(Kind("`[ipv6]:port`", _ipv6_target), "Where it leads.")


class ConntrackSection(Section):
    """Connection tracking times, in seconds, set for the whole machine where the file names them."""

    tcp_established: int = key(U64, 432000, "Established TCP.", nullable=True)
    udp_timeout: int = key(U64, 30, "UDP without answer.", nullable=True)
    udp_assured: int = key(U64, 180, "UDP with answers.", nullable=True)
    icmp_timeout: int = key(U64, 30, "ICMP.", nullable=True)


class GatewayDnsSection(Section):
    """Name service of the gateway."""

    listen: str = key(TEXT, "[::1]:5353", "Where it listens.", nullable=True)
    upstream: str = key(TEXT, "[::1]:5354", "The node's responder; the same as in `dns`.", nullable=True)
    ttl: int = key(U32, 60, "Seconds an answer may be kept.", nullable=True)


class GatewaySection(Section):
    """The gateway of a local network into the mesh: run by meshnode-gateway, or by `meshnode.gateway.embedded`."""

    TITLE: ClassVar[str] = "the gateway section"

    enabled: bool = key(BOOL, False, "Run it.")
    pool: str = required(TEXT, "IPv6 prefix from which local addresses are lent.")
    lan_interface: str = required(TEXT, "Interface of the local network.")
    dns: GatewayDnsSection = block(GatewayDnsSection)
    pool_grace_period: int = key(U64, 60, "Seconds an address stays lent after its last use.", nullable=True)
    conntrack: ConntrackSection = block(ConntrackSection)
    port_forwards: list[PortForwardSection] = key(Many(Whole(PortForwardSection)), [], "Ports led into the mesh.")


class GatewayExtrasSection(Section):
    """What our gateway can do beyond the `gateway` section."""

    embedded: bool = key(BOOL, False, "Run the gateway inside the node instead of as the program meshnode-gateway.")
    lan_interfaces: list[str] = key(TEXTS, [], "Further interfaces with hosts, besides `gateway.lan_interface`.")
    proxy: list[str] = key(
        TEXTS,
        [],
        "Addresses like `192.168.1.1:1080` for a SOCKS5 and HTTP proxy into the mesh: for hosts without IPv6. Works "
        "without the `gateway` section, too.",
    )


class OwnTorSection(Section):
    """What goes beyond `transports.tor` of the reference; it holds for all instances."""

    launch: bool = key(BOOL, False, "Run a Tor of our own instead of using the one at `socks5_addr`.", nullable=True)
    program: str = key(TEXT, "tor", "The program to run for that.", nullable=True)
    data_directory: str = key(
        TEXT, "", "Where that Tor keeps its state; empty: `tor` beside the configuration file.", nullable=True
    )
    torrc: str | None = optional(TEXT, "File with more settings for that Tor.")
    onion_service: Literal["none", "ephemeral", "persistent"] = key(
        choice("none", "ephemeral", "persistent"),
        "none",
        "Be reachable as an onion service that the control port makes: under a new name at each start, or always under "
        "the same. Peers dial port `transports.tor.advertised_port`.",
    )
    onion_key_file: str = key(
        TEXT,
        "",
        "Key of a persistent onion service; empty: `fips.onion.key` beside the configuration file.",
        nullable=True,
    )


class MeshnodeSection(Section):
    """Keys of this program alone; the reference daemon ignores the section."""

    resolver: ResolverMode = key(
        choice(
            "auto",
            "none",
            "dns-delegate",
            "global-drop-in",
            "resolvectl",
            "dnsmasq",
            "nm-dnsmasq",
            "resolv-conf",
        ),
        "auto",
        "How the system resolver learns of `.fips` while the node runs as root with a TUN: the first way that works, "
        "none, or just this one. `resolv-conf` also listens on 127.0.0.1 port 53 and passes other questions on.",
    )
    access: AccessSection = block(AccessSection)
    capture: CaptureSection = block(CaptureSection)
    firewall: FirewallSection = block(FirewallSection)
    hooks: HooksSection = block(HooksSection)
    log: LogSection = block(LogSection)
    lan: LanInterfacesSection = block(LanInterfacesSection)
    tor: OwnTorSection = block(OwnTorSection)
    history_file: str = key(
        TEXT,
        "",
        "Keep the node's history (`meshctl stats history`) here, every minute and when it stops, and go on with it at "
        "the next start; not kept without this key.",
    )
    metrics: MetricsSection = block(MetricsSection)
    web: WebSection = block(WebSection)
    gateway: GatewayExtrasSection = block(GatewayExtrasSection)


class Config(Section):
    """The file."""

    TITLE: ClassVar[str] = "the configuration file"

    node: NodeSection = block(NodeSection)
    tun: TunSection = block(TunSection)
    dns: DnsSection = block(DnsSection)
    transports: TransportsSection = block(TransportsSection)
    peers: list[PeerSection] = key(Many(Whole(PeerSection)), [], "Peers by public key.")
    gateway: GatewaySection | None = optional(Whole(GatewaySection), "The gateway; absent when empty or null.")
    meshnode: MeshnodeSection = block(MeshnodeSection)
