"""Which way a packet for a node would take now, and why not another one (spec 03 section 8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meshnode.identity import IdentityError, PeerIdentity
from meshnode.mesh.bloom import member_mask
from meshnode.mesh.coordinates import INFINITE, Coordinates, distance
from meshnode.mesh.neighbour import Neighbour
from meshnode.mesh.next_hop import UNMEASURED_COST

from .commands import CommandError, text_params
from .encoding import Answer
from .view import View, hex_list


def why(view: View, params: Any) -> Answer:
    """The next hop towards `npub`, the rule that chose it, and every peer with what speaks for and against it."""
    (npub,) = text_params("why", params, ("npub",))
    try:
        identity = PeerIdentity.from_npub(npub)
    except IdentityError as error:
        raise CommandError(f"invalid peer npub: {error}") from None
    if identity == view.node.identity.peer:
        raise CommandError("that is this node itself")
    return _Question(view, identity).answer()


class _Question:
    """One destination, with what is known of it."""

    def __init__(self, view: View, identity: PeerIdentity) -> None:
        router = view.node.router
        self.view = view
        self.identity = identity
        self.target = identity.node_addr
        self.hop = router.next_hop(self.target, view.now)
        self.ours = router.own_coordinates
        self.theirs = self._coordinates()
        self.mask = member_mask(self.target)

    def _coordinates(self) -> Coordinates | None:
        """Where the target is: as looked up, else as it declared itself where it is a peer."""
        router = self.view.node.router
        known = router.coordinates_for(self.target, self.view.now)
        neighbour = router.neighbours.get(self.target)
        if known is None and neighbour is not None and neighbour.position is not None:
            return neighbour.position.coordinates
        return known

    def answer(self) -> Answer:
        router, hop = self.view.node.router, self.hop
        return {
            "npub": self.identity.npub,
            "node_addr": self.target.hex(),
            "display_name": self.view.name(self.target),
            "next_hop": None if hop is None else {"node_addr": hop.hex(), "display_name": self.view.name(hop)},
            "class": None if hop is None else router.route_class(self.target, hop).value,
            "rule": self.rule(),
            "our_coords": hex_list(self.ours),
            "their_coords": hex_list(self.theirs or []),
            "our_distance": _finite(None if self.theirs is None else distance(self.ours, self.theirs)),
            "is_looked_up": self.target in router.lookups.pending,
            "candidates": sorted(self.candidates(), key=_order),
        }

    def rule(self) -> str:
        """Why this hop, or why none, in one sentence."""
        if self.hop == self.target:
            return "it is a direct peer"
        if self.target in self.view.node.router.neighbours:
            if self.hop is None:
                return "it is a direct peer whose link is silent: another way to it is being looked for"
            return "it is a direct peer, but a way around its link promises more"
        if self.theirs is None:
            return "its place in the tree is not known: a packet for it would start a lookup"
        if self.theirs[-1] != self.ours[-1]:
            return "it hangs in another tree than we do: there is no way between the two yet"
        if self.hop is None:
            return "no peer that can be relied on is nearer to it than we are"
        neighbour = self.view.node.router.neighbours.get(self.hop)
        if neighbour is not None and self._claims(neighbour):
            return "the cheapest of the nearer peers whose filters contain it"
        return "no nearer peer's filter contains it: the nearest along the tree"

    def candidates(self) -> Iterator[dict[str, Any]]:
        for neighbour in self.view.node.router.neighbours.values():
            remaining = self._remaining(neighbour)
            cost = self.view.node.router.link_cost(neighbour.address)
            known = _finite(remaining)
            yield {
                "node_addr": neighbour.address.hex(),
                "display_name": self.view.name(neighbour.address),
                "hops_left": known,
                "link_cost": cost,
                "total": None if known is None else known + (UNMEASURED_COST if cost is None else cost),
                "filter_contains": self._claims(neighbour),
                "is_nearer": self._is_nearer(remaining),
                "is_trusted": neighbour.trusted and not (neighbour.doubtful or neighbour.black_hole),
                "is_chosen": neighbour.address == self.hop,
                "reason": self._reason(neighbour, remaining),
            }

    def _remaining(self, neighbour: Neighbour) -> int | None:
        """Hops along the tree from the peer to the target."""
        if neighbour.address == self.target:
            return 0
        if neighbour.position is None or self.theirs is None:
            return None
        return distance(neighbour.position.coordinates, self.theirs)

    def _is_nearer(self, remaining: int | None) -> bool:
        return remaining is not None and self.theirs is not None and remaining < distance(self.ours, self.theirs)

    def _claims(self, neighbour: Neighbour) -> bool:
        return neighbour.claims(self.mask)

    def _reason(self, neighbour: Neighbour, remaining: int | None) -> str:
        if neighbour.address == self.hop:
            return "chosen"
        if not neighbour.trusted or neighbour.doubtful:
            return "silent, not relied on"
        if neighbour.black_hole:
            return "drops what is led through it"
        if remaining is None:
            return "its place is not known" if neighbour.position is None else "nothing to compare with"
        if remaining == INFINITE:
            return "in another tree"
        if not self._is_nearer(remaining):
            return "not nearer than we are"
        return "dearer" if self._claims(neighbour) else "its filter does not contain it"


def _finite(hops: int | None) -> int | None:
    return None if hops is None or hops == INFINITE else hops


def _order(row: dict[str, Any]) -> tuple[bool, bool, float]:
    """The chosen one first, then those in question, the cheapest in front."""
    total = row["total"]
    return not row["is_chosen"], not row["is_nearer"], float("inf") if total is None else total
