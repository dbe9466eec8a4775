"""Targets for what carriers, neighbours, kernels and our own files say, beside the protocol itself."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

from zeroconf.asyncio import AsyncServiceInfo

from meshnode.cli.frames import describe, ipv6_packet
from meshnode.config.errors import ConfigError
from meshnode.config.load import parse as parse_config
from meshnode.config.peer_edit import EditError, with_peer, without_peer
from meshnode.control.history_file import HistoryFileError
from meshnode.control.history_file import load as load_history
from meshnode.control.listening import chain_rules, verdict
from meshnode.discovery.lan_table import MOST_ADDRESSES, LanTable
from meshnode.discovery.mdns import advert_of
from meshnode.gateway.conntrack import flows
from meshnode.gateway.store import Store
from meshnode.identity import Identity
from meshnode.sim.loading import parse_scenario
from meshnode.sim.reading import ScenarioError
from meshnode.transports.addresses import HostName, format_address, parse_address
from meshnode.transports.ble.addresses import parse_device
from meshnode.transports.ble.hello import HelloError, parse_hello
from meshnode.transports.ble.sockaddr import device_of
from meshnode.transports.interfaces import TransportError
from meshnode.transports.mac_addresses import parse_mac
from meshnode.transports.netlink import parse_links
from meshnode.transports.socks import Credentials, SocksClient, SocksError
from meshnode.transports.tor.onion import OnionKey
from meshnode.wire import WireError
from meshnode.wire.ethernet import DATA_OVERHEAD, Beacon, enclosed
from tests.fuzz.tape import Target, pieces

_ME, _OTHER = Identity(bytes([7]) * 32), Identity(bytes([8]) * 32)
_SERVICE, _INSTANCE = "_fips._udp.local.", "fips-npub1other"


def socks(data: bytes) -> None:
    """What a proxy answers, whole and byte by byte: both end alike."""
    for credentials in (None, Credentials("user", "secret")):
        ends = [_socks(SocksClient(HostName("host.example", 1), credentials), data, size) for size in (len(data), 1)]
        assert ends[0] == ends[1]


def _socks(client: SocksClient, data: bytes, size: int) -> tuple[bytes, bool, str]:
    sent = client.greeting()
    try:
        for at in range(0, len(data), size or 1):
            sent += client.feed(data[at : at + size])
    except SocksError as error:
        return b"", client.done, str(error)
    return sent, client.done, client.rest.hex()


def advert(data: bytes) -> None:
    """A TXT record and addresses, from anybody on the local network."""
    text, *addresses = [*pieces(data), b""]
    info = AsyncServiceInfo(
        _SERVICE,
        f"{_INSTANCE}.{_SERVICE}",
        properties=text,
        port=int.from_bytes(data[-2:], "big"),
        addresses=[(address * 16)[:size] for address in addresses if address for size in (4, 16)],
    )
    found = advert_of(info, "eth0", _INSTANCE)
    table = LanTable(_ME.peer, None)
    for identity in table.seen(found):
        assert identity != _ME.peer
        assert len(table.whereabouts(identity)) <= MOST_ADDRESSES
    table.gone("eth0", _INSTANCE)
    assert not table.knows(_OTHER.peer)


def ethernet(data: bytes) -> None:
    """Payloads of a burst: every frame is a part of the payload it came in."""
    payloads = [payload for payload in pieces(data) if len(payload) >= DATA_OVERHEAD]
    for payload in payloads:
        with contextlib.suppress(WireError):
            assert payload.startswith(Beacon.parse(payload).encode())
    if payloads:
        heads = b"".join(payload[:DATA_OVERHEAD] for payload in payloads)
        frames, beacons = enclosed(heads, [payload[DATA_OVERHEAD:] for payload in payloads])
        assert all(any(frame in payload for payload in payloads) for frame in frames)
        assert set(beacons) <= set(payloads)
        assert len(frames) + len(beacons) <= len(payloads)


def bluetooth(data: bytes) -> None:
    with contextlib.suppress(HelloError):
        assert parse_hello(data).xonly == data[1:]
    with contextlib.suppress(TransportError):
        assert parse_device(parse_device(data.decode("latin-1"))) == parse_device(data.decode("latin-1"))
    device_of(data)


def addresses(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    parse_mac(text)
    with contextlib.suppress(TransportError):
        found = parse_address(text)
        if not isinstance(found, HostName):
            assert parse_address(format_address(found)) == found


def netlink(data: bytes) -> None:
    list(parse_links(data))


def kernel_tables(data: bytes) -> None:
    """Connection tracking as text, and a firewall as JSON."""
    text = data.decode("utf-8", "replace")
    assert all(len(flow.destination) == len(flow.answered_by) == 16 for flow in flows(text.splitlines()))
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(text)
        with contextlib.suppress(ValueError):
            assert verdict(chain_rules(document), "tcp", 80) in ("accept", "drop", "unknown")


def own_files(data: bytes) -> None:
    """A file that this program wrote, and that something happened to since."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "file")
        file.write_bytes(data)
        with contextlib.suppress(HistoryFileError):
            load_history(file, 1000.0, 2e9)
        Store("fd01::/112", ["eth0"], file).load()
        OnionKey(file, lambda text: None).load()


def peer_edit(data: bytes) -> None:
    """A configuration with a peer more, and without it again, says the same as before."""
    text = data.decode("utf-8", "replace")
    try:
        before, _ = parse_config(text)
        changed = with_peer(text, _OTHER.npub, "other", "udp", "192.0.2.1:2121")
        back = without_peer(changed, _OTHER.npub)
    except (ConfigError, EditError):
        return
    with contextlib.suppress(ConfigError):  # whoever edits a file reads the result before it is written
        if _OTHER.npub not in [peer.npub for peer in before.peers] and parse_config(changed):
            assert parse_config(back)[0] == before


def scenario(data: bytes) -> None:
    with contextlib.suppress(ScenarioError):
        parse_scenario(data.decode("utf-8", "replace"), "file", "name")


def frame_in_words(data: bytes) -> None:
    """A captured frame and what was opened in it, as they are shown to somebody."""
    frame, plaintext, inner = (*pieces(data), b"", b"", b"")[:3]
    for opened in ((None, None), (plaintext, None), (plaintext, inner)):
        assert "\n" not in describe(frame, *opened)
        ipv6_packet(*opened)


READERS: dict[str, Target] = {
    "socks": socks,
    "advert": advert,
    "ethernet": ethernet,
    "bluetooth": bluetooth,
    "addresses": addresses,
    "netlink": netlink,
    "kernel-tables": kernel_tables,
    "own-files": own_files,
    "peer-edit": peer_edit,
    "scenario": scenario,
    "frame-in-words": frame_in_words,
}
