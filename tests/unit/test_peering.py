"""When and where to dial (spec 01 section 11)."""

from __future__ import annotations

from random import Random

from meshnode.identity import Identity
from meshnode.mesh.link import LinkLayer
from meshnode.mesh.settings import MeshSettings, RetrySettings
from meshnode.node.peering import PeerAddress, PeerConfig, Peering
from meshnode.node.transports import TransportTable


class DialableTransport:
    """As much of a transport as dialling looks at."""

    def __init__(self, transport_id: int, kind: str = "udp", name: str | None = None, family: str = "v4") -> None:
        self.transport_id, self.kind, self.name, self.state = transport_id, kind, name, "up"
        self.family = family
        self.mtu = 1280
        self.accepts_connections = True

    def can_dial(self, address: str) -> bool:
        return address.startswith(self.family)


def peer(number: int, *addresses: PeerAddress, auto_connect: bool = True, auto_reconnect: bool = True) -> PeerConfig:
    identity = Identity.parse(f"{number:064x}").peer
    return PeerConfig(identity, list(addresses), None, auto_connect, auto_reconnect)


class Rig:
    def __init__(self, settings: MeshSettings | None = None, *transports: DialableTransport) -> None:
        self.settings = settings or MeshSettings()
        rng = Random(1)
        self.links = LinkLayer(Identity.parse("7f" * 32), bytes(8), self.settings, rng.randbytes, rng, 0.0)
        self.table = TransportTable()
        for transport in transports or (DialableTransport(1),):
            self.table.add(transport)  # type: ignore[arg-type]
        self.complaints: list[str] = []
        self.peering = Peering(self.links, self.table, self.settings, self.complaints.append)

    def dialled(self) -> list[tuple[int, str]]:
        return [path for path, _ in self.links.drain_outbound()]

    def give_up(self, now: float) -> None:
        """Let every handshake run out, as the node would hear of it."""
        self.links.handle_timeout(now)
        for event in self.links.drain_events():
            self.peering.dial_failed(event.remote, now)  # type: ignore[union-attr]
        self.links.drain_outbound()


def test_only_auto_connect_peers_are_dialled_at_start() -> None:
    rig = Rig()
    rig.peering.start([peer(2, PeerAddress("udp", "v4-a")), peer(3, PeerAddress("udp", "v4-b"), auto_connect=False)], 0)
    assert rig.dialled() == [(1, "v4-a")]


def test_addresses_are_tried_in_parallel_by_priority_up_to_four() -> None:
    rig = Rig()
    addresses = [PeerAddress("udp", f"v4-{number}", priority=100 - number) for number in range(6)]
    rig.peering.start([peer(2, *addresses)], 0)
    assert rig.dialled() == [(1, "v4-5"), (1, "v4-4"), (1, "v4-3"), (1, "v4-2")]


def test_the_transport_fits_kind_family_and_instance() -> None:
    rig = Rig(None, DialableTransport(1), DialableTransport(2, family="v6"), DialableTransport(3, name="backup"))
    addresses = [PeerAddress("udp", "v6-x"), PeerAddress("udp/backup", "v4-y"), PeerAddress("tcp", "v4-z")]
    rig.peering.start([peer(2, *addresses)], 0)
    assert rig.dialled() == [(2, "v6-x"), (3, "v4-y")]


def test_a_never_reached_peer_is_retried_for_ever_with_growing_delay() -> None:
    rig = Rig()
    rig.peering.start([peer(2, PeerAddress("udp", "v4-a"))], 0)
    rig.dialled()
    now, delays = 0.0, []
    for _ in range(8):
        now += 30
        rig.give_up(now)
        (retry,) = rig.peering.retries.values()
        delays.append(retry.due - now)
        now = retry.due
        rig.peering.tick(now)
        assert rig.dialled() == [(1, "v4-a")]
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]


def test_a_lost_peer_is_dialled_again_after_five_seconds() -> None:
    rig = Rig()
    lost = peer(2, PeerAddress("udp", "v4-a"))
    rig.peering.configured[lost.identity.node_addr] = lost
    rig.peering.peer_down(lost.identity, 100)
    rig.peering.tick(104)
    assert rig.dialled() == []
    rig.peering.tick(105)
    assert rig.dialled() == [(1, "v4-a")]


def test_a_peer_without_auto_reconnect_stays_lost() -> None:
    rig = Rig()
    lost = peer(2, PeerAddress("udp", "v4-a"), auto_reconnect=False)
    rig.peering.configured[lost.identity.node_addr] = lost
    rig.peering.peer_down(lost.identity, 100)
    assert rig.peering.retries == {}


def test_no_retries_when_they_are_switched_off() -> None:
    rig = Rig(MeshSettings(retry=RetrySettings(max_retries=0)))
    rig.peering.start([peer(2, PeerAddress("udp", "v4-a"))], 0)
    rig.give_up(31)
    assert rig.peering.retries == {}


def test_a_peer_without_a_usable_address_is_reported_and_retried() -> None:
    rig = Rig()
    rig.peering.start([peer(2, PeerAddress("tcp", "v4-a"))], 0)
    assert rig.complaints
    assert "tcp v4-a" in rig.complaints[0]
    assert len(rig.peering.retries) == 1


def test_a_stopping_node_dials_nobody() -> None:
    rig = Rig()
    lost = peer(2, PeerAddress("udp", "v4-a"))
    rig.peering.configured[lost.identity.node_addr] = lost
    rig.peering.stop()
    rig.peering.peer_down(lost.identity, 0)
    rig.peering.dial_failed(lost.identity, 0)
    assert rig.peering.retries == {}


def test_many_due_dials_are_spread_over_ticks() -> None:
    rig = Rig()
    for number in range(40):
        lost = peer(number + 2, PeerAddress("udp", f"v4-{number}"))
        rig.peering.configured[lost.identity.node_addr] = lost
        rig.peering.peer_down(lost.identity, 0)
    rig.peering.tick(10)
    assert len(rig.dialled()) == 16
    rig.peering.tick(11)
    assert len(rig.dialled()) == 16
    rig.peering.tick(12)
    assert len(rig.dialled()) == 8
