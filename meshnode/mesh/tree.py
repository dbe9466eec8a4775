"""Our place in the spanning tree: parent evaluation, declarations, flap dampening (spec 03 sections 3.4 to 3.8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from enum import Enum, auto

from meshnode.identity import Identity
from meshnode.mesh.coordinates import Coordinates, NodeAddr
from meshnode.mesh.disputes import Disputes
from meshnode.mesh.mmp.quality import CostRange
from meshnode.mesh.neighbour import Neighbours
from meshnode.mesh.review import ParentReview
from meshnode.mesh.settings import TreeSettings
from meshnode.wire.tree import AncestryEntry, TreeAnnounce, declaration_bytes

UNMEASURED_COST = 1.0
UNREPORTED_COST = 100.0
PATIENCE = 10.0
"""Seconds within which the reports of a peer give its link a cost, if it sends any."""

MOMENT = 2.0
LONGEST_EPISODE = 365 * 86400.0


@dataclass(slots=True)
class TreeCounters:
    """Named as published (spec 03 section 13). `outbound_sign_failed` stays 0: signing with a valid key cannot fail."""

    received: int = 0
    decode_error: int = 0
    unknown_peer: int = 0
    addr_mismatch: int = 0
    sig_failed: int = 0
    stale: int = 0
    ancestry_invalid: int = 0
    accepted: int = 0
    loop_detected: int = 0
    ancestry_changed: int = 0
    sent: int = 0
    rate_limited: int = 0
    send_failed: int = 0
    outbound_sign_failed: int = 0
    parent_switches: int = 0
    parent_losses: int = 0
    flap_dampened: int = 0


class Urgency(Enum):
    """Whether a better parent may be vetoed by hold-down and dampening."""

    MANDATORY = auto()
    DISCRETIONARY = auto()


@dataclass(frozen=True, slots=True)
class Choice:
    """The outcome of an evaluation: the parent to take, and how badly we need it."""

    parent: NodeAddr
    urgency: Urgency


def evaluate_parent(
    me: NodeAddr,
    parent: NodeAddr | None,
    root: NodeAddr,
    paths: Mapping[NodeAddr, Coordinates],
    costs: Mapping[NodeAddr, float],
    hysteresis: float,
    unfit: Set[NodeAddr] = frozenset(),
) -> Choice | None:
    """Which parent to take instead of the present situation, if any (spec 03 section 3.5).

    `parent` is None while we are root, `root` our present root, `paths` the announced coordinates of the peers that
    have any, `costs` the link costs of the measured ones. `unfit` peers, and whoever hangs below them, come after all
    others.
    """
    best_root = min((path[-1] for path in paths.values()), default=me)
    if me <= best_root:
        return None
    best = _cheapest(me, best_root, paths, costs, unfit)
    if best is None or best[-1] == parent:
        return None
    hindrance, effective_depth, address = best
    if parent is None or parent not in paths or best_root < root or hindrance < _hindrance(paths[parent], unfit):
        return Choice(address, Urgency.MANDATORY)
    present = len(paths[parent]) - 1 + _cost(parent, costs)
    if effective_depth < present * (1.0 - min(max(hysteresis, 0.0), 1.0)):
        return Choice(address, Urgency.DISCRETIONARY)
    return None


def _hindrance(path: Coordinates, unfit: Set[NodeAddr]) -> int:
    """2 for the path of an unfit peer, 1 for one below it, else 0."""
    if not unfit or unfit.isdisjoint(path):
        return 0
    return 2 if path[0] in unfit else 1


def _cheapest(
    me: NodeAddr,
    root: NodeAddr,
    paths: Mapping[NodeAddr, Coordinates],
    costs: Mapping[NodeAddr, float],
    unfit: Set[NodeAddr],
) -> tuple[int, float, NodeAddr] | None:
    """The eligible peer of least hindrance and effective depth; ties go to the smaller address."""
    eligible = (
        (_hindrance(path, unfit), len(path) - 1 + _cost(address, costs), address)
        for address, path in paths.items()
        if path[-1] == root and me not in path and (address in costs or not costs)
    )
    return min(eligible, default=None)


def _cost(address: NodeAddr, costs: Mapping[NodeAddr, float]) -> float:
    """Before anybody is measured all links are equal; afterwards an unmeasured one is no match for any measured one."""
    return costs.get(address, float("inf")) if costs else UNMEASURED_COST


class SwitchDamper:
    """Vetoes discretionary parent switches: for a while after any, and longer after too many (spec 03 section 3.8)."""

    __slots__ = ("_changed_at", "_count", "_episode_end", "_set_at", "_settings", "_window_start")

    def __init__(self, settings: TreeSettings) -> None:
        self._settings = settings
        self._set_at: float | None = None
        self._changed_at: float | None = None
        self._window_start: float | None = None
        self._count = 0
        self._episode_end: float | None = None

    def parent_set(self, changed: bool, now: float) -> bool:
        """Note that a parent was taken or renewed; True when that was one change too many and an episode began."""
        self._set_at = now
        if not changed:
            return False
        self._changed_at = now
        return self._flapped(now)

    def vetoes(self, now: float) -> bool:
        """Whether a discretionary switch must wait."""
        hold_down = self._settings.hold_down_secs
        if hold_down and self._set_at is not None and now - self._set_at < hold_down:
            return True
        return self._episode_end is not None and now < self._episode_end

    def just_changed(self, now: float) -> bool:
        """Whether another parent was taken a moment ago, and the tree around us is still moving."""
        return self._changed_at is not None and now - self._changed_at < MOMENT

    def _flapped(self, now: float) -> bool:
        settings = self._settings
        if self._episode_end is not None and now >= self._episode_end:
            self._episode_end = self._window_start = None
            self._count = 0
        if self._window_start is not None and now - self._window_start < settings.flap_window_secs:
            self._count += 1
        else:
            self._window_start, self._count = now, 1
        if self._count < settings.flap_threshold or self._episode_end is not None:
            return False
        self._episode_end = now + min(float(settings.flap_dampening_secs), LONGEST_EPISODE)
        return True


def _unknown_cost(address: NodeAddr) -> CostRange | None:
    return None


class Tree:
    """Our own declaration and coordinates, and the decision whom to hang below.

    Methods that change the declaration leave it signed and `coordinates` up to date. The caller brings about the
    effects of section 3.7 on everything else. While it is `aloof`, a black hole is no parent even for want of another.
    `link_cost` and, in detail, `cost_range` return None for a link without a round-trip time.
    """

    __slots__ = (
        "_ancestry",
        "_cost_range",
        "_damper",
        "_entropy",
        "_identity",
        "_link_cost",
        "_neighbours",
        "_review",
        "_settings",
        "_signature",
        "aloof",
        "coordinates",
        "counters",
        "disputes",
        "me",
        "parent",
        "sequence",
        "timestamp",
    )

    def __init__(
        self,
        identity: Identity,
        settings: TreeSettings,
        entropy: Callable[[int], bytes],
        neighbours: Neighbours,
        link_cost: Callable[[NodeAddr], float | None],
        wall: float,
        cost_range: Callable[[NodeAddr], CostRange | None] = _unknown_cost,
    ) -> None:
        self.me = identity.node_addr
        self.counters = TreeCounters()
        self.parent = self.me
        # A neighbour may have kept the declaration of our previous run (section 3.11): milliseconds of Unix time are
        # ahead of anything that run can have counted up to.
        self.sequence = int(wall * 1000)
        self.timestamp = int(wall)
        self.coordinates: Coordinates = [self.me]
        self._ancestry: list[AncestryEntry] = []
        self._identity = identity
        self._settings = settings
        self._entropy = entropy
        self._neighbours = neighbours
        self._link_cost = link_cost
        self._cost_range = cost_range
        self._review = ParentReview(cost_range)
        self._damper = SwitchDamper(settings)
        self.disputes = Disputes()
        self.aloof = False
        self._signature = b""
        self._sign()

    @property
    def root(self) -> NodeAddr:
        return self.coordinates[-1]

    @property
    def is_root(self) -> bool:
        return self.root == self.me

    def should_be_root(self, now: float) -> bool:
        """Whether no peer offers a root smaller than ourselves."""
        return all(self.me <= path[-1] for path in self._plausible_paths(now).values())

    def better_parent(self, now: float) -> NodeAddr | None:
        """The parent to switch to, with the vetoes of section 3.8 applied."""
        choice = evaluate_parent(
            self.me,
            None if self.is_root else self.parent,
            self.root,
            self._plausible_paths(now),
            self._costs(now),
            self._settings.parent_hysteresis,
            self._unfit(),
        )
        if choice is None or (choice.urgency is Urgency.DISCRETIONARY and self._damper.vetoes(now)):
            return None
        return choice.parent

    def escape(self, now: float) -> NodeAddr | None:
        """The parent to switch to because the present one is surely and lastingly worse; ask once a second."""
        if self.is_root or self._damper.just_changed(now):
            return None
        paths = {a: n.position.coordinates for a, n in self._neighbours.items() if n.position is not None and n.trusted}
        unfit = self._unfit()
        if unfit and self.parent in paths:
            limit = _hindrance(paths[self.parent], unfit)
            paths = {a: path for a, path in paths.items() if _hindrance(path, unfit) <= limit}
        return self._review.lasting_choice(self.me, self.parent, paths, now)

    def set_parent(self, parent: NodeAddr, now: float, wall: float) -> None:
        """Declare `parent`, a peer with a position; also used to follow the same parent along a new path."""
        changed = self.is_root or parent != self.parent
        if self._damper.parent_set(changed, now):
            self.counters.flap_dampened += 1
        self._declare(parent, wall)

    def become_root(self, wall: float) -> None:
        """Declare ourselves root."""
        self._declare(self.me, wall)

    def recover(self, now: float, wall: float) -> None:
        """The parent is lost or useless: take another, else become root."""
        parent = self.better_parent(now)
        if parent is None:
            self.become_root(wall)
        else:
            self.set_parent(parent, now, wall)

    def is_tree_peer(self, address: NodeAddr) -> bool:
        """Whether this peer is our parent or our child."""
        if address == self.parent:
            return not self.is_root
        neighbour = self._neighbours.get(address)
        return neighbour is not None and neighbour.position is not None and neighbour.position.parent == self.me

    def announce(self) -> TreeAnnounce:
        """The TreeAnnounce for our present declaration."""
        own = AncestryEntry(self.me, self.sequence, self.timestamp)
        return TreeAnnounce(self.sequence, self.timestamp, self.parent, [own, *self._ancestry], self._signature)

    def _plausible_paths(self, now: float) -> dict[NodeAddr, Coordinates]:
        """The paths of the peers, without those another peer on the way contradicts; all of them if none is left.

        When a root dies, its old paths live on in announcements that nobody has had time to take back, and nodes would
        try one after the other, each longer than the last, for half a minute in a mesh of a hundred. A peer that says
        something else about itself than a path through it does is right, for a while: who stays at odds with others
        tells everybody something else. What the parent is behind with, it will tell.
        """
        paths = self._paths()
        parent = None if self.is_root else self.parent
        plausible = {a: path for a, path in paths.items() if a == parent or not self._contradicted(path, now)}
        return plausible or paths

    def _contradicted(self, path: Coordinates, now: float) -> bool:
        for index, address in enumerate(path[1:], 1):
            neighbour = self._neighbours.get(address)
            if neighbour is not None and neighbour.position is not None and not neighbour.doubtful:
                at_odds = neighbour.position.coordinates != path[index:]
                return at_odds and self.disputes.is_believed(address, now)
        return False

    def _paths(self) -> dict[NodeAddr, Coordinates]:
        """Where the peers are; the word of distrusted ones counts only when there are no others."""
        considered = {a: n for a, n in self._neighbours.items() if not (self.aloof and n.black_hole)}
        placed = {a: (n.position.coordinates, n.trusted) for a, n in considered.items() if n.position is not None}
        trusted = {a: path for a, (path, is_trusted) in placed.items() if is_trusted}
        return trusted or {a: path for a, (path, _) in placed.items()}

    def _unfit(self) -> Set[NodeAddr]:
        return {a for a, neighbour in self._neighbours.items() if neighbour.black_hole or neighbour.withholds}

    def judged(self, now: float) -> Set[NodeAddr]:
        """The peers whose links have a cost; while there are none, all are alike."""
        return self._costs(now).keys()

    def _costs(self, now: float) -> dict[NodeAddr, float]:
        """What the links cost. The specification leaves a peer out that sends no reports as long as others do.

        The better root may be behind such a peer alone, and the mesh would stay in two pieces. It is the last choice.
        """
        found = ((address, self._cost(address)) for address in self._neighbours)
        costs = {address: cost for address, cost in found if cost is not None}
        if costs:
            for address, neighbour in self._neighbours.items():
                if now - neighbour.since >= PATIENCE:
                    costs.setdefault(address, UNREPORTED_COST)
        return costs

    def _cost(self, address: NodeAddr) -> float | None:
        """The cost of a link; of what wavers, the better figure for the parent and the worse one for the others."""
        cost = self._cost_range(address)
        if cost is None:
            return self._link_cost(address)
        return min(cost.recent, cost.steady) if address == self.parent else max(cost.recent, cost.steady)

    def _declare(self, parent: NodeAddr, wall: float) -> None:
        self.parent = parent
        self.sequence += 1
        self.timestamp = int(wall)
        self._recompute()
        self._sign()

    def _recompute(self) -> None:
        """Derive our path from the parent's; a parent below a root larger than ourselves makes us root instead."""
        ancestry: list[AncestryEntry] = []
        if self.parent != self.me:
            position = self._neighbours[self.parent].position
            if position is None or self.me <= position.root:
                self.parent = self.me
            else:
                ancestry = position.ancestry
        self._ancestry = ancestry
        self.coordinates = [self.me, *(entry.node_addr for entry in ancestry)]

    def _sign(self) -> None:
        declaration = declaration_bytes(self.me, self.parent, self.sequence, self.timestamp)
        self._signature = self._identity.sign(declaration, self._entropy(32))
