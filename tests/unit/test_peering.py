"""When and where to dial (spec 01 section 11)."""

from __future__ import annotations

from random import Random

import pytest
from zope.interface import implementer

from meshnode.identity import Identity
from meshnode.mesh.link import LinkLayer
from meshnode.mesh.settings import MeshSettings, RetrySettings
from meshnode.node.candidates import MAX_ADDRESSES, MAX_FOUND_PEERS
from meshnode.node.hearsay import Hearsay
from meshnode.node.peering import LASTING_SECS, DialError, PeerAddress, PeerConfig, Peering, Wish
from meshnode.node.transports import TransportTable
from meshnode.transports.interfaces import INameKeeper


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
        self.links = LinkLayer(
            Identity.parse("7f" * 32),
            bytes(8),
            self.settings,
            rng.randbytes,
            rng,
            0.0,
            may_send=lambda remote, path, now: self.peering.may_send(remote, path, now),
        )
        self.table = TransportTable()
        for transport in transports or (DialableTransport(1),):
            self.table.add(transport)  # type: ignore[arg-type]
        self.complaints: list[str] = []
        self.peering = Peering(self.links, self.table, self.settings, rng, self.complaints.append, Hearsay(bytes(32)))

    def at(self, now: float) -> list[tuple[int, str]]:
        """Where is dialled when the time comes to be `now`."""
        self.peering.handle_timeout(now)
        return self.dialled()

    def dialled(self) -> list[tuple[int, str]]:
        return [path for path, _ in self.links.drain_outbound()]

    def give_up(self, now: float) -> None:
        """Let every handshake run out, as the node would hear of it."""
        self.links.handle_timeout(now)
        for event in self.links.drain_events():
            self.peering.dial_failed(event.remote, now)  # type: ignore[union-attr]
        self.links.drain_outbound()

    def lose(self, lost: PeerConfig, up: float, down: float, spoke: bool = True) -> None:
        """Let a link to `lost` be there for a while."""
        self.peering.known.configure(lost)
        self.peering.peer_up(lost.identity, up)
        self.peering.peer_down(lost.identity, down, spoke=spoke)

    def due(self) -> float:
        (retry,) = self.peering.retries.values()
        return retry.due


A, B, C = (PeerAddress("udp", f"v4-{name}") for name in "abc")


def test_only_auto_connect_peers_are_dialled_at_start() -> None:
    rig = Rig()
    rig.peering.start([peer(2, A), peer(3, B, auto_connect=False)], 0)
    assert rig.dialled() == [(1, "v4-a")]


def test_addresses_of_equal_priority_are_tried_together_up_to_four() -> None:
    rig = Rig()
    rig.peering.start([peer(2, *(PeerAddress("udp", f"v4-{number}") for number in range(6)))], 0)
    assert rig.dialled() == [(1, "v4-0"), (1, "v4-1"), (1, "v4-2"), (1, "v4-3")]


def test_addresses_of_the_next_priority_join_in_a_moment_later() -> None:
    rig = Rig()
    addresses = [PeerAddress("udp", f"v4-{number}", priority=100 - number) for number in range(6)]
    rig.peering.start([peer(2, *addresses)], 0)
    assert rig.dialled() == [(1, "v4-5")]
    assert rig.at(0.2) == []
    assert rig.at(0.3) == [(1, "v4-4")]
    assert rig.at(0.6) == [(1, "v4-3")]
    assert rig.at(0.9) == [(1, "v4-2")]
    assert rig.at(1.2) == []


def test_an_address_that_fails_at_once_lets_the_next_one_come() -> None:
    rig = Rig(None, DialableTransport(1), DialableTransport(2, family="v6"))
    unusable = PeerAddress("tcp", "v4-z", priority=1)
    rig.peering.start([peer(2, unusable, PeerAddress("udp", "v4-a", 2), PeerAddress("udp", "v6-b", 3))], 0)
    assert rig.dialled() == [(1, "v4-a")]
    rig.links.cancel_dials(peer(2).identity)
    rig.peering.dial_failed(peer(2).identity, 0.05)
    assert rig.at(0.05) == [(2, "v6-b")]


def test_what_was_tried_in_vain_comes_after_what_was_not_tried() -> None:
    rig = Rig()
    addresses = [PeerAddress("udp", f"v4-{number}") for number in range(6)]
    rig.peering.start([peer(2, *addresses)], 0)
    assert len(rig.dialled()) == 4
    rig.give_up(30)
    assert rig.at(rig.due())[:2] == [(1, "v4-4"), (1, "v4-5")]


def test_no_address_is_left_out_for_ever() -> None:
    rig = Rig()
    rig.peering.start([peer(2, *(PeerAddress("udp", f"v4-{number}") for number in range(8)))], 0)
    seen = set(rig.dialled())
    now = 0.0
    for _ in range(3):
        now += 30
        rig.give_up(now)
        now = rig.due()
        seen |= set(rig.at(now))
    assert len(seen) == 8


def test_a_link_ends_the_attempt_under_way() -> None:
    rig = Rig()
    rig.peering.start([peer(2, PeerAddress("udp", "v4-a", 1), PeerAddress("udp", "v4-b", 2))], 0)
    rig.dialled()
    rig.peering.peer_up(peer(2).identity, 0.1)
    assert rig.at(0.5) == []


def test_the_transport_fits_kind_family_and_instance() -> None:
    rig = Rig(None, DialableTransport(1), DialableTransport(2, family="v6"), DialableTransport(3, name="backup"))
    addresses = [PeerAddress("udp", "v6-x"), PeerAddress("udp/backup", "v4-y"), PeerAddress("tcp", "v4-z")]
    rig.peering.start([peer(2, *addresses)], 0)
    assert rig.dialled() == [(2, "v6-x"), (3, "v4-y")]


# -- again


def test_a_never_reached_peer_is_retried_for_ever_with_growing_delay() -> None:
    rig = Rig()
    rig.peering.start([peer(2, A)], 0)
    rig.dialled()
    now, delays = 0.0, []
    for _ in range(8):
        now += 30
        rig.give_up(now)
        delays.append(rig.due() - now)
        now = rig.due()
        assert rig.at(now) == [(1, "v4-a")]
    for delay, longest in zip(delays, [10, 20, 40, 80, 160, 300, 300, 300], strict=True):
        assert 0.75 * longest <= delay <= longest


def test_peers_lost_together_are_not_dialled_together() -> None:
    rig = Rig()
    for number in range(8):
        rig.lose(peer(number + 2, A), 0, 100)
    dues = {retry.due for retry in rig.peering.retries.values()}
    assert len(dues) == 8
    assert min(dues) >= 100
    assert max(dues) <= 101


def test_a_link_that_lasted_is_replaced_at_once() -> None:
    rig = Rig()
    rig.lose(peer(2, A), 0, LASTING_SECS)
    assert rig.due() <= LASTING_SECS + 1
    assert rig.at(rig.due()) == [(1, "v4-a")]


def test_links_that_do_not_last_are_replaced_ever_more_slowly() -> None:
    rig = Rig()
    now, waits = 0.0, []
    for _ in range(5):
        rig.lose(peer(2, A), now, now + 1)
        waits.append(rig.due() - now - 1)
        now = rig.due()
    for wait, longest in zip(waits, [1, 10, 20, 40, 80], strict=True):
        assert wait <= longest
    assert waits[1:] == sorted(waits[1:])
    assert waits[4] >= 60


def test_links_on_which_nothing_was_heard_have_not_lasted() -> None:
    rig = Rig()
    now, waits = 0.0, []
    for _ in range(5):
        rig.lose(peer(2, A), now, now + 31, spoke=False)
        waits.append(rig.due() - now - 31)
        now = rig.due()
    assert waits[1:] == sorted(waits[1:])
    assert waits[4] >= 60
    rig.lose(peer(2, A), now, now + 31)
    assert rig.due() - now - 31 <= 1


def test_a_peer_without_auto_reconnect_stays_lost() -> None:
    rig = Rig()
    rig.lose(peer(2, A, auto_reconnect=False), 0, 100)
    assert rig.peering.retries == {}


def test_no_retries_when_they_are_switched_off() -> None:
    rig = Rig(MeshSettings(retry=RetrySettings(max_retries=0)))
    rig.peering.start([peer(2, A)], 0)
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
    lost = peer(2, A)
    rig.peering.known.configure(lost)
    rig.peering.stop()
    rig.peering.peer_down(lost.identity, 0)
    rig.peering.dial_failed(lost.identity, 0)
    rig.peering.candidates_found("lan", peer(3).identity, [B], 0)
    assert rig.peering.retries == {}


def test_many_due_dials_are_spread_over_time() -> None:
    rig = Rig()
    for number in range(40):
        rig.lose(peer(number + 2, PeerAddress("udp", f"v4-{number}")), -100, 0)
    assert len(rig.at(10)) == 16
    assert rig.peering.next_deadline() is not None
    assert len(rig.at(11)) == 16
    assert len(rig.at(12)) == 8
    assert rig.peering.next_deadline() is None


def test_a_change_of_the_surroundings_ends_all_waiting() -> None:
    rig = Rig()
    rig.peering.start([peer(2, A)], 0)
    rig.dialled()
    rig.give_up(30)
    assert rig.due() > 35
    rig.peering.surroundings_changed(32)
    assert rig.at(33) == [(1, "v4-a")]


def test_a_name_is_looked_up_again_at_each_dial() -> None:
    @implementer(INameKeeper)
    class Naming(DialableTransport):
        asked: list[str] = []

        def look_up_again(self, address: str) -> None:
            self.asked.append(address)

    rig = Rig(None, Naming(1))
    rig.peering.start([peer(2, PeerAddress("udp", "v4.example.org:2121"))], 0)
    rig.give_up(30)
    rig.at(rig.due())
    assert Naming.asked == ["v4.example.org:2121"] * 2


# -- what other sources tell


def test_a_found_peer_is_dialled_and_kept() -> None:
    rig = Rig()
    found = peer(2).identity
    rig.peering.candidates_found("lan", found, [A], 0, lifetime=1000)
    assert rig.at(0) == [(1, "v4-a")]
    rig.links.cancel_dials(found)
    rig.peering.peer_up(found, 1)
    rig.peering.peer_down(found, 100)
    assert rig.at(101) == [(1, "v4-a")]


def test_addresses_alone_make_nobody_dial() -> None:
    rig = Rig()
    rig.peering.candidates_found("nostr", peer(2).identity, [A], 0, Wish.NONE)
    assert rig.at(1) == []


def test_addresses_found_for_a_configured_peer_are_dialled_without_waiting() -> None:
    rig = Rig()
    rig.peering.start([peer(2)], 0)
    assert rig.due() > 5
    rig.peering.candidates_found("nostr", peer(2).identity, [A], 1, Wish.NONE)
    assert rig.at(1) == [(1, "v4-a")]


def test_telling_the_same_again_does_not_shorten_the_wait() -> None:
    rig = Rig()
    rig.peering.candidates_found("lan", peer(2).identity, [A], 0)
    assert rig.at(0)
    rig.give_up(30)
    due = rig.due()
    rig.peering.candidates_found("lan", peer(2).identity, [A], 31)
    assert rig.due() == due
    rig.peering.candidates_found("lan", peer(2).identity, [A, B], 32)
    assert rig.at(32) == [(1, "v4-b"), (1, "v4-a")]


def test_an_address_found_during_an_attempt_joins_it() -> None:
    rig = Rig()
    rig.peering.start([peer(2, A)], 0)
    rig.dialled()
    rig.peering.candidates_found("lan", peer(2).identity, [B], 5, Wish.NONE)
    assert rig.at(5) == [(1, "v4-b")]


def test_equal_addresses_of_two_sources_are_dialled_once() -> None:
    rig = Rig()
    rig.peering.known.configure(peer(2, A))
    rig.peering.candidates_found("lan", peer(2).identity, [PeerAddress("udp", "v4-a", 10)], 0)
    assert rig.at(1) == [(1, "v4-a")]


def test_the_latest_sighting_goes_first_among_equals() -> None:
    rig = Rig()
    rig.peering.known.configure(peer(2, A))
    rig.peering.candidates_found("nostr", peer(2).identity, [B], 0, Wish.NONE)
    rig.peering.candidates_found("lan", peer(2).identity, [C], 1, Wish.NONE)
    assert rig.at(1) == [(1, "v4-c"), (1, "v4-b"), (1, "v4-a")]


def test_a_peer_that_was_only_to_be_tried_is_given_up() -> None:
    rig = Rig(MeshSettings(retry=RetrySettings(max_retries=2)))
    rig.peering.candidates_found("nostr", peer(2).identity, [A], 0, Wish.TRY)
    now = 0.0
    for _ in range(3):
        assert rig.at(now) == [(1, "v4-a")]
        rig.give_up(now + 30)
        now += 30 + 60
    assert rig.at(now + 1000) == []
    rig.peering.candidates_found("nostr", peer(2).identity, [A], now, Wish.TRY)
    assert rig.at(now + 1) == []
    rig.peering.candidates_found("nostr", peer(2).identity, [B], now, Wish.TRY)
    assert rig.at(now + 2) == [(1, "v4-b")]


def test_a_peer_that_was_only_to_be_tried_is_not_dialled_again_after_a_loss() -> None:
    rig = Rig()
    rig.peering.candidates_found("nostr", peer(2).identity, [A], 0, Wish.TRY)
    rig.at(0)
    rig.peering.peer_up(peer(2).identity, 1)
    rig.peering.peer_down(peer(2).identity, 100)
    assert rig.at(200) == []


def test_what_grew_too_old_is_forgotten() -> None:
    rig = Rig()
    rig.peering.candidates_found("lan", peer(2).identity, [A], 0, lifetime=60)
    rig.at(0)
    rig.give_up(30)
    rig.at(61)
    rig.give_up(300)
    assert rig.peering.known.get(peer(2).identity.node_addr) is None
    assert rig.at(1000) == []


def test_what_a_source_takes_back_is_forgotten_and_the_others_word_stays() -> None:
    rig = Rig()
    rig.peering.candidates_found("lan", peer(2).identity, [A], 0)
    rig.peering.candidates_found("nostr", peer(2).identity, [B], 0)
    rig.peering.candidates_gone("lan", peer(2).identity)
    assert rig.at(1) == [(1, "v4-b")]


def test_the_operators_word_overrules_what_sources_want() -> None:
    rig = Rig()
    rig.peering.start([peer(2, auto_connect=False), peer(3, auto_reconnect=False)], 0)
    rig.peering.candidates_found("lan", peer(2).identity, [A], 0)
    assert rig.at(1) == []
    rig.peering.candidates_found("lan", peer(3).identity, [B], 0)
    assert rig.at(1) == [(1, "v4-b")]
    rig.peering.peer_up(peer(3).identity, 2)
    rig.peering.peer_down(peer(3).identity, 100)
    assert rig.at(200) == []


def test_a_dismissed_peer_is_left_alone_by_every_source() -> None:
    rig = Rig()
    rig.peering.start([peer(2, A)], 0)
    rig.links.cancel_dials(peer(2).identity)
    rig.dialled()
    rig.peering.disconnect(peer(2).identity)
    rig.peering.candidates_found("lan", peer(2).identity, [B], 1)
    rig.peering.surroundings_changed(1)
    assert rig.at(100) == []
    assert rig.peering.connect(peer(2, C), 101)
    assert rig.dialled() == [(1, "v4-c")]


def test_a_false_neighbour_does_not_displace_the_true_one() -> None:
    rig = Rig()
    rig.peering.neighbour_found("udp", peer(2).identity, A, 0, lifetime=100)
    for number in range(3 * MAX_ADDRESSES):
        rig.peering.neighbour_found("udp", peer(2).identity, PeerAddress("udp", f"v4-{number}"), 1, lifetime=100)
        rig.peering.neighbour_found("udp", peer(2).identity, A, 2, lifetime=100)
    known = rig.peering.known.get(peer(2).identity.node_addr)
    assert known is not None
    assert len(known.candidates) == MAX_ADDRESSES
    assert A in [candidate.address for candidate in known.candidates]
    assert rig.at(2)[0] == (1, "v4-a")


def test_our_own_address_heard_from_the_network_is_passed_over() -> None:
    rig = Rig()
    rig.peering.candidates_found("lan", rig.links.identity, [A], 0)
    assert rig.at(1) == []
    assert rig.complaints == []


def test_found_peers_and_their_addresses_are_bounded() -> None:
    rig = Rig()
    rig.peering.known.configure(peer(2, A))
    flood = [PeerAddress("udp", f"v4-{number}") for number in range(3 * MAX_ADDRESSES)]
    for number in range(MAX_FOUND_PEERS + 50):
        rig.peering.candidates_found("lan", peer(number + 3).identity, flood, 0, Wish.NONE, lifetime=100)
    assert sum(1 for _ in rig.peering.known) == MAX_FOUND_PEERS + 1
    assert all(len(known.candidates) <= MAX_ADDRESSES for known in rig.peering.known)
    assert rig.peering.known.refused == 50
    rig.peering.candidates_found("lan", peer(2**20).identity, [B], 0, Wish.NONE, lifetime=200)
    assert rig.peering.known.get(peer(2**20).identity.node_addr) is not None
    assert sum(1 for _ in rig.peering.known) == MAX_FOUND_PEERS + 1


# -- by command


def test_a_dial_by_command_is_not_repeated() -> None:
    rig = Rig()
    assert rig.peering.connect(peer(2, A), 0)
    assert not rig.peering.connect(peer(2, A), 1)
    rig.give_up(30)
    assert rig.at(1000) == []


def test_a_command_that_starts_nothing_says_why() -> None:
    rig = Rig()
    with pytest.raises(DialError, match="no operational transport for tcp v4-a"):
        rig.peering.connect(peer(2, PeerAddress("tcp", "v4-a")), 0)
    with pytest.raises(DialError, match="no address given"):
        rig.peering.connect(peer(2), 0)


def test_where_else_a_silent_peer_may_be() -> None:
    rig = Rig()
    rig.peering.known.configure(peer(2, A, B))
    assert rig.peering.alternatives(peer(2).identity, (1, "v4-a")) == [(1, "v4-b")]
    assert rig.peering.alternatives(peer(3).identity, (1, "v4-a")) == []
