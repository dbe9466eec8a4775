"""The self-organising mesh of one node: tree, filters, lookups and routing joined together (spec 03)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from meshnode.identity import Identity, PeerIdentity
from meshnode.mesh.announce import AnnounceExchange
from meshnode.mesh.black_holes import BlackHoles
from meshnode.mesh.bloom import BloomCounters, FilterExchange
from meshnode.mesh.coordinates import CoordinateCache, Coordinates, NodeAddr
from meshnode.mesh.decisions import Decisions
from meshnode.mesh.detachment import Detachment
from meshnode.mesh.error_signals import ErrorSignals
from meshnode.mesh.hints import Hints
from meshnode.mesh.lookup import LookupCounters, Lookups
from meshnode.mesh.mmp.quality import CostRange, Health
from meshnode.mesh.neighbour import Neighbour, Neighbours, Refusals
from meshnode.mesh.next_hop import RouteClass, classify
from meshnode.mesh.router_events import (
    CoordinatesChanged,
    CoordinatesLearned,
    LookupFailed,
    ParentChanged,
    RelayJudged,
    RouterEvent,
)
from meshnode.mesh.settings import MeshSettings
from meshnode.mesh.tree import Tree, TreeCounters
from meshnode.mesh.withholding import Withholding

TREE_ANNOUNCE, FILTER_ANNOUNCE, LOOKUP_REQUEST, LOOKUP_RESPONSE = 0x10, 0x20, 0x30, 0x31
SECOND_LOOK = 0.7
MAX_MISSED = 256
MISSED_MEMORY = 15.0

__all__ = [
    "CoordinatesChanged",
    "CoordinatesLearned",
    "LookupFailed",
    "ParentChanged",
    "RelayJudged",
    "Router",
    "RouterCounters",
    "RouterEvent",
]


@dataclass(slots=True)
class RouterCounters:
    """The counter families a Router keeps (spec 03 section 13)."""

    tree: TreeCounters
    bloom: BloomCounters
    lookup: LookupCounters


class Router:
    """Sans-IO: after every call the owner drains `outbound` and `events`, then arms a timer for `next_deadline()`.

    `outbound` holds (peer, link message with type byte). `link_cost` tells a peer's measured cost or None, `cost_range`
    the same in detail, `identity_of` the public key known for a target or None, `link_health` how
    well the link to a peer works. `now` is monotonic seconds, `wall` Unix
    seconds.
    """

    tree_type: ClassVar[type[Tree]] = Tree

    def __init__(
        self,
        identity: Identity,
        settings: MeshSettings,
        entropy: Callable[[int], bytes],
        now: float,
        wall: float,
        link_cost: Callable[[NodeAddr], float | None],
        identity_of: Callable[[NodeAddr], PeerIdentity | None],
        cost_range: Callable[[NodeAddr], CostRange | None] = lambda address: None,
        link_health: Callable[[NodeAddr], Health | None] = lambda address: None,
    ) -> None:
        self.me = identity.node_addr
        self.outbound: list[tuple[NodeAddr, bytes]] = []
        self.events: list[RouterEvent] = []
        self.neighbours: Neighbours = {}
        self.mesh_size_estimate: int | None = None
        self._settings = settings
        self._link_cost = link_cost
        self.tree = self.tree_type(identity, settings.tree, entropy, self.neighbours, link_cost, wall, cost_range)
        self.refused = Refusals()
        self.announces = AnnounceExchange(self.tree, settings.tree, self.neighbours, self.send, self.refused)
        self.filters = FilterExchange(
            self.me,
            settings.bloom,
            self.neighbours,
            self.tree.is_tree_peer,
            _announce_pending,
            self.send,
            self.refused,
        )
        self.lookups = Lookups(identity, settings.lookup, entropy, identity_of, self, self.refused)
        self.coordinate_cache = CoordinateCache(self.me, settings.cache.coord_size, settings.cache.coord_ttl_secs)
        self.counters = RouterCounters(self.tree.counters, self.filters.counters, self.lookups.counters)
        self._decisions = Decisions(self.tree, self.neighbours, self.coordinate_cache, link_cost, cost_range)
        self.next_hop, self.onward_hop = self._decisions.next_hop, self._decisions.onward_hop
        self.hints = Hints(self.me, self.neighbours, self.coordinate_cache, self._decisions, self.refused)
        self.warm = self.hints.warm
        self.signals = ErrorSignals(self.me, self.neighbours, self.coordinate_cache, self.refused)
        self.routing_error, self.mtu_error = self.signals.routing_error, self.signals.mtu_error
        self._withholding = Withholding(self.me, self.neighbours)
        self.black_holes = BlackHoles(self.me, self.neighbours, self.send, entropy, link_health)
        self._detachment = Detachment(entropy)
        self._missed: dict[NodeAddr, float] = {}  # targets nobody could be asked for, by when that was
        self._reevaluated_at: float | None = None
        self._second_look_at: float | None = None
        self._judged: set[NodeAddr] = set()

    # Peers

    def peer_up(self, peer: PeerIdentity, link_mtu: int, now: float, wall: float) -> None:
        """A link to `peer` was established, or a cross-connection resolved in favour of the link we have."""
        neighbour = self.neighbours.get(peer.node_addr)
        if neighbour is None:
            neighbour = self.neighbours[peer.node_addr] = Neighbour(peer, link_mtu, now)
        neighbour.link_mtu = link_mtu
        self.black_holes.met(neighbour)
        self._greet(neighbour, now)

    def peer_down(self, address: NodeAddr, now: float, wall: float) -> None:
        """The link to a peer is gone. Unknown addresses are ignored."""
        if address not in self.neighbours:
            return
        was_parent = not self.tree.is_root and self.tree.parent == address
        del self.neighbours[address]
        if was_parent:
            self._lose_parent(now, wall)
        self.filters.mark_all()
        self._decisions.forget()

    def set_trust(self, address: NodeAddr, doubtful: bool, trusted: bool, now: float, wall: float) -> None:
        """The link to a peer became silent (`doubtful`), or stayed so while probed (not `trusted`), or recovered.

        A distrusted peer is treated as lost as far as there are others to turn to, but its announcements are kept.
        """
        neighbour = self.neighbours.get(address)
        if neighbour is None:
            return
        neighbour.doubtful = doubtful
        self._decisions.forget()
        if trusted == neighbour.trusted:
            return
        neighbour.trusted = trusted
        if trusted:
            self.announces.send(neighbour, now)
            self._reconsider(now, wall)
        elif self.tree.parent == address and not self.tree.is_root and self._has_trusted_peer():
            self._lose_parent(now, wall)
        self.filters.mark_changed(excluded=b"")

    def frames_lost(self, address: NodeAddr, since: float) -> None:
        """A peer reported losses: repeat what we told it since then and it must know."""
        neighbour = self.neighbours.get(address)
        if neighbour is not None:
            neighbour.announce.repeat(since)
            neighbour.filter_announce.repeat(since)

    def _has_trusted_peer(self) -> bool:
        return any(neighbour.trusted for neighbour in self.neighbours.values())

    def _lose_parent(self, now: float, wall: float) -> None:
        """The parent is gone or of no use: take another or become root."""
        before = self.tree.parent, self.tree.coordinates
        self.counters.tree.parent_losses += 1
        self.tree.recover(now, wall)
        self.coordinate_cache.drop_through(self.me)
        self.coordinate_cache.drop_foreign(self.tree.root)
        self.announces.mark_all()
        self._report_position(before, now)

    def set_link_mtu(self, address: NodeAddr, mtu: int) -> None:
        """Note the largest link frame that fits towards a peer."""
        neighbour = self.neighbours.get(address)
        if neighbour is not None:
            neighbour.link_mtu = mtu

    def is_tree_peer(self, address: NodeAddr) -> bool:
        """Whether this peer is our parent or our child."""
        return self.tree.is_tree_peer(address)

    def send(self, peer: NodeAddr, message: bytes) -> None:
        """Queue a link message; used by the parts of the router."""
        self.outbound.append((peer, message))

    def _greet(self, neighbour: Neighbour, now: float) -> None:
        self.lookups.backoff.clear()
        self.announces.send(neighbour, now)
        neighbour.filter_announce.pending = True
        self._decisions.forget()

    # Messages and time

    def message(self, peer: NodeAddr, msg_type: int, body: bytes, now: float, wall: float) -> None:
        """Take a link message of the mesh (0x10, 0x20, 0x30, 0x31) from an authenticated peer; never raises for it."""
        if msg_type == TREE_ANNOUNCE:
            self._tree_announce(peer, body, now, wall)
        elif msg_type == FILTER_ANNOUNCE:
            if self.filters.receive(peer, body, now):
                self.filters.mark_changed(excluded=peer)
                self._decisions.forget()
                self.lookups.heard_filter(peer, now)
                self._look_up_missed(now)
        elif msg_type == LOOKUP_REQUEST:
            self.lookups.request(peer, body, now)
            self._drain_lookups(now)
        elif msg_type == LOOKUP_RESPONSE:
            self.lookups.response(peer, body, now)
            self._drain_lookups(now)

    def first_rtt(self, peer: NodeAddr, now: float, wall: float) -> None:
        """The link to `peer` got its first round-trip sample, which may make it eligible as parent."""
        self._decisions.forget()
        self._reconsider(now, wall)

    def tick(self, now: float, wall: float) -> None:
        """Once a second: everything `handle_timeout` does, plus periodic re-evaluation and the size estimate."""
        self.announces.flush(now)
        self._look_again(now, wall)
        self._notice_measurements(now, wall)
        self._notice_withholding(now, wall)
        self._escape(now, wall)
        self._reevaluate_periodically(now, wall)
        self.filters.flush(now)
        self.mesh_size_estimate = self.filters.mesh_size()
        self.lookups.advance(now)
        self._drain_lookups(now)
        self._watch_relays(now, wall)
        self._decisions.tick()

    def next_deadline(self) -> float | None:
        """When `handle_timeout` has something to do: a waiting announce or filter, or a lookup attempt running out."""
        waiting = [n for n in self.neighbours.values() if n.announce.pending or n.filter_announce.pending]
        if not waiting and self.black_holes.due is None:  # as a rule, and this is asked after every burst
            return self.lookups.next_deadline()
        parts = (
            self.announces.next_deadline(),
            self.filters.next_deadline(),
            self.lookups.next_deadline(),
            self.black_holes.due,
        )
        return min((deadline for deadline in parts if deadline is not None), default=None)

    def handle_timeout(self, now: float, wall: float) -> None:
        """Send what has waited long enough."""
        self.announces.flush(now)
        self.filters.flush(now)
        self.lookups.advance(now)
        self._drain_lookups(now)
        due = self.black_holes.due
        if due is not None and now >= due:
            self._watch_relays(now, wall)

    def _drain_lookups(self, now: float) -> None:
        lookups = self.lookups
        for found in lookups.found:
            self.coordinate_cache.insert(found.target, found.coordinates, now, found.path_mtu, found.signed)
            self.events.append(CoordinatesLearned(found.target, found.path_mtu))
        self.events.extend(LookupFailed(target) for target in lookups.failed)
        lookups.found.clear()
        lookups.failed.clear()

    # Our position (spec 03 sections 3.6 and 3.7)

    def _tree_announce(self, peer: NodeAddr, body: bytes, now: float, wall: float) -> None:
        neighbour, was_tree_peer = self.neighbours.get(peer), self.tree.is_tree_peer(peer)
        had_position = neighbour is not None and neighbour.position is not None
        position = self.announces.receive(peer, body, now, wall)
        if position is None:
            if neighbour is not None and had_position and neighbour.position is None:
                self._position_gone(peer, was_tree_peer, now, wall)
            return
        self._decisions.forget()
        if position.root > self.tree.root:
            self.announces.send(self.neighbours[peer], now)
        if not self._reconsider(now, wall) and not self.tree.is_root and self.tree.parent == peer:
            if self.me in position.coordinates:
                self._leave_loop(now, wall)
            else:
                self._follow_parent(now, wall)
        if self.tree.is_tree_peer(peer) != was_tree_peer:
            self.filters.mark_changed(excluded=peer)

    def _position_gone(self, peer: NodeAddr, was_tree_peer: bool, now: float, wall: float) -> None:
        """A peer moved to where we cannot follow, and no longer is where we thought it was."""
        self._decisions.forget()
        if not self.tree.is_root and self.tree.parent == peer:
            self._lose_parent(now, wall)
            self.filters.mark_all()
        elif was_tree_peer:
            self.filters.mark_changed(excluded=peer)

    def _reconsider(self, now: float, wall: float) -> bool:
        """Take a better parent, or become root if that is our place; True when one of the two happened."""
        parent = self.tree.better_parent(now)
        if parent is None and (self.tree.is_root or not self.tree.should_be_root(now)):
            return False
        self._switch(parent, now, wall)
        return True

    def _notice_measurements(self, now: float, wall: float) -> None:
        """A link that is judged for the first time may be eligible: also one too fast to measure, or never reported."""
        judged = set(self.tree.judged(now))
        news, self._judged = judged - self._judged, judged
        if news:
            self._reconsider(now, wall)

    def _notice_withholding(self, now: float, wall: float) -> None:
        """A parent by whose filters nobody is found is left."""
        if self._withholding.look(now):
            self._reconsider(now, wall)

    def _watch_relays(self, now: float, wall: float) -> None:
        """Go around peers that drop what is led through them, and through those that do not any more."""
        relays: set[NodeAddr] = set()
        if len(self.neighbours) > 1:  # else there is nobody to turn to
            relays = self._decisions.relays() | ({self.tree.parent} - {self.me})
        if self.black_holes.look(relays, now):
            verdicts = self.black_holes.take_verdicts()
            self.events += [RelayJudged(self.neighbours[peer].identity, given_up) for peer, given_up in verdicts]
            self._decisions.forget()
            self._reconsider(now, wall)
        self._let_go(now, wall)

    def _let_go(self, now: float, wall: float) -> None:
        """Be root for a moment rather than hang below a black hole, and come back if that was no use."""
        parent = None if self.tree.is_root else self.neighbours.get(self.tree.parent)
        if self._detachment.is_due(parent if parent is not None and parent.black_hole else None, now):
            self.tree.aloof = True
            self._switch(None, now, wall)
        elif self._detachment.has_ended(now):
            self.tree.aloof = False
            self._reconsider(now, wall)

    def _escape(self, now: float, wall: float) -> None:
        """Leave a parent that is surely and lastingly worse than another peer."""
        parent = self.tree.escape(now)
        if parent is not None:
            self._switch(parent, now, wall)

    def _switch(self, parent: NodeAddr | None, now: float, wall: float) -> None:
        """Hang below another parent, or become root, with all that follows from it."""
        before = self.tree.parent, self.tree.coordinates
        if parent is not None:
            self.tree.set_parent(parent, now, wall)
            self.coordinate_cache.drop_through(self.me)
        else:
            self.tree.become_root(wall)
            self.coordinate_cache.drop_foreign(self.me)
        self.counters.tree.parent_switches += 1
        self._spread_position(before, now)

    def _leave_loop(self, now: float, wall: float) -> None:
        """Our parent hangs below ourselves."""
        before = self.tree.parent, self.tree.coordinates
        self.counters.tree.loop_detected += 1
        self.tree.recover(now, wall)
        self.coordinate_cache.drop_through(self.me)
        self.coordinate_cache.drop_foreign(self.tree.root)
        self._spread_position(before, now)

    def _follow_parent(self, now: float, wall: float) -> None:
        """Our parent announced again, possibly from another place."""
        before = self.tree.parent, self.tree.coordinates
        self.tree.set_parent(self.tree.parent, now, wall)
        self.coordinate_cache.drop_through(self.me)
        self.lookups.backoff.clear()
        if self.tree.coordinates != before[1]:
            self.counters.tree.ancestry_changed += 1
            self.announces.send_all(now)
            self.filters.mark_changed(excluded=before[0])
            self._report_position(before, now)

    def _spread_position(self, before: tuple[NodeAddr, Coordinates], now: float) -> None:
        self.lookups.backoff.clear()
        self.announces.send_all(now)
        self.filters.mark_all()
        self._report_position(before, now)

    def _report_position(self, before: tuple[NodeAddr, Coordinates], now: float) -> None:
        parent, coordinates = before
        self._decisions.forget()
        if self.tree.root > coordinates[-1]:
            self._second_look_at = now + SECOND_LOOK
        if self.tree.parent != parent:
            self.events.append(ParentChanged(parent, self.tree.parent))
        if self.tree.coordinates != coordinates:
            self.lookups.position_changed()
            self.events.append(CoordinatesChanged())

    def _look_again(self, now: float, wall: float) -> None:
        """Evaluate once more soon after our root became a worse one.

        A peer still below the better root may not have been eligible at that moment, and without news from it we would
        wait for the periodic evaluation. Not at once: siblings that lose the same root must first hear of each other's
        loss, or they would take each other as parents.
        """
        is_due = self._second_look_at is not None and now >= self._second_look_at
        if is_due:
            self._second_look_at = None
        if is_due or self.tree.disputes.any_ended(now):
            self._reconsider(now, wall)

    def _reevaluate_periodically(self, now: float, wall: float) -> None:
        """Every `reeval_interval_secs`: look for a better parent, else repeat what peers may have missed.

        Announces and filters travel unacknowledged. Repeating both, even with a single peer, bounds how long a lost one
        can keep a subtree unreachable; receivers drop repeated announces as stale and unchanged filters end with them.
        """
        interval = self._settings.tree.reeval_interval_secs
        if not interval or not self.neighbours:
            return
        if self._reevaluated_at is not None and now - self._reevaluated_at < interval:
            return
        self._reevaluated_at = now
        if not self._reconsider(now, wall):
            self.announces.send_all(now)
            self.filters.mark_all()

    # Routing

    def link_cost(self, peer: NodeAddr) -> float | None:
        """The measured cost of the link to a peer; None while there is none."""
        return self._link_cost(peer)

    def route_class(self, destination: NodeAddr, hop: NodeAddr) -> RouteClass:
        """How a datagram for `destination` that left through `hop` travels relative to the tree."""
        neighbour = self.neighbours.get(hop)
        position = None if neighbour is None else neighbour.position
        return classify(
            self.tree.coordinates,
            destination,
            self.coordinate_cache.peek(destination),
            hop,
            None if position is None else position.coordinates,
        )

    def lookup(self, target: NodeAddr, now: float) -> bool:
        """Look up where `target` is; True when a lookup is under way, which ends in an event.

        Without a peer to ask it is remembered for a while, and starts when a filter comes that contains the target.
        """
        if target == self.me:
            return False
        started = self.lookups.start(target, now)
        self._missed.pop(target, None)
        if not started:
            if len(self._missed) >= MAX_MISSED:
                del self._missed[next(iter(self._missed))]
            self._missed[target] = now
        return started

    def _look_up_missed(self, now: float) -> None:
        for target, since in list(self._missed.items()):
            if now - since > MISSED_MEMORY or (self.lookups.can_ask(target) and self.lookups.start(target, now)):
                del self._missed[target]

    def learn_coordinates(self, owner: NodeAddr, coordinates: Coordinates, now: float) -> None:
        """Take coordinates that came with an authentic message of `owner`; an empty list says nothing."""
        self.coordinate_cache.insert(owner, coordinates, now, vouched=True)

    @property
    def own_coordinates(self) -> Coordinates:
        """Our addresses up to the root, ourselves first. Not to be changed by the caller."""
        return self.tree.coordinates

    def coordinates_for(self, destination: NodeAddr, now: float) -> Coordinates | None:
        """Coordinates we know for a destination, without counting as use."""
        return self.coordinate_cache.get(destination, now)

    def forget_coordinates(self, destination: NodeAddr) -> None:
        self.coordinate_cache.remove(destination)


def _announce_pending(neighbour: Neighbour) -> bool:
    return neighbour.announce.pending
