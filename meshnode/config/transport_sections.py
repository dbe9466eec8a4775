"""`transports`: one section class per carrier (spec 05 sections 5.13 to 5.17). All are strict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from meshnode.config.keys import BOOL, TEXT, U16, U64, Section, Whole, instances, key, optional, required
from meshnode.config.yaml12 import Cursor, clip

SOCKET_BUFFER = 2 * 1024 * 1024
UNBOUND = "0.0.0.0:0"

_RECEIVE = "Receive buffer asked of the system, in bytes."
_SEND = "Send buffer asked of the system, in bytes."
_MTU = "Largest frame, in bytes."
_EXTERNAL = "Address to advertise, `ip` or `ip:port`."


class TransportSection(Section):
    """What the sections of all carriers have in common."""

    STRICT: ClassVar[bool] = True


class UdpSection(TransportSection):
    """Frames in UDP datagrams."""

    TITLE: ClassVar[str] = "a udp transport"

    bind_addr: str = key(TEXT, "0.0.0.0:2121", "Numeric `ip:port` or `[ipv6]:port`; port 0 for any.", nullable=True)
    mtu: int = key(U16, 1280, "Largest frame, in bytes; at least 78.", nullable=True)
    recv_buf_size: int = key(U64, SOCKET_BUFFER, _RECEIVE, nullable=True)
    send_buf_size: int = key(U64, SOCKET_BUFFER, _SEND, nullable=True)
    advertise_on_nostr: bool = key(BOOL, False, "Advertise this transport; never with `outbound_only`.", nullable=True)
    public: bool = key(BOOL, False, "Advertise the address itself instead of the word `nat`.", nullable=True)
    external_addr: str | None = optional(TEXT, _EXTERNAL)
    outbound_only: bool = key(BOOL, False, "Bind any free port and refuse handshakes from outside.", nullable=True)
    accept_connections: bool = key(BOOL, True, "Accept handshakes from addresses without a link.", nullable=True)

    @property
    def effective_bind_addr(self) -> str:
        """Address the socket is bound to; `outbound_only` overrides the one in the file."""
        return UNBOUND if self.outbound_only else self.bind_addr

    @property
    def advertised(self) -> bool:
        """Whether this instance appears in adverts."""
        return self.advertise_on_nostr and not self.outbound_only


class EthernetSection(TransportSection):
    """Frames straight on an Ethernet or Wi-Fi interface."""

    TITLE: ClassVar[str] = "an ethernet transport"

    interface: str = required(TEXT, "Name of the interface.")
    ethertype: int = key(U16, 0x2121, "EtherType of the frames.", nullable=True)
    mtu: int | None = optional(
        U16, "Largest frame, in bytes; never above the interface MTU less 3, which is the default."
    )
    recv_buf_size: int = key(U64, SOCKET_BUFFER, _RECEIVE, nullable=True)
    send_buf_size: int = key(U64, SOCKET_BUFFER, _SEND, nullable=True)
    listen: bool = key(BOOL, True, "Receive beacons. Older spelling: `discovery`.", nullable=True, old_name="discovery")
    announce: bool = key(BOOL, False, "Send beacons.", nullable=True)
    auto_connect: bool = key(BOOL, False, "Dial nodes whose beacons arrive.", nullable=True)
    accept_connections: bool = key(BOOL, False, "Accept handshakes from unknown nodes.", nullable=True)
    beacon_interval_secs: int = key(U64, 30, "Time between beacons; below 10 counts as 10.", nullable=True)


class TcpSection(TransportSection):
    """Frames in TCP connections."""

    TITLE: ClassVar[str] = "a tcp transport"

    bind_addr: str | None = optional(TEXT, "Numeric `ip:port` to listen on; unset: outbound only.")
    mtu: int = key(U16, 1400, _MTU, nullable=True)
    connect_timeout_ms: int = key(U64, 5000, "Time for a connection to open.", nullable=True)
    nodelay: bool = key(BOOL, True, "Send small segments at once.", nullable=True)
    keepalive_secs: int = key(U64, 30, "Time between keep-alive probes; 0 for none.", nullable=True)
    recv_buf_size: int = key(U64, SOCKET_BUFFER, _RECEIVE, nullable=True)
    send_buf_size: int = key(U64, SOCKET_BUFFER, _SEND, nullable=True)
    max_inbound_connections: int | None = optional(U64, "Inbound ceiling; unset: `node.limits.max_connections`.")
    advertise_on_nostr: bool = key(BOOL, False, "Advertise this transport.", nullable=True)
    external_addr: str | None = optional(TEXT, _EXTERNAL)

    @property
    def advertised(self) -> bool:
        """Whether this instance appears in adverts."""
        return self.advertise_on_nostr


class TorDirectorySection(TransportSection):
    """An onion service that Tor itself keeps."""

    TITLE: ClassVar[str] = "directory_service"

    hostname_file: str = key(
        TEXT, "/var/lib/tor/fips_onion_service/hostname", "File with the onion name.", nullable=True
    )
    bind_addr: str = key(TEXT, "127.0.0.1:8443", "Where Tor delivers its connections.", nullable=True)


class TorSection(TransportSection):
    """Frames in connections through Tor."""

    TITLE: ClassVar[str] = "a tor transport"

    own: Section | None = None
    """`meshnode.tor`, for lack of a place in a section that the reference daemon reads strictly."""

    mode: str = key(TEXT, "socks5", "`socks5`, `control_port` or `directory`.", nullable=True)
    socks5_addr: str = key(TEXT, "127.0.0.1:9050", "Tor's SOCKS port.", nullable=True)
    connect_timeout_ms: int = key(U64, 120000, "Time for a connection to open.", nullable=True)
    mtu: int = key(U16, 1400, _MTU, nullable=True)
    control_addr: str = key(TEXT, "/run/tor/control", "Tor's control socket, or `host:port`.", nullable=True)
    control_auth: str = key(
        TEXT, "cookie", "`cookie`, `cookie:/path` or `password:secret`.", nullable=True, secret=True
    )
    cookie_path: str = key(TEXT, "/var/run/tor/control.authcookie", "Tor's cookie file.", nullable=True)
    max_inbound_connections: int = key(U64, 64, "Inbound ceiling.", nullable=True)
    directory_service: TorDirectorySection | None = optional(
        Whole(TorDirectorySection), "Only with mode `directory`: keys `hostname_file` and `bind_addr`."
    )
    advertise_on_nostr: bool = key(BOOL, False, "Advertise this transport.", nullable=True)
    advertised_port: int = key(U16, 443, "Port in the advert.", nullable=True)

    @property
    def advertised(self) -> bool:
        """Whether this instance appears in adverts."""
        return self.advertise_on_nostr


class NymSection(TransportSection):
    """Frames in connections through the Nym mixnet."""

    TITLE: ClassVar[str] = "a nym transport"

    socks5_addr: str = key(TEXT, "127.0.0.1:1080", "The local proxy.", nullable=True)
    connect_timeout_ms: int = key(U64, 300000, "Time for a connection to open.", nullable=True)
    mtu: int = key(U16, 1400, _MTU, nullable=True)
    startup_timeout_secs: int = key(U64, 120, "How long to wait for the proxy at start.", nullable=True)


class BleSection(TransportSection):
    """Frames in Bluetooth Low Energy channels."""

    TITLE: ClassVar[str] = "a ble transport"

    adapter: str = key(TEXT, "hci0", "Bluetooth adapter as BlueZ calls it; `default` for the first.", nullable=True)
    psm: int = key(U16, 0x85, "L2CAP channel number.", nullable=True)
    mtu: int = key(U16, 2048, _MTU, nullable=True)
    max_connections: int = key(U64, 7, "Connections at a time.", nullable=True)
    connect_timeout_ms: int = key(U64, 10000, "Time for a connection to open.", nullable=True)
    advertise: bool = key(BOOL, True, "Send advertisements.", nullable=True)
    scan: bool = key(BOOL, True, "Look for the advertisements of others.", nullable=True)
    auto_connect: bool = key(BOOL, False, "Dial nodes that are found.", nullable=True)
    accept_connections: bool = key(BOOL, True, "Accept connections.", nullable=True)
    probe_cooldown_secs: int = key(U64, 30, "Least time between probes of one device.", nullable=True)


class TransportsSection(Section):
    """Carriers of frames, in the order in which they are numbered and started.

    Those that plug-ins bring come last and are kept as they stand in the file.
    """

    REST: ClassVar[str] = "others"

    udp: dict[str | None, UdpSection] = instances(UdpSection, "Datagrams over IPv4 or IPv6.")
    ethernet: dict[str | None, EthernetSection] = instances(EthernetSection, "Raw frames on a local network.")
    tcp: dict[str | None, TcpSection] = instances(TcpSection, "Connections over IPv4 or IPv6.")
    tor: dict[str | None, TorSection] = instances(TorSection, "Connections through Tor.")
    nym: dict[str | None, NymSection] = instances(NymSection, "Connections through Nym.")
    ble: dict[str | None, BleSection] = instances(BleSection, "Bluetooth Low Energy.")

    others: dict[str, Cursor]

    def inherit(self, max_connections: int) -> None:
        """Fill what a section leaves to `node.limits`; 0 there means no limit, here the carrier's own."""
        for section in self.tcp.values():
            if section.max_inbound_connections is None:
                section.max_inbound_connections = max_connections or None

    def each(self) -> Iterator[tuple[str, str | None, TransportSection]]:
        """Every instance as (kind, name, section): by type in the order above, then in the order of the file."""
        for kind in KINDS:
            for name, instance in getattr(self, kind).items():
                yield kind, name, instance


def instance_path(kind: str, name: str | None) -> str:
    """Dotted path of an instance."""
    return f"transports.{kind}" if name is None else f"transports.{kind}.{clip(name)}"


KINDS: tuple[str, ...] = tuple(TransportsSection.KEYS)
