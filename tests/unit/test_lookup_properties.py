"""Lookups under whatever peers do in whatever order: what holds after every step (spec 03 section 7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import lru_cache
from types import ModuleType
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from meshnode.mesh import backoff as backoffs
from meshnode.mesh import lookup, lookup_limit
from meshnode.mesh.backoff import Backoff
from meshnode.mesh.bloom import filter_of, member_mask
from meshnode.mesh.lookup import Found, RecentRequest
from meshnode.mesh.neighbour import Neighbour
from meshnode.wire.lookup import LookupRequest, LookupResponse
from tests.unit.mesh_rig import addr, path
from tests.unit.test_lookup import CHILD, CROSS, FAR, ME, PARENT, ROOT, Rig

BASE, MOST, EXPIRY = 3, 20, 10
LADDER = [1, 2]
SIGNERS = {node.node_addr: node for node in (ROOT, PARENT, ME, CHILD, CROSS, FAR)}
PEERS = [node.node_addr for node in (PARENT, CHILD, CROSS)]
UNKNOWN = addr(5)
NOBODY = addr(6)  # who passes answers on matters to test_lookup alone
TARGETS = [FAR.node_addr, CHILD.node_addr, ROOT.node_addr, UNKNOWN]
FOREIGN = st.integers(10_000, 10_007)  # our own, which count the draws, stay far below

peers = st.sampled_from(PEERS)
targets = st.sampled_from(TARGETS)
steps = settings(max_examples=25, stateful_step_count=50, deadline=None, derandomize=True)

Sent = list[tuple[bytes, bytes]]


@lru_cache(maxsize=4096)
def signed(request_id: int, target: bytes, coordinates: tuple[bytes, ...], signer: bytes) -> bytes:
    return SIGNERS[signer].sign(LookupResponse(request_id, target, 0, list(coordinates), b"").proof_bytes(), bytes(32))


Method = TypeVar("Method", bound=Callable[..., None])


def event(**arguments: st.SearchStrategy[Any]) -> Callable[[Method], Method]:
    """Mark what may happen. Not a rule of its own: Hypothesis leaves out most rules of a run, and few things meet."""

    def mark(method: Method) -> Method:
        EVENTS.append((method.__name__, st.fixed_dictionaries(arguments)))
        return method

    return mark


EVENTS: list[tuple[str, st.SearchStrategy[dict[str, Any]]]] = []


class Lookup(RuleBasedStateMachine):
    """A node whose peers come, go, ask and answer at will; beside it, what it is known to have seen and asked."""

    capacities: ClassVar[dict[ModuleType, dict[str, int]]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for module, capacities in self.capacities.items():
            for name, capacity in capacities.items():
                self.patch.setattr(module, name, capacity)
        self.now = 0.0
        self.rig = Rig(
            attempt_timeouts_secs=LADDER, backoff_base_secs=BASE, backoff_max_secs=MOST, recent_expiry_secs=EXPIRY
        )
        self.rig.known |= {CHILD.node_addr: CHILD.peer, ROOT.node_addr: ROOT.peer}
        self.lookups, self.mesh = self.rig.lookups, self.rig.mesh
        for peer in PEERS:
            self.rig.reach(peer, *TARGETS)
        self.remembered: dict[int, RecentRequest] = {}
        self.outstanding: dict[int, bytes] = {}  # what we asked lately and had no answer to
        self.sent_at: dict[int, float] = {}
        self.used: set[int] = set()
        self.relayed: dict[tuple[int, bytes], float] = {}
        self.quiet_until: dict[bytes, float] = {}
        self.requests = self.responses = self.told_again = self.starts = self.over_full = self.retries = 0
        self.begun = self.resolved = 0

    def teardown(self) -> None:
        self.patch.undo()

    def drain(self) -> Sent:
        """What was sent since; never to anybody but a peer."""
        sent = list(self.mesh.sent)
        self.mesh.sent.clear()
        assert {peer for peer, _ in sent} <= set(self.mesh.neighbours)
        return sent

    def claims(self, peer: bytes, target: bytes) -> bool:
        bits, mask = self.mesh.neighbours[peer].filter, member_mask(target)
        return bits is not None and bits & mask == mask

    @rule(data=st.data())
    def something_happens(self, data: st.DataObject) -> None:
        name, arguments = data.draw(st.sampled_from(EVENTS))
        getattr(self, name)(**data.draw(arguments))

    # The world around the machine

    @event(peer=peers, mtu=st.sampled_from([200, 1280, 1400]))
    def comes(self, peer: bytes, mtu: int) -> None:
        self.mesh.neighbours[peer] = Neighbour(SIGNERS[peer].peer, mtu)

    @event(peer=peers)
    def goes(self, peer: bytes) -> None:
        self.mesh.neighbours.pop(peer, None)

    @event(peer=peers)
    def changes_place(self, peer: bytes) -> None:
        self.mesh.tree_peers ^= {peer}
        self.lookups.position_changed()

    @event(peer=peers, trusted=st.booleans())
    def is_trusted_or_not(self, peer: bytes, trusted: bool) -> None:
        if peer in self.mesh.neighbours:
            self.mesh.neighbours[peer].trusted = trusted

    @event(hop=st.one_of(st.none(), peers))
    def another_next_hop(self, hop: bytes | None) -> None:
        self.mesh.hop = hop

    @event(peer=peers, members=st.sets(targets, min_size=2))
    def tells_what_lies_behind(self, peer: bytes, members: set[bytes]) -> None:
        if peer in self.mesh.neighbours:
            self.mesh.neighbours[peer].filter = filter_of(members)
        self.lookups.heard_filter(peer, self.now)
        sent = self.drain()
        assert {to for to, _ in sent} <= {peer}
        self.check_asked(sent)

    # Origin (section 7.6)

    @event(wanted=targets)
    def is_looked_up(self, wanted: bytes) -> None:
        under_way, quiet = wanted in self.lookups.pending, self.now < self.quiet_until.get(wanted, 0.0)
        full = len(self.lookups.pending) >= lookup.MAX_PENDING
        suppressed = self.rig.counters.req_backoff_suppressed
        self.starts += 1
        started = self.lookups.start(wanted, self.now)
        sent = self.drain()
        self.check_asked(sent)
        assert started is (wanted in self.lookups.pending)
        assert self.rig.counters.req_backoff_suppressed == suppressed + (quiet and not under_way)
        if under_way or quiet or full:
            assert sent == []
            assert started is under_way
            self.over_full += not (under_way or quiet)
        else:
            assert started is bool(sent)
            self.begun += started
            if not started:
                self.quiet_until[wanted] = self.now + BASE

    @event(pause=st.sampled_from([0.1, 0.5, 1.0, 2.0, 10.1]))
    def time_passes(self, pause: float) -> None:
        self.now += pause
        before = self.rig.counters.req_initiated
        self.lookups.advance(self.now)
        recent = {number for number, at in self.sent_at.items() if self.now - at <= lookup.ANSWER_SECS}
        self.outstanding = {number: target for number, target in self.outstanding.items() if number in recent}
        self.retries += self.rig.counters.req_initiated - before
        self.check_asked(self.drain())
        for target in self.lookups.failed:
            assert target not in self.lookups.pending
            self.quiet_until[target] = self.now + BASE
        self.lookups.failed.clear()
        deadline = self.lookups.next_deadline()
        assert deadline is None or deadline > self.now

    def check_asked(self, sent: Sent) -> None:
        """Tree peers that claim the target are asked, and few others, each once and with a number never used before."""
        requests = [(peer, LookupRequest.parse(message[1:])) for peer, message in sent]
        for peer, request in requests:
            assert request.request_id not in self.used
            assert self.claims(peer, request.target)
            assert (request.origin, request.ttl) == (ME.node_addr, 64)
            assert request.origin_coordinates == self.mesh.own_coordinates
            self.outstanding[request.request_id] = request.target
            self.sent_at[request.request_id] = self.now
        others = Counter(request.target for peer, request in requests if peer not in self.mesh.tree_peers)
        assert max(others.values(), default=0) <= lookup.MOST_OTHERS_ASKED
        self.used |= {request.request_id for _, request in requests}
        assert len({(peer, request.request_id) for peer, request in requests}) == len(sent)

    # Relay and target (sections 7.3 and 7.4)

    @event(
        data=st.data(),
        peer=peers,
        wanted=st.sampled_from([ME.node_addr, *TARGETS, *TARGETS]),
        origin=st.sampled_from([addr(9), addr(10), FAR.node_addr, ME.node_addr]),
        ttl=st.sampled_from([0, 1, 2, 64, 255]),
    )
    def asks(self, data: st.DataObject, peer: bytes, wanted: bytes, origin: bytes, ttl: int) -> None:
        """Any peer, or one just gone, asks anything, with a number of its own or one it has seen."""
        number = self.number(data)
        request = LookupRequest(number, wanted, origin, ttl, 7, path([9, 0]))
        full = self.rig.counters.req_dedup_cache_full
        held_up = self.rig.counters.req_ttl_exhausted + self.rig.counters.req_forward_rate_limited
        self.forget_expired()
        seen = number in self.remembered or number in self.outstanding or origin == ME.node_addr
        duplicates = self.rig.counters.req_duplicate
        self.hear_request(peer, request.encode()[1:])
        sent = self.drain()
        assert self.rig.counters.req_duplicate == duplicates + seen
        if seen or self.rig.counters.req_dedup_cache_full > full:
            assert sent == []
            return
        self.remembered[number] = RecentRequest(peer, wanted, origin, self.now)
        if wanted == ME.node_addr:
            self.check_answer(sent, peer, number)
        else:
            self.check_relayed(sent, peer, request, held_up)

    def hear_request(self, peer: bytes, body: bytes) -> None:
        self.requests += 1
        pending = dict(self.lookups.pending)
        self.lookups.request(peer, body, self.now)
        assert self.lookups.pending == pending
        for found in self.lookups.found:  # we and the origin look for each other; its signed answer is still awaited
            assert found.target in pending
            assert found.path_mtu is None
        self.lookups.found.clear()

    def forget_expired(self) -> None:
        self.remembered = {n: r for n, r in self.remembered.items() if self.now - r.seen_at <= EXPIRY}

    def check_answer(self, sent: Sent, peer: bytes, number: int) -> None:
        """Back to where the request came from, or towards the origin when that peer is gone; with our proof."""
        hop = peer if peer in self.mesh.neighbours else self.mesh.hop
        assert [to for to, _ in sent] == ([hop] if hop in self.mesh.neighbours else [])
        for to, message in sent:
            response = LookupResponse.parse(message[1:])
            assert (response.request_id, response.target) == (number, ME.node_addr)
            assert response.target_coordinates == self.mesh.own_coordinates
            assert response.path_mtu == self.mesh.neighbours[to].link_mtu
            assert ME.peer.verify(response.proof_bytes(), response.proof)

    def check_relayed(self, sent: Sent, peer: bytes, request: LookupRequest, held_up: int) -> None:
        """One hop less, not back, to each at most once while the number is remembered, tree peers before others."""
        receivers = [to for to, _ in sent]
        assert len(receivers) == len(set(receivers))
        assert peer not in receivers
        others = [a for a in self.mesh.neighbours if a != peer and self.claims(a, request.target)]
        alone = not any(neighbour.trusted for neighbour in self.mesh.neighbours.values())
        usable = [a for a in others if alone or self.mesh.neighbours[a].trusted]
        in_tree = [a for a in usable if a in self.mesh.tree_peers]
        relaying = self.rig.counters.req_ttl_exhausted + self.rig.counters.req_forward_rate_limited == held_up
        assert receivers == ((in_tree or usable) if relaying else [])
        assert relaying <= (request.ttl > 0)
        for to, message in sent:
            assert LookupRequest.parse(message[1:]) == replace(request, ttl=request.ttl - 1)
            self.check_relayed_once(request.request_id, to)

    def check_relayed_once(self, number: int, to: bytes) -> None:
        last = self.relayed.get((number, to))
        assert last is None or self.now - last > EXPIRY
        self.relayed[number, to] = self.now

    # Answers (section 7.5)

    @event(
        data=st.data(),
        about=targets,
        signer=st.sampled_from([None, None, FAR.node_addr, ROOT.node_addr]),
        owner=st.sampled_from([None, None, None, ROOT.node_addr]),
        moved=st.booleans(),
        path_mtu=st.sampled_from([0, 255, 256, 1300, 65535]),
    )
    def answers(
        self, data: st.DataObject, about: bytes, signer: bytes | None, owner: bytes | None, moved: bool, path_mtu: int
    ) -> None:
        """Somebody answers something: by the target or by another, of it or of another, as signed or altered."""
        number = self.number(data)
        target = self.outstanding.get(number, about) if data.draw(st.booleans()) else about
        coordinates = [owner or target, ROOT.node_addr]
        proof = signed(number, target, tuple(coordinates), signer or (target if target in SIGNERS else FAR.node_addr))
        if moved:
            coordinates = [*coordinates, addr(1)]
        self.hear_answer(LookupResponse(number, target, path_mtu, coordinates, proof))

    @event(data=st.data(), path_mtu=st.sampled_from([200, 1300]))
    def answers_well(self, data: st.DataObject, path_mtu: int) -> None:
        """The target answers, and its answer is told again at once, as any relay could."""
        awaited = [number for number, target in self.outstanding.items() if target in self.rig.known]
        if awaited:
            number = data.draw(st.sampled_from(awaited))
            target = self.outstanding[number]
            coordinates = [target, ROOT.node_addr]
            proof = signed(number, target, tuple(coordinates), target)
            for _ in range(2):
                self.hear_answer(LookupResponse(number, target, path_mtu, coordinates, proof))

    def hear_answer(self, response: LookupResponse) -> None:
        relayed = self.remembered.get(response.request_id)
        self.responses += 1
        pending = len(self.lookups.pending)
        self.lookups.response(NOBODY, response.encode()[1:], self.now)
        self.resolved += pending - len(self.lookups.pending)
        sent = self.drain()
        if relayed is not None:
            self.check_passed_on(sent, relayed, response)
        else:
            assert sent == []
            self.check_taken(response)

    def check_passed_on(self, sent: Sent, request: RecentRequest, response: LookupResponse) -> None:
        """Once, to where the request came from and nowhere else, with the link's MTU folded in; never taken by us."""
        assert self.lookups.found == []
        expected = [request.from_peer] if not request.answered and request.from_peer in self.mesh.neighbours else []
        self.told_again += request.answered
        request.answered = True
        assert [to for to, _ in sent] == expected
        for to, message in sent:
            mtu = min(response.path_mtu, self.mesh.neighbours[to].link_mtu)
            assert LookupResponse.parse(message[1:]) == replace(response, path_mtu=mtu)

    def check_taken(self, response: LookupResponse) -> None:
        """Exactly what we asked, has not been answered, and bears the target's own proof."""
        target, known = response.target, self.rig.known.get(response.target)
        good = (
            self.outstanding.get(response.request_id) == target
            and known is not None
            and response.target_coordinates[0] == target
            and known.verify(response.proof_bytes(), response.proof)
        )
        usable = response.path_mtu if response.path_mtu >= 256 else None
        assert self.lookups.found == ([Found(target, response.target_coordinates, usable)] if good else [])
        if self.lookups.found:
            assert target not in self.lookups.pending
            del self.outstanding[response.request_id]
            self.quiet_until.pop(target, None)
            self.lookups.found.clear()

    @event(peer=peers, noise=st.binary(max_size=120))
    def babbles(self, peer: bytes, noise: bytes) -> None:
        self.hear_request(peer, noise[:44])
        self.responses += 1
        self.lookups.response(NOBODY, noise[:91], self.now)
        assert self.drain() == []

    def number(self, data: st.DataObject) -> int:
        """A request number: a peer's own, or one of ours, which every relay sees."""
        ours = sorted(self.used)[-4:]
        return data.draw(st.one_of(FOREIGN, st.sampled_from(ours)) if ours else FOREIGN)

    # What holds at any time

    @invariant()
    def memory_is_what_it_should_be(self) -> None:
        assert self.lookups.recent == self.remembered
        assert {n: asked.target for n, asked in self.lookups.asked.items()} == self.outstanding

    @invariant()
    def every_request_and_answer_is_counted_once(self) -> None:
        """Section 13."""
        c, refused = self.rig.counters, self.lookups.refused
        relaying = c.req_ttl_exhausted + c.req_forward_rate_limited + c.req_forwarded
        kept_out = c.req_decode_error + c.req_duplicate + c.req_dedup_cache_full + refused.requests
        assert c.req_received == self.requests == kept_out + c.req_target_is_us + relaying
        dropped = c.resp_decode_error + refused.unasked_answers + c.resp_identity_miss + c.resp_proof_failed
        assert c.resp_received == self.responses == dropped + self.told_again + c.resp_forwarded + c.resp_accepted
        unsent = c.req_deduplicated + c.req_backoff_suppressed + c.req_bloom_miss + self.over_full
        assert self.starts == unsent + c.req_initiated - self.retries
        assert all(count >= 0 for count in asdict(c).values())

    @invariant()
    def every_lookup_ends_or_is_under_way(self) -> None:
        assert self.begun == self.resolved + self.rig.counters.resp_timed_out + len(self.lookups.pending)
        assert all(1 <= pending.attempt <= len(LADDER) for pending in self.lookups.pending.values())

    @invariant()
    def tables_are_bounded(self) -> None:
        assert len(self.lookups.recent) <= lookup.RECENT_CAPACITY
        assert len(self.lookups.asked) <= lookup.MAX_ASKED
        assert len(self.lookups.pending) <= lookup.MAX_PENDING
        assert len(self.lookups._forward_limit._budgets) <= lookup_limit.MAX_BUDGETS
        assert self.lookups._held.total() == len(self.lookups.recent)


class CrampedLookup(Lookup):
    """The same with hardly any room, where the oldest is forgotten before its time."""

    capacities: ClassVar[dict[ModuleType, dict[str, int]]] = {
        lookup: {"RECENT_CAPACITY": 3, "MAX_ASKED": 3, "MAX_PENDING": 2},
        lookup_limit: {"MAX_BUDGETS": 1},
    }

    def check_relayed_once(self, number: int, to: bytes) -> None:
        """A number forgotten for want of room may come again; its TTL still ends it."""

    @invariant()
    def memory_is_what_it_should_be(self) -> None:
        """Nothing is remembered that was not seen; what was forgotten counts as never seen."""
        self.remembered = {n: r for n, r in self.remembered.items() if n in self.lookups.recent}
        self.outstanding = {n: t for n, t in self.outstanding.items() if n in self.lookups.asked}
        super().memory_is_what_it_should_be()


@pytest.mark.parametrize("machine", [Lookup, CrampedLookup])
def test_lookups_keep_their_promises_whatever_peers_do(machine: Callable[[], Lookup]) -> None:
    run_state_machine_as_test(machine, settings=steps)  # type: ignore[no-untyped-call]


events = st.lists(st.tuples(st.integers(0, 5), st.floats(0, 30), st.booleans()), max_size=40)


@given(events, st.integers(0, 8), st.integers(0, 20))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_backoff_is_never_below_its_base_nor_above_its_maximum(
    events: list[tuple[int, float, bool]], base: int, more: int
) -> None:
    """Section 7.6; and it forgets rather than grow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backoffs, "BACKOFF_CAPACITY", 3)
        backoff, now = Backoff(base, base + more), 0.0
        for number, pause, found in events:
            now += pause
            if found:
                backoff.forget(addr(number))
                assert not backoff.suppressed(addr(number), now)
            else:
                failures = backoff.record_failure(addr(number), now)
                least = min(base * 2 ** (failures - 1), base + more)
                assert backoff.suppressed(addr(number), now + max(least - 0.001, 0)) is (least > 0)
                assert not backoff.suppressed(addr(number), now + least + 0.001)
            assert len(backoff._failures) <= 3
