"""From what the machines tell to events operators understand: with names, addresses and reasons."""

from __future__ import annotations

from collections import OrderedDict

from meshnode.identity import PeerIdentity
from meshnode.mesh.link import NO_ANSWER, LinkCounters, Path, PeerLink
from meshnode.mesh.rate_limit import IntervalLimiter
from meshnode.mesh.session import SessionCounters

from .events import (
    DialFailure,
    EventHub,
    KeysRenewed,
    LimitReached,
    NameResolved,
    ParentSwitched,
    PathBroken,
    PathMtuFound,
    PeerConnected,
    PeerHeard,
    PeerMoved,
    PeerRemoved,
    PeerSilent,
    RelayGivenUp,
    RelayRestored,
    SessionEnded,
    SessionOpened,
    StoodStill,
)
from .names import Names
from .transports import TransportTable

_NAME_GAP = _LIMIT_GAP = 60.0
_DISMISSED = "disconnected by peer (security_violation)"
_REMEMBERED = 256
HINTS = {
    NO_ANSWER: "nobody is there, the key is another one, a firewall is in between, or this node is not welcome there"
}
_LIMITS = {
    "rate_limited": "node.rate_limit.handshake_rate",
    "no_room": "node.limits.max_peers",
    "setup_rate_limited": "node.rate_limit.session_setup_rate",
}
"""Counters of refusals, and the key that sets each limit."""


class Chronicle:
    """Publishes what happens to one node."""

    def __init__(self, events: EventHub, names: Names, transports: TransportTable) -> None:
        self._events = events
        self._name = names.display
        self._transports = transports
        self._asked: IntervalLimiter[bytes] = IntervalLimiter(_NAME_GAP, _NAME_GAP)
        self._limits: IntervalLimiter[str] = IntervalLimiter(_LIMIT_GAP, _LIMIT_GAP)
        self._counted: dict[str, int] = {}
        self._dismissals: OrderedDict[bytes, None] = OrderedDict()

    def peer_up(self, peer: PeerLink) -> None:
        self._dismissals.pop(peer.node_addr, None)
        identity, transport = peer.identity, self._transports.get(peer.path[0])
        kind = "?" if transport is None else transport.kind
        direction = "inbound" if peer.inbound else "outbound"
        self._events.publish(PeerConnected(identity.npub, self._name(peer.node_addr), kind, peer.path[1], direction))

    def peer_down(self, peer: PeerLink, reason: str) -> None:
        self._dismissals.pop(peer.node_addr, None)
        if reason == _DISMISSED:
            self._dismissals[peer.node_addr] = None
            if len(self._dismissals) > _REMEMBERED:
                self._dismissals.popitem(last=False)
        self._events.publish(PeerRemoved(peer.identity.npub, self._name(peer.node_addr), peer.path[1], reason))

    def peer_moved(self, peer: PeerLink, old: Path) -> None:
        self._events.publish(PeerMoved(peer.identity.npub, self._name(peer.node_addr), old[1], peer.path[1]))

    def peer_silent(self, peer: PeerLink) -> None:
        self._events.publish(PeerSilent(peer.identity.npub, self._name(peer.node_addr)))

    def peer_heard(self, peer: PeerLink) -> None:
        self._events.publish(PeerHeard(peer.identity.npub, self._name(peer.node_addr)))

    def dial_failed(self, remote: PeerIdentity, path: Path, reason: str) -> None:
        hint = HINTS.get(reason, "")
        if hint and remote.node_addr in self._dismissals:
            hint = "it ended the last link for reasons of security: probably its access control list denies this node"
        self._events.publish(DialFailure(remote.npub, self._name(remote.node_addr), path[1], reason, hint))

    def link_rekeyed(self, peer: PeerLink) -> None:
        self._events.publish(KeysRenewed(self._name(peer.node_addr), peer.node_addr.hex(), "link"))

    def session_rekeyed(self, remote: bytes) -> None:
        self._events.publish(KeysRenewed(self._name(remote), remote.hex(), "session"))

    def session_up(self, remote: PeerIdentity) -> None:
        self._events.publish(SessionOpened(remote.npub, self._name(remote.node_addr)))

    def session_down(self, remote: bytes, reason: str) -> None:
        self._events.publish(SessionEnded(self._name(remote), remote.hex(), reason))

    def parent_changed(self, old: bytes, new: bytes) -> None:
        self._events.publish(ParentSwitched(self._name(old), self._name(new), old.hex(), new.hex()))

    def relay_judged(self, peer: PeerIdentity, given_up: bool) -> None:
        kind = RelayGivenUp if given_up else RelayRestored
        self._events.publish(kind(peer.npub, self._name(peer.node_addr)))

    def path_broken(self, target: bytes) -> None:
        self._events.publish(PathBroken(self._name(target), target.hex()))

    def stood_still(self, seconds: float) -> None:
        self._events.publish(StoodStill(seconds))

    def path_mtu(self, peer: PeerLink, mtu: int, limited: bool) -> None:
        self._events.publish(PathMtuFound(peer.identity.npub, self._name(peer.node_addr), mtu, limited))

    def name_resolved(self, identity: PeerIdentity, now: float) -> None:
        """Tell of it, each node once a minute."""
        if self._asked.allow(identity.node_addr, now):
            self._events.publish(NameResolved(identity.npub, self._name(identity.node_addr)))

    def limits(self, link: LinkCounters, session: SessionCounters, now: float) -> None:
        """Tell of limits that refused somebody since the last time, each once a minute."""
        for counter, limit in _LIMITS.items():
            counted = getattr(session if hasattr(session, counter) else link, counter)
            refused = counted - self._counted.get(counter, 0)
            if refused and self._limits.allow(limit, now):
                self._counted[counter] = counted
                self._events.publish(LimitReached(limit, refused))
