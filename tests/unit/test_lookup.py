"""Lookups in all three roles: origin, relay and target."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.identity import PeerIdentity
from meshnode.mesh.backoff import Backoff
from meshnode.mesh.bloom import filter_of
from meshnode.mesh.coordinates import Coordinates
from meshnode.mesh.lookup import ANSWER_SECS, MAX_ASKED, RECENT_CAPACITY, Asked, Found, Lookups
from meshnode.mesh.lookup_answers import HOLD_SECS, MEMORY_SECS
from meshnode.mesh.neighbour import Budget, Neighbour, Neighbours
from meshnode.mesh.settings import LookupSettings
from meshnode.wire.lookup import LookupRequest, LookupResponse
from tests.unit.mesh_rig import VECTORS, addr, path, sorted_identities

ROOT, PARENT, ME, CHILD, CROSS, FAR = sorted_identities(6)


class FakeMesh:
    """A node ME below PARENT with a child and a cross link."""

    def __init__(self) -> None:
        peers = (PARENT, CHILD, CROSS)
        self.neighbours: Neighbours = {i.node_addr: Neighbour(i.peer, 1400) for i in peers}
        self.tree_peers = {PARENT.node_addr, CHILD.node_addr}
        self.sent: list[tuple[bytes, bytes]] = []
        self.hop: bytes | None = None

    @property
    def own_coordinates(self) -> Coordinates:
        return [ME.node_addr, PARENT.node_addr, ROOT.node_addr]

    def is_tree_peer(self, address: bytes) -> bool:
        return address in self.tree_peers

    def next_hop(self, destination: bytes, now: float) -> bytes | None:
        return self.hop

    def send(self, peer: bytes, message: bytes) -> None:
        self.sent.append((peer, message))


class Rig:
    def __init__(self, **settings: Any) -> None:
        self.mesh = FakeMesh()
        self.known: dict[bytes, PeerIdentity] = {FAR.node_addr: FAR.peer}
        self.draws = 0
        self.lookups = Lookups(ME, LookupSettings(**settings), self.entropy, self.known.get, self.mesh)
        self.counters = self.lookups.counters

    def entropy(self, size: int) -> bytes:
        self.draws += 1
        return self.draws.to_bytes(size, "little")

    def reach(self, peer: bytes, *members: bytes) -> None:
        self.mesh.neighbours[peer].filter = filter_of(members)

    def asked(self) -> list[bytes]:
        peers = [peer for peer, message in self.mesh.sent if message[0] == 0x30]
        self.mesh.sent.clear()
        return peers

    def request(self, request_id: int = 77, peer: bytes = CHILD.node_addr, now: float = 0.0, **fields: Any) -> None:
        values = {"target": FAR.node_addr, "origin": addr(9), "ttl": 5, "min_mtu": 7, **fields}
        message = LookupRequest(request_id, origin_coordinates=path([9, 0]), **values)
        self.lookups.request(peer, message.encode()[1:], now)


def tell(rig: Rig, response: LookupResponse) -> None:
    """Hand the rig an answer to a question it asked."""
    rig.lookups.asked[response.request_id] = Asked(response.target, 0.0)
    rig.lookups.response(PARENT.node_addr, response.encode()[1:], 0.0)


def answer(request_id: int = 1, path_mtu: int = 1300, signer: Any = FAR, **fields: Any) -> LookupResponse:
    target = fields.get("target", FAR.node_addr)
    coordinates = fields.get("coordinates", [target, ROOT.node_addr])
    response = LookupResponse(request_id, target, path_mtu, coordinates, b"")
    response.proof = signer.sign(response.proof_bytes(), bytes(32))
    return response


# Origin


def test_an_attempt_goes_to_the_tree_peers_that_may_know() -> None:
    rig = Rig()
    for knowing in (PARENT, CROSS):
        rig.reach(knowing.node_addr, FAR.node_addr)
    assert rig.lookups.start(FAR.node_addr, 0.0)
    ((peer, message),) = rig.mesh.sent
    request = LookupRequest.parse(message[1:])
    assert peer == PARENT.node_addr
    assert (request.target, request.origin, request.ttl, request.min_mtu) == (FAR.node_addr, ME.node_addr, 64, 0)
    assert request.origin_coordinates == rig.mesh.own_coordinates


def test_a_second_lookup_joins_the_first() -> None:
    rig = Rig()
    rig.reach(PARENT.node_addr, FAR.node_addr)
    assert rig.lookups.start(FAR.node_addr, 0.0)
    assert rig.lookups.start(FAR.node_addr, 0.5)
    assert len(rig.asked()) == 1
    assert rig.counters.req_deduplicated == 1


def test_nobody_claiming_the_target_ends_the_lookup_at_once() -> None:
    rig = Rig(backoff_base_secs=10, backoff_max_secs=100)
    rig.reach(PARENT.node_addr, addr(1))
    assert not rig.lookups.start(FAR.node_addr, 0.0)
    assert rig.lookups.pending == {}
    assert (rig.counters.req_bloom_miss, rig.counters.req_initiated) == (1, 0)
    assert not rig.lookups.start(FAR.node_addr, 9.9)
    assert rig.counters.req_backoff_suppressed == 1


def test_a_cross_link_alone_is_asked_where_no_tree_peer_claims_to_know() -> None:
    """Unlike in the reference: a parent that leaves somebody out of its filters does not hide them (spec 03, 7.2)."""
    rig = Rig()
    rig.reach(PARENT.node_addr, addr(1))
    rig.reach(CROSS.node_addr, FAR.node_addr)
    assert rig.lookups.start(FAR.node_addr, 0.0)
    assert [peer for peer, _ in rig.mesh.sent] == [CROSS.node_addr]


def test_a_cross_link_is_asked_only_once_tree_peers_did_not_find_it() -> None:
    rig = Rig()
    for peer in (PARENT, CROSS):
        rig.reach(peer.node_addr, FAR.node_addr)
    rig.lookups.start(FAR.node_addr, 0.0)
    assert [peer for peer, _ in rig.mesh.sent] == [PARENT.node_addr]
    rig.lookups.advance(1.0)
    assert [peer for peer, _ in rig.mesh.sent[1:]] == [PARENT.node_addr, CROSS.node_addr]


def test_attempts_follow_the_ladder_each_with_a_fresh_id() -> None:
    """Spec 03, section 7.6."""
    rig = Rig()
    rig.reach(PARENT.node_addr, FAR.node_addr)
    rig.lookups.start(FAR.node_addr, 0.0)
    times = []
    while (deadline := rig.lookups.next_deadline()) is not None:
        times.append(deadline)
        rig.lookups.advance(deadline)
    ids = {LookupRequest.parse(message[1:]).request_id for _, message in rig.mesh.sent}
    assert times == [1.0, 3.0, 7.0, 15.0]
    assert len(ids) == 4
    assert rig.lookups.failed == [FAR.node_addr]
    assert (rig.counters.req_initiated, rig.counters.resp_timed_out) == (4, 1)


def test_an_empty_ladder_gives_up_at_once() -> None:
    rig = Rig(attempt_timeouts_secs=[])
    rig.reach(PARENT.node_addr, FAR.node_addr)
    rig.lookups.start(FAR.node_addr, 0.0)
    rig.lookups.advance(0.0)
    assert rig.lookups.failed == [FAR.node_addr]


@pytest.mark.parametrize("vector", VECTORS["lookup"]["originator_backoff"], ids=lambda v: str(v["base_secs"]))
def test_backoff(vector: dict[str, Any]) -> None:
    backoff, results = Backoff(vector["base_secs"], vector["max_secs"]), []
    target = addr(1)
    for step in vector["steps"].split(";"):
        op, ms = step.split(":")
        now = int(ms) / 1000
        if op == "F":
            results.append(f"f{backoff.record_failure(target, now)}")
        else:
            results.append(str(backoff.suppressed(target, now)).lower())
    assert ",".join(results) == vector["results"]


def test_backoff_forgets_on_request() -> None:
    backoff = Backoff(100, 100)
    backoff.record_failure(addr(1), 0.0)
    backoff.record_failure(addr(2), 0.0)
    backoff.forget(addr(1))
    assert not backoff.suppressed(addr(1), 0.0)
    backoff.clear()
    assert backoff.record_failure(addr(2), 0.0) == 1


# Answers to us


def test_a_proven_answer_to_any_attempt_is_accepted() -> None:
    rig = Rig()
    rig.reach(PARENT.node_addr, FAR.node_addr)
    rig.lookups.start(FAR.node_addr, 0.0)
    (request_id,) = rig.lookups.asked
    rig.lookups.advance(1.0)
    assert len(rig.lookups.asked) == 2
    rig.lookups.response(PARENT.node_addr, answer(request_id).encode()[1:], 1.0)
    assert rig.lookups.found == [Found(FAR.node_addr, [FAR.node_addr, ROOT.node_addr], 1300)]
    assert rig.lookups.pending == {}
    assert rig.counters.resp_accepted == 1


@pytest.mark.parametrize("asked_about", [None, CHILD.node_addr])
def test_an_answer_nobody_asked_for_is_dropped(asked_about: bytes | None) -> None:
    """However good its proof: it may be a recorded one, from when the target was elsewhere."""
    rig = Rig()
    if asked_about is not None:
        rig.lookups.asked[999] = Asked(asked_about, 0.0)
    rig.lookups.response(PARENT.node_addr, answer(request_id=999).encode()[1:], 0.0)
    assert rig.lookups.found == []
    assert rig.lookups.refused.unasked_answers == 1


def test_an_answer_counts_once() -> None:
    """Told again later, when the target has moved, it would lead astray."""
    rig = Rig()
    rig.reach(PARENT.node_addr, FAR.node_addr)
    rig.lookups.start(FAR.node_addr, 0.0)
    (request_id,) = rig.lookups.asked
    for _ in range(2):
        rig.lookups.response(PARENT.node_addr, answer(request_id).encode()[1:], 1.0)
    assert len(rig.lookups.found) == 1
    assert (rig.counters.resp_accepted, rig.lookups.refused.unasked_answers) == (1, 1)


@pytest.mark.parametrize(("age", "accepted"), [(ANSWER_SECS, 1), (ANSWER_SECS + 0.1, 0)])
def test_an_answer_that_was_kept_back_for_long_is_dropped(age: float, accepted: int) -> None:
    """Whoever passed it on could keep it until the target has moved."""
    rig = Rig()
    rig.reach(PARENT.node_addr, FAR.node_addr)
    rig.lookups.start(FAR.node_addr, 0.0)
    (request_id,) = rig.lookups.asked
    rig.lookups.response(PARENT.node_addr, answer(request_id).encode()[1:], age)
    assert len(rig.lookups.found) == accepted
    assert rig.lookups.refused.unasked_answers == 1 - accepted


def test_questions_are_forgotten_by_and_by_without_any_traffic() -> None:
    rig = Rig(attempt_timeouts_secs=[60])
    rig.reach(PARENT.node_addr, FAR.node_addr)
    rig.lookups.start(FAR.node_addr, 0.0)
    rig.lookups.advance(59.0)
    assert len(rig.lookups.asked) == 1
    rig.lookups.advance(60.1)
    assert rig.lookups.asked == {}


def test_a_longer_ladder_waits_longer_for_its_answers() -> None:
    rig = Rig(attempt_timeouts_secs=[20, 40])
    rig.reach(PARENT.node_addr, FAR.node_addr)
    rig.lookups.start(FAR.node_addr, 0.0)
    (request_id,) = rig.lookups.asked
    rig.lookups.response(PARENT.node_addr, answer(request_id).encode()[1:], 59.0)
    assert len(rig.lookups.found) == 1


def test_our_answer_cannot_be_drawn_away_by_its_number() -> None:
    """Every relay sees the number of our request; as the number of its own it would be where the answer goes."""
    rig = Rig()
    rig.reach(PARENT.node_addr, FAR.node_addr)
    rig.lookups.start(FAR.node_addr, 0.0)
    (request_id,) = rig.lookups.asked
    rig.mesh.sent.clear()
    rig.request(request_id, peer=CHILD.node_addr)
    assert (rig.mesh.sent, rig.counters.req_duplicate) == ([], 1)
    rig.lookups.response(PARENT.node_addr, answer(request_id).encode()[1:], 1.0)
    assert [found.target for found in rig.lookups.found] == [FAR.node_addr]
    assert rig.mesh.sent == []


def test_the_memory_of_our_own_questions_is_bounded() -> None:
    rig = Rig()
    for number in range(MAX_ASKED + 10):
        rig.lookups._request(number.to_bytes(16, "big"), 0.0)
    assert len(rig.lookups.asked) <= MAX_ASKED


def test_the_reference_response_verifies() -> None:
    vector = VECTORS["lookup"]["response"][0]
    target = addr(vector["target"])
    rig = Rig()
    secret = bytes.fromhex(VECTORS["identities"][vector["target_identity"]]["secret_key"])
    rig.known[target] = type(ME)(secret).peer
    tell(rig, LookupResponse.parse(bytes.fromhex(vector["message"])[1:]))
    assert rig.lookups.found == [Found(target, path(vector["target_coords"]), vector["path_mtu"])]


@pytest.mark.parametrize(
    ("response", "counter"),
    [
        (answer(target=CHILD.node_addr, signer=CHILD), "resp_identity_miss"),
        (answer(signer=CHILD), "resp_proof_failed"),
        (answer(coordinates=[ROOT.node_addr]), "resp_proof_failed"),
    ],
    ids=["unknown key", "another's signature", "coordinates of another node"],
)
def test_unproven_answers_are_dropped(response: LookupResponse, counter: str) -> None:
    rig = Rig()
    tell(rig, response)
    assert rig.lookups.found == []
    assert getattr(rig.counters, counter) == 1


def test_a_tampered_answer_fails_its_proof() -> None:
    rig = Rig()
    response = answer()
    response.target_coordinates = [FAR.node_addr, PARENT.node_addr]
    tell(rig, response)
    assert rig.counters.resp_proof_failed == 1


def test_a_path_mtu_below_the_floor_is_ignored_but_not_the_answer() -> None:
    rig = Rig()
    tell(rig, answer(path_mtu=255))
    assert rig.lookups.found[0].path_mtu is None
    assert rig.lookups.lookup_resp_mtu_below_floor == 1


# Target


def test_the_target_answers_with_a_proof_and_folds_its_own_link() -> None:
    rig = Rig()
    rig.request(target=ME.node_addr, ttl=0)
    ((peer, message),) = rig.mesh.sent
    response = LookupResponse.parse(message[1:])
    assert (peer, response.request_id, response.path_mtu) == (CHILD.node_addr, 77, 1400)
    assert response.target_coordinates == rig.mesh.own_coordinates
    assert ME.peer.verify(response.proof_bytes(), response.proof)
    assert rig.counters.req_target_is_us == 1


def test_an_answer_without_a_way_back_is_counted() -> None:
    rig = Rig()
    rig.request(target=ME.node_addr, peer=addr(200))
    assert (rig.mesh.sent, rig.counters.resp_no_route) == ([], 1)
    rig.mesh.hop = PARENT.node_addr
    rig.request(78, target=ME.node_addr, peer=addr(200))
    assert [peer for peer, _ in rig.mesh.sent] == [PARENT.node_addr]


# Relay


def test_requests_go_on_to_tree_peers_with_one_hop_less() -> None:
    """Spec 03, section 7.3."""
    rig = Rig()
    for knowing in (PARENT, CROSS):
        rig.reach(knowing.node_addr, FAR.node_addr)
    rig.request(ttl=1)
    ((peer, message),) = rig.mesh.sent
    request = LookupRequest.parse(message[1:])
    assert (peer, request.ttl, request.min_mtu) == (PARENT.node_addr, 0, 7)
    assert request.origin_coordinates == path([9, 0])


def test_without_a_tree_peer_that_knows_cross_links_are_asked() -> None:
    rig = Rig()
    rig.reach(CROSS.node_addr, FAR.node_addr)
    rig.request()
    assert rig.asked() == [CROSS.node_addr]
    assert rig.counters.req_fallback_forwarded == 1


def test_a_request_never_returns_to_where_it_came_from() -> None:
    rig = Rig()
    rig.reach(CHILD.node_addr, FAR.node_addr)
    rig.request()
    assert rig.asked() == []
    assert (rig.counters.req_forwarded, rig.counters.req_no_tree_peer) == (1, 1)


def test_our_own_request_come_back_is_dropped_and_its_answer_stays_ours() -> None:
    rig = Rig()
    rig.reach(PARENT.node_addr, FAR.node_addr)
    rig.request(55, origin=ME.node_addr)
    assert rig.asked() == []
    tell(rig, answer(request_id=55))
    assert len(rig.lookups.found) == 1


@pytest.mark.parametrize(
    ("request_id", "now", "counter"),
    [(77, 1.0, "req_duplicate"), (78, 0.7, "req_forward_rate_limited"), (78, 2.0, "req_forwarded")],
)
def test_repeated_requests_are_held_in_check(request_id: int, now: float, counter: str) -> None:
    """Spec 03, section 7.3."""
    rig = Rig()
    rig.reach(PARENT.node_addr, FAR.node_addr)
    rig.request(77)
    before = getattr(rig.counters, counter)
    rig.request(request_id, now=now)
    assert getattr(rig.counters, counter) == before + 1


def test_a_question_is_relayed_a_second_time_within_its_interval_and_no_more() -> None:
    """Spec 03, section 7.3: the reference holds the second attempt of every lookup back, a second after the first."""
    rig = Rig()
    rig.reach(PARENT.node_addr, FAR.node_addr)
    relayed = []
    for n in range(33):
        before = rig.counters.req_forwarded
        rig.request(100 + n, now=n / 4)
        relayed += [n / 4] * (rig.counters.req_forwarded - before)
    assert relayed == [0.0, 1.0, 2.0, 4.0, 5.0, 6.0, 8.0]


def test_whoever_had_an_answer_may_ask_again_at_once() -> None:
    """The target was not there any more; to wait would leave two that talk without a way for seconds."""
    rig = Rig()
    rig.reach(PARENT.node_addr, FAR.node_addr)
    rig.request(77)
    rig.request(78, now=0.1)
    assert (rig.counters.req_forwarded, rig.counters.req_forward_rate_limited) == (1, 1)
    rig.lookups.response(PARENT.node_addr, answer(77, 65535).encode()[1:], 0.2)
    rig.request(79, now=0.3)
    assert (rig.counters.req_forwarded, rig.counters.req_forward_rate_limited) == (2, 1)


def test_a_spent_request_goes_no_further() -> None:
    rig = Rig()
    rig.reach(PARENT.node_addr, FAR.node_addr)
    rig.request(ttl=0)
    assert rig.asked() == []
    assert rig.counters.req_ttl_exhausted == 1


def test_request_memory_is_bounded_and_fades() -> None:
    rig = Rig()
    for n in range(RECENT_CAPACITY + 1):
        rig.mesh.neighbours[CHILD.node_addr].budget = Budget()
        rig.request(n, target=addr(1))
    assert rig.counters.req_dedup_cache_full == 1
    rig.request(0, now=10.0)
    assert rig.counters.req_duplicate == 1
    rig.request(0, now=10.1)
    assert len(rig.lookups.recent) == 1


def test_one_peer_cannot_fill_the_memory_others_need() -> None:
    rig = Rig()
    for n in range(RECENT_CAPACITY):
        rig.mesh.neighbours[CHILD.node_addr].budget = Budget()
        rig.request(n, target=addr(1))
    rig.request(99_999, peer=PARENT.node_addr, target=addr(1))
    assert len(rig.lookups.recent) == RECENT_CAPACITY
    assert rig.lookups.recent[99_999].from_peer == PARENT.node_addr
    assert rig.counters.req_dedup_cache_full == 0
    rig.request(99_998, target=addr(1))
    assert rig.counters.req_dedup_cache_full == 1


def test_a_peer_has_a_budget_of_requests() -> None:
    rig = Rig()
    for n in range(1000):
        rig.request(n, target=addr(1))
    assert 512 <= 1000 - rig.lookups.refused.requests <= 513
    rig.request(5000, peer=PARENT.node_addr, target=addr(1))
    assert 5000 in rig.lookups.recent


def test_what_one_peer_asks_does_not_count_against_another() -> None:
    """Origins are only claimed: a peer that asks first in another's name must not keep the real one from asking."""
    rig = Rig()
    rig.reach(PARENT.node_addr, FAR.node_addr)
    for n in range(100):
        rig.request(n, origin=addr(9) if n < 2 else n.to_bytes(16, "big"))
    rig.mesh.sent.clear()
    rig.request(5000, peer=CROSS.node_addr, origin=addr(9))
    assert rig.asked() == [PARENT.node_addr]


def test_a_forged_request_of_whom_we_look_for_does_not_end_our_lookup() -> None:
    rig = Rig()
    rig.reach(PARENT.node_addr, FAR.node_addr)
    rig.lookups.start(FAR.node_addr, 0.0)
    rig.request(77, target=ME.node_addr, origin=FAR.node_addr)
    assert FAR.node_addr in rig.lookups.pending


def test_answers_travel_back_once_with_the_smallest_mtu() -> None:
    """Spec 03, section 7.5."""
    rig = Rig()
    rig.reach(PARENT.node_addr, FAR.node_addr)
    rig.request(77)
    rig.mesh.sent.clear()
    for path_mtu in (65535, 1200):
        rig.lookups.response(PARENT.node_addr, answer(77, path_mtu).encode()[1:], 0.0)
    ((peer, message),) = rig.mesh.sent
    assert (peer, LookupResponse.parse(message[1:]).path_mtu) == (CHILD.node_addr, 1400)
    assert (rig.counters.resp_received, rig.counters.resp_forwarded) == (2, 1)
    assert rig.lookups.found == []


class Relay(Rig):
    """PARENT and CROSS are both asked for FAR, in the name of a node behind CHILD."""

    def __init__(self) -> None:
        super().__init__()
        self.mesh.tree_peers.add(CROSS.node_addr)
        for peer in (PARENT, CROSS):
            self.reach(peer.node_addr, FAR.node_addr)

    def asks(self, number: int, now: float) -> None:
        self.request(number, now=now)
        assert self.asked() == [PARENT.node_addr, CROSS.node_addr]

    def hears(self, peer: Any, number: int, path_mtu: int, now: float) -> list[int]:
        """What goes back; answers are told apart by their path MTU."""
        self.lookups.response(peer.node_addr, answer(number, path_mtu).encode()[1:], now)
        return self.returned()

    def returned(self) -> list[int]:
        mtus = [LookupResponse.parse(message[1:]).path_mtu for to, message in self.mesh.sent if message[0] == 0x31]
        self.mesh.sent.clear()
        return mtus


def test_who_answered_in_vain_has_to_wait_for_the_others() -> None:
    """A neighbour that makes its answers up is always the first; the target must be found all the same."""
    rig = Relay()
    rig.asks(1, now=0.0)
    assert rig.hears(CROSS, 1, 301, now=0.0) == [301]
    assert rig.hears(PARENT, 1, 302, now=0.1) == []
    rig.asks(2, now=1.0)
    assert rig.hears(CROSS, 2, 303, now=1.0) == []
    assert rig.hears(PARENT, 2, 304, now=1.1) == [304]
    assert rig.hears(CROSS, 2, 305, now=1.2) == []
    rig.lookups.advance(5.0)
    assert rig.returned() == []
    assert rig.counters.resp_forwarded == 2


def test_who_answered_in_vain_is_heard_when_nobody_else_answers() -> None:
    """The target may have moved since, and asking again have that reason."""
    rig = Relay()
    rig.asks(1, now=0.0)
    assert rig.hears(CROSS, 1, 301, now=0.0) == [301]
    rig.asks(2, now=1.0)
    assert rig.hears(CROSS, 2, 302, now=1.0) == []
    assert rig.hears(CROSS, 2, 303, now=1.0) == []
    assert rig.lookups.next_deadline() == 1.0 + HOLD_SECS
    rig.lookups.advance(1.0 + HOLD_SECS)
    assert rig.returned() == [302]
    assert rig.lookups.next_deadline() is None


def test_when_all_answered_in_vain_the_first_counts_again() -> None:
    rig = Relay()
    for number, giver, other in ((1, CROSS, PARENT), (2, PARENT, CROSS), (3, CROSS, PARENT)):
        rig.asks(number, now=float(number))
        assert rig.hears(giver, number, 301, now=float(number)) == [301]
        assert rig.hears(other, number, 302, now=float(number)) == []


def test_an_answer_of_long_ago_makes_nobody_wait() -> None:
    rig = Relay()
    rig.asks(1, now=0.0)
    assert rig.hears(CROSS, 1, 301, now=0.0) == [301]
    rig.asks(2, now=MEMORY_SECS + 1)
    assert rig.hears(CROSS, 2, 302, now=MEMORY_SECS + 1) == [302]


def test_the_only_one_asked_never_waits() -> None:
    rig = Rig()
    rig.reach(PARENT.node_addr, FAR.node_addr)
    for number in (1, 2):
        rig.request(number, now=float(number))
        rig.lookups.response(PARENT.node_addr, answer(number).encode()[1:], float(number))
    assert rig.counters.resp_forwarded == 2


def test_an_answer_that_waits_is_forgotten_with_its_request() -> None:
    rig = Relay()
    rig.asks(1, now=0.0)
    rig.hears(CROSS, 1, 301, now=0.0)
    rig.asks(2, now=1.0)
    rig.hears(CROSS, 2, 302, now=1.0)
    rig.request(3, now=60.0)
    rig.asked()
    rig.lookups.advance(60.0)
    assert rig.returned() == []


def test_an_answer_for_a_vanished_peer_is_dropped() -> None:
    rig = Rig()
    rig.reach(PARENT.node_addr, FAR.node_addr)
    rig.request(77)
    del rig.mesh.neighbours[CHILD.node_addr]
    rig.mesh.sent.clear()
    rig.lookups.response(PARENT.node_addr, answer(77).encode()[1:], 0.0)
    assert rig.mesh.sent == []


def test_malformed_messages_are_counted() -> None:
    rig = Rig()
    rig.lookups.request(CHILD.node_addr, bytes(45), 0.0)
    rig.lookups.response(PARENT.node_addr, bytes(20), 0.0)
    assert (rig.counters.req_decode_error, rig.counters.resp_decode_error) == (1, 1)
