"""Finding a node's coordinates: asking, relaying, answering (spec 03 section 7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from meshnode.identity import Identity, PeerIdentity
from meshnode.mesh.backoff import Backoff
from meshnode.mesh.bloom import member_mask
from meshnode.mesh.coordinates import Coordinates, NodeAddr
from meshnode.mesh.lookup_answers import Question, RelayedAnswers
from meshnode.mesh.lookup_limit import RelayLimit
from meshnode.mesh.neighbour import Neighbours, Refusals
from meshnode.mesh.settings import LookupSettings
from meshnode.wire.errors import WireError
from meshnode.wire.lookup import LookupRequest, LookupResponse

RECENT_CAPACITY = 4096
MAX_PENDING = 1024
MAX_ASKED = 8192
ANSWER_SECS = 30.0
"""How long an answer may take: relays forget a request after 10 s (spec 03 section 7.3), slow links come on top."""

MOST_OTHERS_ASKED = 3
"""Peers outside the tree that an origin asks at a time."""

PATH_MTU_FLOOR = 256
UNKNOWN_MTU = 65535


@dataclass(slots=True)
class LookupCounters:
    """Named as published, in the family `lookup` and, for older tools, `discovery` (spec 03 section 13)."""

    req_received: int = 0
    req_decode_error: int = 0
    req_duplicate: int = 0
    req_dedup_cache_full: int = 0
    req_target_is_us: int = 0
    req_forwarded: int = 0
    req_ttl_exhausted: int = 0
    req_initiated: int = 0
    req_deduplicated: int = 0
    req_backoff_suppressed: int = 0
    req_forward_rate_limited: int = 0
    req_bloom_miss: int = 0
    req_no_tree_peer: int = 0
    req_fallback_forwarded: int = 0
    resp_received: int = 0
    resp_decode_error: int = 0
    resp_forwarded: int = 0
    resp_identity_miss: int = 0
    resp_proof_failed: int = 0
    resp_no_route: int = 0
    resp_accepted: int = 0
    resp_timed_out: int = 0


@dataclass(slots=True)
class RecentRequest:
    """A request seen lately: where its answer goes, and who of those asked is not to give it if another one does."""

    from_peer: NodeAddr
    target: NodeAddr
    origin: NodeAddr
    seen_at: float
    answered: bool = False
    doubted: tuple[NodeAddr, ...] = ()

    @property
    def question(self) -> Question:
        return self.from_peer, self.target, self.origin


class Asked(NamedTuple):
    """A request of ours without an answer; `at` is when it was sent."""

    target: NodeAddr
    at: float


@dataclass(slots=True)
class PendingLookup:
    """A lookup of ours; `attempt` counts from 1, times are monotonic seconds. `asked` are the peers of this attempt."""

    initiated: float
    last_sent: float
    attempt: int = 1
    asked: list[NodeAddr] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Found:
    """An answer: where `target` is, and the smallest link MTU on the way if the answer told a usable one.

    Most are `signed` by the target; what a target says while it asks for us is only its claim.
    """

    target: NodeAddr
    coordinates: Coordinates
    path_mtu: int | None
    signed: bool = True


class Mesh(Protocol):
    """What lookups need to know about the rest of the mesh machinery."""

    neighbours: Neighbours

    @property
    def own_coordinates(self) -> Coordinates: ...
    def is_tree_peer(self, address: NodeAddr) -> bool: ...
    def next_hop(self, destination: NodeAddr, now: float) -> NodeAddr | None: ...
    def send(self, peer: NodeAddr, message: bytes) -> None: ...


class Lookups:
    """Lookups of one node in all three roles: origin, relay and target.

    `identity_of` returns the public key known for a target. Verified answers are appended to `found`, targets given up
    to `failed`; the owner drains both.
    """

    __slots__ = (
        "_entropy",
        "_forward_limit",
        "_held",
        "_identity",
        "_identity_of",
        "_mesh",
        "_patience",
        "_relayed",
        "_settings",
        "asked",
        "backoff",
        "counters",
        "failed",
        "found",
        "lookup_resp_mtu_below_floor",
        "pending",
        "recent",
        "refused",
    )

    def __init__(
        self,
        identity: Identity,
        settings: LookupSettings,
        entropy: Callable[[int], bytes],
        identity_of: Callable[[NodeAddr], PeerIdentity | None],
        mesh: Mesh,
        refused: Refusals | None = None,
    ) -> None:
        self.refused = refused or Refusals()
        self._identity = identity
        self._settings = settings
        self._entropy = entropy
        self._identity_of = identity_of
        self._mesh = mesh
        self._patience = max(ANSWER_SECS, sum(settings.attempt_timeouts_secs))
        self._forward_limit = RelayLimit(settings.forward_min_interval_secs)
        self._relayed = RelayedAnswers()
        self.backoff = Backoff(settings.backoff_base_secs, settings.backoff_max_secs)
        self.counters = LookupCounters()
        self.lookup_resp_mtu_below_floor = 0  # published in the family `errors`
        self.recent: dict[int, RecentRequest] = {}  # oldest first
        self._held: Counter[NodeAddr] = Counter()  # how many of these are whose
        self.asked: dict[int, Asked] = {}  # oldest first
        self.pending: dict[NodeAddr, PendingLookup] = {}
        self.found: list[Found] = []
        self.failed: list[NodeAddr] = []

    # Origin

    def start(self, target: NodeAddr, now: float) -> bool:
        """Look `target` up unless that is under way; True when it is under way afterwards."""
        counters = self.counters
        if target in self.pending:
            counters.req_deduplicated += 1
            return True
        if self.backoff.suppressed(target, now):
            counters.req_backoff_suppressed += 1
            return False
        if len(self.pending) >= MAX_PENDING:
            return False
        if not self._claimants(target):
            counters.req_bloom_miss += 1
            self.backoff.record_failure(target, now)
            return False
        self.pending[target] = PendingLookup(now, now, asked=self._ask(target, now))
        return True

    def heard_filter(self, peer: NodeAddr, now: float) -> None:
        """A tree peer tells anew what lies behind it: ask it as well for what it was not asked for yet."""
        neighbour = self._mesh.neighbours.get(peer)
        if neighbour is None or not neighbour.trusted or not self._mesh.is_tree_peer(peer):
            return
        for target, lookup in self.pending.items():
            if peer not in lookup.asked and neighbour.claims(member_mask(target)):
                lookup.asked.append(peer)
                self._mesh.send(peer, self._request(target, now))

    def position_changed(self) -> None:
        """We are elsewhere in the tree: relayed questions may go another way now, and be answered differently."""
        self._forward_limit.clear_repeats()

    def advance(self, now: float) -> None:
        """Repeat or give up the lookups whose attempt has had its time; pass on answers that waited for better ones."""
        self._forget_asked(now)
        for held in self._relayed.take_due(now):
            self._pass_on(self.recent[held.request_id], held.peer, held.response, now)
        for target, lookup in list(self.pending.items()):
            if now < self._attempt_deadline(lookup):
                continue
            if lookup.attempt >= len(self._settings.attempt_timeouts_secs):
                del self.pending[target]
                self.counters.resp_timed_out += 1
                self.backoff.record_failure(target, now)
                self.failed.append(target)
            else:
                lookup.attempt += 1
                lookup.last_sent = now
                lookup.asked = self._ask(target, now, again=True)

    def next_deadline(self) -> float | None:
        deadline = min(map(self._attempt_deadline, self.pending.values()), default=float("inf"))
        deadline = min(deadline, self._relayed.next_deadline())
        return deadline if deadline < float("inf") else None

    def _attempt_deadline(self, lookup: PendingLookup) -> float:
        ladder = self._settings.attempt_timeouts_secs
        return lookup.last_sent + (ladder[min(lookup.attempt, len(ladder)) - 1] if ladder else 0)

    def _ask(self, target: NodeAddr, now: float, again: bool = False) -> list[NodeAddr]:
        """Send one attempt to the tree peers that may know `target`; the peers asked.

        Where none claims to, or they did not find it before, some others are asked as well: what a parent leaves out of
        its filters or does not pass on is found by way of any other neighbour.
        """
        self.counters.req_initiated += 1
        claimants = self._claimants(target)
        peers = [address for address in claimants if self._mesh.is_tree_peer(address)]
        if again or not peers:
            peers += [address for address in claimants if address not in peers][:MOST_OTHERS_ASKED]
        if peers:
            request = self._request(target, now)
            for peer in peers:
                self._mesh.send(peer, request)
        return peers

    def _request(self, target: NodeAddr, now: float) -> bytes:
        request_id = int.from_bytes(self._entropy(8), "little")
        if len(self.asked) >= MAX_ASKED:
            del self.asked[next(iter(self.asked))]
        self.asked[request_id] = Asked(target, now)
        return LookupRequest(
            request_id=request_id,
            target=target,
            origin=self._identity.node_addr,
            ttl=self._settings.ttl,
            min_mtu=0,
            origin_coordinates=self._mesh.own_coordinates,
        ).encode()

    def _forget_asked(self, now: float) -> None:
        while self.asked:
            oldest = next(iter(self.asked))
            if now - self.asked[oldest].at <= self._patience:
                return
            del self.asked[oldest]

    def can_ask(self, target: NodeAddr) -> bool:
        """Whether a peer claims to reach `target`."""
        return bool(self._claimants(target))

    def _claimants(self, target: NodeAddr) -> list[NodeAddr]:
        """The peers whose filter contains `target`; distrusted ones only while there are no others at all."""
        mask, neighbours = member_mask(target), self._mesh.neighbours
        alone = not any(neighbour.trusted for neighbour in neighbours.values())
        return [a for a, n in neighbours.items() if (n.trusted or alone) and n.claims(mask)]

    # Relay and target

    def request(self, peer: NodeAddr, body: bytes, now: float) -> None:
        """A LookupRequest (after the type byte) came from `peer`. Our own, come back in a circle, ends here.

        So does one that only bears the number of ours: its answer, which is ours, would go to that peer instead.
        """
        counters = self.counters
        counters.req_received += 1
        neighbour = self._mesh.neighbours.get(peer)
        if neighbour is not None and not neighbour.budget.requests.allow(now):
            self.refused.requests += 1
            return
        try:
            request = LookupRequest.parse(body)
        except WireError:
            counters.req_decode_error += 1
            return
        self._forget_recent(now)
        request_id = request.request_id
        ours = request_id in self.asked or request.origin == self._identity.node_addr
        if ours or request_id in self.recent:
            counters.req_duplicate += 1
        elif not self._make_room(peer):
            counters.req_dedup_cache_full += 1
        else:
            self.recent[request_id] = RecentRequest(peer, request.target, request.origin, now)
            self._held[peer] += 1
            if request.target == self._identity.node_addr:
                self._answer(request, peer, now)
            else:
                self._relay(request, peer, now)

    def _forget_recent(self, now: float) -> None:
        expiry = self._settings.recent_expiry_secs
        while self.recent:
            oldest = next(iter(self.recent))
            if now - self.recent[oldest].seen_at <= expiry:
                return
            self._forget(oldest)

    def _forget(self, request_id: int) -> None:
        peer = self.recent.pop(request_id).from_peer
        self._relayed.forget(request_id)
        self._held[peer] -= 1
        if not self._held[peer]:
            del self._held[peer]

    def _make_room(self, peer: NodeAddr) -> bool:
        """Whether one more request of `peer` may be remembered; in a full table the peer with the most gives way."""
        if len(self.recent) < RECENT_CAPACITY:
            return True
        greediest, most = self._held.most_common(1)[0]
        if self._held[peer] + 1 >= most:
            return False
        self._forget(next(request for request, entry in self.recent.items() if entry.from_peer == greediest))
        return True

    def _answer(self, request: LookupRequest, peer: NodeAddr, now: float) -> None:
        self.counters.req_target_is_us += 1
        if (
            request.origin in self.pending
        ):  # we are asking each other; its own answer, which is signed, goes before this
            self.found.append(Found(request.origin, request.origin_coordinates, None, signed=False))
        response = LookupResponse(
            request_id=request.request_id,
            target=request.target,
            path_mtu=UNKNOWN_MTU,
            target_coordinates=self._mesh.own_coordinates,
            proof=b"",
        )
        response.proof = self._identity.sign(response.proof_bytes(), self._entropy(32))
        hop = peer if peer in self._mesh.neighbours else self._mesh.next_hop(request.origin, now)
        if hop is None:
            self.counters.resp_no_route += 1
        else:
            self._return(response, hop)

    def _relay(self, request: LookupRequest, peer: NodeAddr, now: float) -> None:
        counters = self.counters
        if request.ttl == 0:
            counters.req_ttl_exhausted += 1
            return
        if not self._forward_limit.allow(request.target, request.origin, peer, now):
            counters.req_forward_rate_limited += 1
            return
        counters.req_forwarded += 1
        message = replace(request, ttl=request.ttl - 1).encode()
        claimants = [address for address in self._claimants(request.target) if address != peer]
        chosen = [address for address in claimants if self._mesh.is_tree_peer(address)]
        if not claimants:
            counters.req_no_tree_peer += 1
        elif not chosen:
            counters.req_fallback_forwarded += 1
            chosen = claimants
        if len(chosen) > 1:
            recent = self.recent[request.request_id]
            recent.doubted = self._relayed.doubted(recent.question, chosen, now)
        for address in chosen:
            self._mesh.send(address, message)

    # Answers

    def response(self, peer: NodeAddr, body: bytes, now: float) -> None:
        """A LookupResponse (after the type byte) came from `peer`; for a request not relayed it is ours, if we asked.

        An answer is signed for good: without the question, to a question that had its answer, or long after it, an old
        one could be told again or kept for later at any time.
        """
        self.counters.resp_received += 1
        try:
            response = LookupResponse.parse(body)
        except WireError:
            self.counters.resp_decode_error += 1
            return
        recent = self.recent.get(response.request_id)
        if recent is None:
            self._accept(response, now)
        elif recent.answered:
            return
        elif peer in recent.doubted:
            self._relayed.hold_back(response.request_id, peer, response, now)
        else:
            self._pass_on(recent, peer, response, now)

    def _pass_on(self, recent: RecentRequest, peer: NodeAddr, response: LookupResponse, now: float) -> None:
        """Have the answer of `peer` be the one to a request."""
        recent.answered = True
        self._relayed.forget(response.request_id)
        self._relayed.given(recent.question, peer, now)
        self._forward_limit.answered(recent.target, recent.origin, recent.from_peer)
        self.counters.resp_forwarded += 1
        self._return(response, recent.from_peer)

    def _return(self, response: LookupResponse, hop: NodeAddr) -> None:
        """Send an answer one hop towards the origin, with that link's MTU folded in."""
        neighbour = self._mesh.neighbours.get(hop)
        if neighbour is not None:
            response.path_mtu = min(response.path_mtu, neighbour.link_mtu)
            self._mesh.send(hop, response.encode())

    def _accept(self, response: LookupResponse, now: float) -> None:
        target = response.target
        self._forget_asked(now)
        asked = self.asked.get(response.request_id)
        if asked is None or asked.target != target:
            self.refused.unasked_answers += 1
            return
        identity = self._identity_of(target)
        if identity is None or identity.node_addr != target:
            self.counters.resp_identity_miss += 1
            return
        if response.target_coordinates[0] != target or not identity.verify(response.proof_bytes(), response.proof):
            self.counters.resp_proof_failed += 1
            return
        self.counters.resp_accepted += 1
        del self.asked[response.request_id]
        self.backoff.forget(target)
        self.pending.pop(target, None)
        usable = response.path_mtu >= PATH_MTU_FLOOR
        if not usable:
            self.lookup_resp_mtu_below_floor += 1
        self.found.append(Found(target, response.target_coordinates, response.path_mtu if usable else None))
