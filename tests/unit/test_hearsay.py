"""How much leaves for addresses that only adverts and beacons name, and that honest nodes are met all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from meshnode.mesh.settings import LimitSettings, MeshSettings
from meshnode.node.candidates import KnownPeer, PeerAddress
from meshnode.node.hearsay import (
    ADVERT_COPIES,
    BEACON_COPIES,
    EXTRA_BURST,
    EXTRA_RATE,
    HOST_BURST,
    HOST_RATE,
    MOST_AT_ONCE,
    MOST_EARNED,
    MOST_EXTRA_AT_ONCE,
    MOST_EXTRA_PER_SEC,
    MOST_PER_SEC,
    Hearsay,
    host_of,
)
from meshnode.wire.ethernet import enclose
from tests.unit.test_better_paths import Net
from tests.unit.test_peering import DialableTransport, Rig, peer

VICTIM = PeerAddress("udp", "v4-victim:2121", 50)
STATION = PeerAddress("ethernet", "v4/02:00:00:00:00:09")
FIRST_MESSAGE = 114
LEAST_ADVERT = 122  # TXT with key and scope, and A, names compressed, beside others in one datagram
BEACON_ON_WIRE, MESSAGE_ON_WIRE = 60, 14 + len(enclose([bytes(FIRST_MESSAGE)]))


class Wire(Rig):
    """A node whose first messages are counted as time goes by."""

    def __init__(self, settings: MeshSettings | None = None, kind: str = "udp") -> None:
        super().__init__(settings, DialableTransport(1, kind))
        self.now = 0.0
        self.sent: list[tuple[float, str]] = []

    def advert(self, number: int, *addresses: PeerAddress, copies: int = ADVERT_COPIES) -> None:
        self.peering.candidates_found("lan", peer(number).identity, addresses, self.now, lifetime=4500, copies=copies)

    def beacon(self, number: int, address: PeerAddress = STATION) -> None:
        self.peering.neighbour_found("ethernet", peer(number).identity, address, self.now, lifetime=120)

    def until(self, end: float) -> None:
        """Let time pass, a tenth of a second at a time."""
        while self.now < end:
            self.now = round(self.now + 0.1, 1)
            self.links.handle_timeout(self.now)
            for event in self.links.drain_events():
                self.peering.dial_failed(event.remote, self.now)  # type: ignore[union-attr]
            self.peering.handle_timeout(self.now)
            self.sent += [(self.now, address) for address in (path[1] for path in self.dialled())]

    def repeated(self, end: float, every: float, say: Callable[[int], None]) -> int:
        """Say something again and again; how often that was."""
        count = 0
        while self.now < end:
            say(count)
            count += 1
            self.until(self.now + every)
        return count


def test_one_forged_advert_costs_whom_it_names_a_few_messages_and_no_more() -> None:
    wire = Wire()
    wire.advert(2, VICTIM)
    wire.until(4500)
    assert len(wire.sent) == ADVERT_COPIES + EXTRA_BURST
    assert wire.sent[-1][0] < 15
    assert wire.peering.retries == {}


def test_one_forged_beacon_costs_whom_it_names_a_few_messages_and_no_more() -> None:
    wire = Wire(kind="ethernet")
    wire.beacon(2)
    wire.until(1000)
    assert len(wire.sent) == BEACON_COPIES + EXTRA_BURST


def test_an_honest_node_that_is_heard_of_is_asked_often_enough_for_lost_messages() -> None:
    """Of the first message and its answer, two in three pairs and more get through where 30 % is lost each way."""
    for speak in (Wire.advert, Wire.beacon):
        wire = Wire()
        speak(wire, 2, VICTIM)
        wire.until(8)
        times = [time for time, _ in wire.sent]
        assert times[:4] == [0.1, 0.6, 1.6, 3.6]
        assert (1 - 0.7 * 0.7) ** len(times) < 0.04
        assert (1 - 0.95 * 0.95) ** len(times) < 0.001


def test_adverts_repeated_for_ever_earn_less_than_three_times_their_bytes() -> None:
    wire = Wire()
    heard = wire.repeated(3600, 300, lambda _: wire.advert(2, VICTIM))
    extra = EXTRA_BURST + wire.now * EXTRA_RATE
    assert len(wire.sent) <= heard * ADVERT_COPIES + extra
    assert ADVERT_COPIES * FIRST_MESSAGE <= 3 * LEAST_ADVERT


def test_beacons_repeated_for_ever_earn_less_than_three_times_their_bytes() -> None:
    wire = Wire(kind="ethernet")
    heard = wire.repeated(3600, 30, lambda _: wire.beacon(2))
    assert len(wire.sent) <= heard * BEACON_COPIES + EXTRA_BURST + wire.now * EXTRA_RATE
    assert len(wire.sent) >= heard
    assert BEACON_COPIES * MESSAGE_ON_WIRE <= 3 * BEACON_ON_WIRE


def test_what_is_only_told_again_earns_nothing() -> None:
    wire = Wire()
    wire.advert(2, VICTIM)
    wire.until(100)
    before = len(wire.sent)
    wire.repeated(4000, 300, lambda _: wire.advert(2, VICTIM, copies=0))
    assert len(wire.sent) == before


def test_made_up_keys_that_all_name_one_host_cost_it_no_more_than_its_share() -> None:
    """A thousand keys, each at a port of its own."""
    wire = Wire()
    for number in range(2, 1002):
        wire.advert(number, PeerAddress("udp", f"v4-victim:{number}", 50))
    wire.until(120)
    assert len(wire.sent) <= HOST_BURST + HOST_RATE * wire.now


def test_a_flood_that_goes_on_costs_one_host_no_more_than_its_share() -> None:
    wire = Wire(kind="ethernet")
    wire.repeated(120, 0.2, lambda count: wire.beacon(2 + count))
    assert len(wire.sent) <= HOST_BURST + HOST_RATE * wire.now


def test_made_up_hosts_together_cost_the_network_a_bounded_number_of_messages() -> None:
    wire = Wire()
    for number in range(2, 1002):
        wire.advert(number, *(PeerAddress("udp", f"v4-{number}-{index}:1", 50) for index in range(8)))
    wire.until(60)
    assert len(wire.sent) <= MOST_AT_ONCE + MOST_PER_SEC * wire.now
    earned = 1000 * ADVERT_COPIES
    assert len(wire.sent) <= earned + MOST_EXTRA_AT_ONCE + MOST_EXTRA_PER_SEC * wire.now


def test_one_advert_of_many_addresses_earns_no_more_than_one_of_one() -> None:
    wire = Wire()
    wire.advert(2, *(PeerAddress("udp", f"v4-{index}:1", 50) for index in range(8)))
    wire.until(1000)
    dialled = Counter(address for _, address in wire.sent)
    assert len(wire.sent) <= ADVERT_COPIES + EXTRA_BURST * len(dialled)
    assert len(dialled) == ADVERT_COPIES


def test_an_advert_that_is_taken_back_at_once_leaves_nothing_that_repeats_itself() -> None:
    wire = Wire()
    later = PeerAddress("udp", "v4-other:1", 60)
    wire.advert(2, VICTIM, later)
    wire.until(0.1)
    wire.peering.candidates_gone("lan", peer(2).identity)
    wire.until(300)
    assert len(wire.sent) <= ADVERT_COPIES + EXTRA_BURST


def test_adverts_take_only_half_of_the_room_for_dials() -> None:
    wire = Wire(MeshSettings(limits=LimitSettings(max_connections=8)))
    for number in range(10, 30):
        wire.advert(number, PeerAddress("udp", f"v4-{number}:1", 50))
    wire.until(2)
    assert len(wire.links.handshakes) == 4
    wire.peering.configure(peer(2, PeerAddress("udp", "v4-friend")), wire.now)
    wire.until(3)
    assert (2.1, "v4-friend") in wire.sent


def test_made_up_peers_let_the_wanted_ones_go_first() -> None:
    wire = Wire()
    for number in range(10, 200):
        wire.advert(number, PeerAddress("udp", f"v4-{number}:1", 50))
    wire.peering.configure(peer(2, PeerAddress("udp", "v4-friend")), wire.now)
    wire.until(0.1)
    assert wire.sent[0] == (0.1, "v4-friend")


def test_forged_peers_fill_no_log() -> None:
    wire = Wire(MeshSettings(limits=LimitSettings(max_connections=8)))
    for number in range(10, 200):
        wire.advert(number, PeerAddress("udp", f"v4-{number}:1", 50))
    wire.until(60)
    assert wire.complaints == []


# -- those that are there


def test_a_peer_that_answered_once_is_dialled_again_for_ever() -> None:
    wire = Wire()
    wire.advert(2, VICTIM)
    wire.until(0.1)
    identity = peer(2).identity
    wire.links.cancel_dials(identity)
    wire.peering.peer_up(identity, wire.now, (1, VICTIM.address))
    wire.until(100)
    wire.sent.clear()
    wire.peering.peer_down(identity, wire.now, path=(1, VICTIM.address))
    wire.until(1000)
    assert wire.sent[0][0] <= 101.2
    assert len(wire.sent) > 60
    assert wire.peering.retries or wire.links.handshakes


def test_an_address_forged_for_a_peer_that_answered_elsewhere_is_hearsay_like_any_other() -> None:
    wire = Wire()
    identity = peer(2).identity
    home = PeerAddress("udp", "v4-home:1", 50)
    wire.advert(2, home)
    wire.until(0.1)
    wire.links.cancel_dials(identity)
    wire.peering.peer_up(identity, wire.now, (1, home.address))
    wire.until(100)
    wire.peering.peer_down(identity, wire.now, path=(1, home.address))
    wire.advert(2, home, VICTIM)
    wire.until(1000)
    told = Counter(address for _, address in wire.sent)
    assert told[VICTIM.address] <= 2 * ADVERT_COPIES + EXTRA_BURST + 900 * EXTRA_RATE
    assert told[home.address] > 60


def test_an_address_of_the_configuration_is_dialled_for_ever_whoever_else_names_it() -> None:
    wire = Wire()
    wire.advert(2, VICTIM)
    wire.peering.configure(peer(2, PeerAddress("udp", VICTIM.address)), wire.now)
    wire.until(300)
    assert len(wire.sent) > 60


def test_the_operator_may_dial_where_only_an_advert_says_somebody_is() -> None:
    wire = Wire()
    wire.advert(2, VICTIM)
    wire.until(200)
    wire.sent.clear()
    assert wire.peering.connect(peer(2, VICTIM), wire.now)
    wire.until(240)
    assert len(wire.sent) > 15


@pytest.mark.parametrize("silent", [False, True], ids=["a better path", "where else it may be"])
def test_an_address_forged_for_a_peer_that_is_connected_gets_no_more_than_any_other(silent: bool) -> None:
    net = Net()
    net.b.start()
    net.a.start(net.b, udp=100)
    net.run(5)
    sent: Counter[str] = Counter()

    def count(outgoing: bool, _transport: object, address: str, frames: list[bytes]) -> None:
        sent[address] += sum(map(len, frames)) if outgoing else 0

    net.a.node.transports.tap = count
    forged = net.b.host.identity.peer, [PeerAddress("udp", "victim", 1)]
    net.a.node.run(lambda now: net.a.node.peering.candidates_found("lan", *forged, now))
    if silent:
        net.cut_udp()
    net.run(120)
    assert 0 < sent["victim"] <= (2 * ADVERT_COPIES + EXTRA_BURST + 120 * EXTRA_RATE) * FIRST_MESSAGE


def test_a_host_is_named_without_its_port() -> None:
    assert host_of("192.0.2.1:2121") == "192.0.2.1"
    assert host_of("[fe80::1%eth0]:2121") == "[fe80::1%eth0]"
    assert host_of("eth0/02:00:00:00:00:01") == "eth0/02:00:00:00:00:01"


def test_copies_that_were_earned_do_not_pile_up() -> None:
    known = KnownPeer(peer(1).identity)
    for _ in range(10):
        Hearsay.heard(known, ADVERT_COPIES)
    assert known.earned == MOST_EARNED


@pytest.mark.parametrize(("earned", "most"), [(0, MOST_EXTRA_AT_ONCE), (1, MOST_AT_ONCE)])
def test_hosts_without_number_share_what_there_is_for_all(earned: int, most: float) -> None:
    hearsay = Hearsay(bytes(32))
    known = KnownPeer(peer(1).identity)
    allowed = 0
    for number in range(1000):
        known.earned = earned
        allowed += hearsay.allow(known, f"v4-{number}:2121", 0.0)
    assert allowed == most
