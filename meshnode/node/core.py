"""One node: joins links, sessions, routing, transports and the IPv6 service, and drives them in time.

Frames come in through `frames_received`, packets through the IPv6 service; at the end of each burst everything queued
is flushed. Machines never call each other: this module drains what they put out and hands it on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from zope.interface import implementer

from meshnode.identity import Identity, PeerIdentity
from meshnode.ipv6.fragment import Fragmenter
from meshnode.mesh.link import (
    LINK_DEAD,
    DialFailed,
    FirstRtt,
    FramesLost,
    LinkEvent,
    LinkLayer,
    LinkNotice,
    LinkResolved,
    MtuChanged,
    PathChanged,
    PeerDown,
    PeerLink,
    PeerUp,
    Rekeyed,
    TrustChanged,
)
from meshnode.mesh.router import (
    CoordinatesChanged,
    CoordinatesLearned,
    LookupFailed,
    ParentChanged,
    RelayJudged,
    Router,
    RouterEvent,
)
from meshnode.mesh.session import (
    CloseReason,
    Delivery,
    IdentityCache,
    LookupWanted,
    PathMtuChanged,
    PathMtuReleased,
    PendingExpired,
    PendingReady,
    Queued,
    SessionClosed,
    SessionEstablished,
    SessionEvent,
    SessionLayer,
    SessionRekeyed,
)
from meshnode.mesh.settings import MeshSettings
from meshnode.transports.interfaces import ITransport, ITransportHost
from meshnode.wire.link import SESSION_DATAGRAM

from .alarm import ASLEEP_SECS, Alarm
from .chronicle import Chronicle
from .connections import Connections
from .events import EventHub
from .forwarding import Forwarding
from .hearsay import Hearsay
from .ipv6 import SHIM_PORT, Ipv6Service
from .names import Names
from .path_choice import PathChoice
from .path_mtus import PathMtus
from .peering import PeerConfig, Peering
from .surroundings import Surroundings
from .transport_events import TransportEvents
from .transports import TransportTable

_ROUTER_TYPES = frozenset((0x10, 0x20, 0x30, 0x31))
_KEEPS_TIME = frozenset(("running", "degraded"))
_MOST_ROUNDS = 100

PortService = Callable[[bytes, Delivery], None]
"""`service(source_ipv6, delivery)` takes what arrived for one session port."""


@implementer(ITransportHost)
class Node(TransportEvents):
    """The routing core of one node (spec 01 to 03). `start` begins to dial and to keep time, `stop` says goodbye."""

    router_type: ClassVar[type[Router]] = Router

    def __init__(self, identity: Identity, settings: MeshSettings, world: Surroundings, fallback_mtu: int) -> None:
        now = world.clock.seconds()
        self.identity = identity
        self.settings = settings
        self.world = world
        self.started_at = now
        self.state = "created"
        self.degraded = False
        startup_epoch = world.entropy(8)
        self.transports = TransportTable(fallback_mtu)
        choice = PathChoice(self.transports, identity.peer)
        self.links = LinkLayer(
            identity,
            startup_epoch,
            settings,
            world.entropy,
            world.random,
            now,
            self.transports.accepts,
            world.admission.admit,
            follows=choice.follows,
            may_send=lambda remote, path, at: self.peering.may_send(remote, path, at),
        )
        self.identities = IdentityCache(settings.cache.identity_size)
        self.router = self.router_type(
            identity,
            settings,
            world.entropy,
            now,
            world.wall(),
            self.links.link_cost,
            self.identities.peek_exact,
            self.links.cost_range,
            self.links.health,
        )
        self.sessions = SessionLayer(
            identity, startup_epoch, settings, world.entropy, world.random, self.router, self.identities
        )
        self.forwarding = Forwarding(
            identity.node_addr, self.links, self.router, self.transports, settings, self._deliver
        )
        self.ipv6 = Ipv6Service(
            self.sessions,
            self.transports,
            self._originate,
            self._open_session,
            world.clock.seconds,
            Fragmenter(int.from_bytes(startup_epoch[:4], "big")),
        )
        self.ports: dict[int, PortService] = {SHIM_PORT: self.ipv6.deliver}
        self.names = Names(world.hosts, self.links, self.sessions)
        self.events = EventHub(world.wall, world.log)
        self.chronicle = Chronicle(self.events, self.names, self.transports)
        self.path_mtus = PathMtus(
            self.transports, self.links, self.router, self.sessions, self.ipv6, self.chronicle.path_mtu
        )
        self.peering = Peering(
            self.links,
            self.transports,
            settings,
            world.random,
            lambda text: world.log("warn", text),
            Hearsay(identity.secret),
        )
        self.connections = Connections(self.transports, self.links, self.peering, choice)
        self._alarm = Alarm(world.clock, self._on_alarm)
        self._more_than_data = False  # whether the present burst does more than carry datagrams
        self._next_tick = now

    # -- life

    def mended(self) -> None:
        """What was lacking at the start is there."""
        self.degraded = False
        if self.state == "degraded":
            self.state = "running"

    def start(self, peers: list[PeerConfig]) -> None:
        """Register and dial the configured peers; transports must be up."""
        now = self.world.clock.seconds()
        self.state = "degraded" if self.degraded else "running"
        self.sessions.transport_mtu = self.transports.mtu
        for peer in peers:
            self.identities.pin(peer.identity, now)
            self.register(peer.identity, peer.alias)
        self._next_tick = now + self.settings.tick_interval_secs
        self.peering.start(peers, now)
        self._settle(now)
        self.burst_ended()

    def stop(self) -> None:
        """Send Disconnect to every peer and stop keeping time."""
        self.state = "stopping"
        self.peering.stop()
        now = self.world.clock.seconds()
        self.links.shut_down(now)
        self._settle(now)
        self.burst_ended()
        self._alarm.cancel()
        self.state = "stopped"

    def register(self, identity: PeerIdentity, alias: str | None = None) -> None:
        """Make `identity` reachable by its mesh address, and nameable."""
        self.identities.insert(identity, self.world.clock.seconds())
        if alias is not None:
            self.names.aliases[identity.node_addr] = alias

    def connect(self, peer: PeerConfig) -> bool:
        """Dial `peer` once. False when it is connected or being dialled. Raises `DialError`."""
        now = self.world.clock.seconds()
        self.register(peer.identity, self.names.aliases.get(peer.identity.node_addr, peer.alias))
        try:
            return self.peering.connect(peer, now)
        finally:
            self._settle(now)
            self.burst_ended()

    def run(self, action: Callable[[float], None]) -> None:
        """Do `action(now)` to a machine from outside, and deliver what comes of it."""
        now = self.world.clock.seconds()
        action(now)
        self._settle(now)
        self.burst_ended()

    # -- frames in

    def frames_received(self, transport: ITransport, address: str, frames: list[bytes]) -> None:
        """Take `frames` that arrived from `address` (`ITransportHost`)."""
        if self.transports.tap is not None:
            self.transports.tap(False, transport, address, frames)
        now = self.world.clock.seconds()
        runs = self.links.receive(transport.transport_id, address, frames, now)
        if not self.links.stirred:
            return
        # The frame that proves a peer alive often is its announcement: the router has to know the peer by then.
        changed = self.links.has_news and self._link_events(now)
        self._more_than_data = False
        for peer, plaintexts, ce in runs:
            group: list[bytes] = []
            key = b""
            for plaintext in plaintexts:
                # Message type, datagram envelope, and the first two session bytes: phase and flags.
                plaintext_key = plaintext[4:42]
                if plaintext_key != key:
                    if group:
                        self._dispatch(peer, group, ce, now)
                    group, key = [], plaintext_key
                group.append(plaintext)
            self._dispatch(peer, group, ce, now)
        if changed or self._stirred():
            self._settle(now)

    def burst_ended(self) -> None:
        """Flush everything queued since the last burst (`ITransportHost`)."""
        if self.ipv6.adapter is not None:
            self.ipv6.adapter.flush()
        self.transports.flush()

    def packets_read(self, packets: list[bytes]) -> None:
        """Take a burst of IPv6 packets from the host."""
        if self.ipv6.adapter is not None:
            self._more_than_data = False
            self.ipv6.adapter.packets_read(packets)
            if self._stirred():
                self._settle(self.world.clock.seconds())

    def _stirred(self) -> bool:
        """Whether a machine may have put something out, or want to be called before the alarm goes off.

        Carrying data does neither, as a rule, and to settle would be a sixth of what a lone packet costs.
        """
        router = self.router
        if self._more_than_data or router.outbound or router.events:
            return True
        return self.links.has_news or self.sessions.stirred(self._alarm.at)

    def _dispatch(self, peer: PeerLink, plaintexts: list[bytes], ce: bool, now: float) -> None:
        message_type = plaintexts[0][4]
        if message_type == SESSION_DATAGRAM:
            self.forwarding.receive(peer, plaintexts, ce, now)
            return
        if message_type in _ROUTER_TYPES:
            self._more_than_data = True
            for plaintext in plaintexts:
                self.router.message(peer.node_addr, message_type, plaintext[5:], now, self.world.wall())
            return
        for plaintext in plaintexts:  # as a rule reports: what came of them is the link layer's news
            self.links.message(peer, message_type, plaintext[5:], now)

    def _deliver(
        self, source: bytes, peer: PeerLink, plaintexts: list[bytes], offset: int, path_mtu: int, ce: bool, now: float
    ) -> None:
        for delivery in self.sessions.receive(source, peer.node_addr, plaintexts, offset, path_mtu, ce, now):
            port = delivery.destination_port
            service = self.ports.get(port)
            if service is not None:
                self._more_than_data |= port != SHIM_PORT  # who knows what others do to the machines
                service(b"\xfd" + source[:15], delivery)

    # -- datagrams out

    def _originate(self, destination: bytes, messages: list[bytes], now: float) -> bool:
        mtu = self.forwarding.originate(destination, messages, now)
        if mtu is None:
            return False
        self.sessions.first_hop_mtu(destination, mtu)
        return True

    def _open_session(self, destination: bytes, now: float) -> None:
        """Start a session with a node whose key is known, or the lookup that has to come first.

        A lookup that cannot start yet (no peer, no filter with the target) leaves what is queued to wait its time.
        """
        self._more_than_data = True
        identity = self.identities.peek_exact(destination)
        if identity is None:
            return
        if self.router.next_hop(destination, now) is not None:
            self.sessions.open(identity, now)
        else:
            self.router.lookup(destination, now)

    def _resume(self, remote: bytes, queued: list[Queued], now: float) -> None:
        """Send what waited for a session; what finds no route waits on."""
        for index, item in enumerate(queued):
            messages = self.sessions.seal(remote, item.source_port, item.destination_port, [item.payload], now)
            if not self._originate(remote, messages, now):
                self.sessions.route_lost(remote, now)
                for left in queued[index:]:
                    self.sessions.queue(remote, left, now)
                return

    # -- what the machines put out

    def _settle(self, now: float) -> None:
        """Hand on what the machines put out until they are silent, then arm the timer."""
        for _ in range(_MOST_ROUNDS):
            if not self._settle_once(now):
                break
        self._arm(now)

    def _settle_once(self, now: float) -> bool:
        """One round. Peers and routes come first, because messages need them; session events come after messages,
        because data must not overtake the handshake that opens it.
        """
        link_events = self._link_events(now)
        if self.links.notices:
            for notice in self.links.drain_notices():
                self._link_notice(notice, now)
        router_events, self.router.events = self.router.events, []
        for router_event in router_events:
            self._router_event(router_event, now)
        sent = self._send_out(now)
        session_events, self.sessions.events = self.sessions.events, []
        for session_event in session_events:
            self._session_event(session_event, now)
        return bool(link_events or router_events or sent or session_events)

    def _link_events(self, now: float) -> bool:
        """Handle what the link layer noticed; whether there was anything."""
        events = self.links.drain_events()
        for event in events:
            self._link_event(event, now)
        return bool(events)

    def _send_out(self, now: float) -> bool:
        # Link frames that wait got their counters before anything below does.
        sent = bool(self.sessions.outbound) and self._send_link_frames()
        datagrams, self.sessions.outbound = self.sessions.outbound, []
        reached: dict[bytes, bool] = {}
        for destination, payload in datagrams:
            arrived = self._originate(destination, [payload], now)
            reached[destination] = arrived or reached.get(destination, False)
        for destination, arrived in reached.items():
            self.sessions.pace_reports(destination, arrived)
        messages, self.router.outbound = self.router.outbound, []
        for neighbour, message in messages:
            peer = self.links.peers.get(neighbour)
            if peer is not None:
                self.links.send(peer, message, now)
        return self._send_link_frames() or sent or bool(datagrams or messages)

    def _send_link_frames(self) -> bool:
        frames = self.links.drain_outbound()
        self.transports.send_each(frames)
        return bool(frames)

    def _link_event(self, event: LinkEvent, now: float) -> None:
        wall = self.world.wall()
        match event:
            case PeerUp(peer):
                self._peer_up(peer, now)
            case PeerDown(peer, reason, redial):
                self._peer_down(peer, reason, redial, now)
            case LinkResolved(peer):
                self.router.peer_up(peer.identity, self.path_mtus.of(peer), now, wall)
            case PathChanged(peer, old):
                self.path_mtus.peer_moved(peer, old, now)
                self.chronicle.peer_moved(peer, old)
            case FirstRtt(peer):
                self.router.first_rtt(peer.node_addr, now, wall)
            case DialFailed(remote, path, reason):
                self.chronicle.dial_failed(remote, path, reason)
                self.peering.dial_failed(remote, now)

    def _peer_up(self, peer: PeerLink, now: float) -> None:
        self.peering.peer_up(peer.identity, now, peer.path)
        self.identities.insert(peer.identity, now)
        self.path_mtus.peer_up(peer, now)
        self.router.peer_up(peer.identity, self.path_mtus.of(peer), now, self.world.wall())
        self.chronicle.peer_up(peer)
        self.sessions.lookup_succeeded(peer.node_addr, now)

    def _peer_down(self, peer: PeerLink, reason: str, redial: bool, now: float) -> None:
        restarted = reason == "restarted"
        self.path_mtus.peer_down(peer)
        self.connections.link_ended(peer.path)
        self.router.peer_down(peer.node_addr, now, self.world.wall())
        if reason != LINK_DEAD or self.router.next_hop(peer.node_addr, now) is None:
            closing = CloseReason.PEER_RESTARTED if restarted else CloseReason.PEER_REMOVED
            self.sessions.remove(peer.node_addr, closing)
        self.path_mtus.clamp(peer.node_addr, None)
        self.chronicle.peer_down(peer, reason)
        self.peering.peer_down(peer.identity, now, redial, peer.path, spoke=peer.packets_recv > 0)

    def _link_notice(self, notice: LinkNotice, now: float) -> None:
        match notice:
            case TrustChanged(peer, regained):
                self._trust_changed(peer, now)
                if regained:
                    self.chronicle.peer_heard(peer)
            case FramesLost(peer, since):
                self.router.frames_lost(peer.node_addr, since)
            case MtuChanged(peer):
                self.path_mtus.found(peer, now)
            case Rekeyed(peer):
                self.chronicle.link_rekeyed(peer)

    def _trust_changed(self, peer: PeerLink, now: float) -> None:
        """A peer fell silent or speaks again: route by that, and look for a way around a direct peer."""
        if peer.doubtful:
            self.connections.probe_elsewhere(peer, now)
        if peer.distrusted:
            self.chronicle.peer_silent(peer)
        self.router.set_trust(peer.node_addr, peer.doubtful, not peer.distrusted, now, self.world.wall())
        if peer.distrusted:
            self.sessions.route_lost(peer.node_addr, now)

    def _router_event(self, event: RouterEvent, now: float) -> None:
        match event:
            case CoordinatesLearned(target, path_mtu):
                if path_mtu is not None:
                    self.path_mtus.clamp(target, path_mtu)
                self.sessions.lookup_succeeded(target, now)
            case LookupFailed(target):
                self.chronicle.path_broken(target)
                self.ipv6.refuse(self.sessions.take(target))
            case CoordinatesChanged():
                self.sessions.coordinates_changed(now)
            case ParentChanged(old, new):
                self.chronicle.parent_changed(old, new)
            case RelayJudged(peer, given_up):
                self.chronicle.relay_judged(peer, given_up)

    def _session_event(self, event: SessionEvent, now: float) -> None:
        match event:
            case SessionEstablished(remote, _, queued):
                self.chronicle.session_up(remote)
                self._resume(remote.node_addr, queued, now)
            case PendingReady(remote, queued):
                self._resume(remote, queued, now)
            case PendingExpired(_, queued):
                self.ipv6.refuse(queued)
            case SessionClosed(remote, reason):
                self.chronicle.session_down(remote, reason.value)
                self.path_mtus.release(remote)
            case SessionRekeyed(remote):
                self.chronicle.session_rekeyed(remote)
            case LookupWanted(remote):
                self.router.lookup(remote, now)
            case PathMtuChanged(remote, mtu):
                self.path_mtus.clamp(remote, mtu)
            case PathMtuReleased(remote):
                self.path_mtus.release(remote)

    # -- time

    def _arm(self, now: float) -> None:
        """Set the one timer of this node to the earliest deadline of any machine."""
        if self.state not in _KEEPS_TIME:
            return
        machines = (self.links, self.router, self.sessions, self.peering)
        deadlines = [deadline for machine in machines if (deadline := machine.next_deadline()) is not None]
        self._alarm.set(min([self._next_tick, *deadlines]), now)

    def _on_alarm(self, now: float, late: float) -> None:
        try:
            if late >= ASLEEP_SECS:
                self._woke(late, now)
            self._serve(now)
        finally:
            self._arm(now)

    def _woke(self, slept: float, now: float) -> None:
        """The machine was suspended, or this process stopped: nobody's silence meanwhile means anything."""
        self.chronicle.stood_still(slept)
        self.links.woke(slept, now)
        self.router.black_holes.woke()
        self.peering.surroundings_changed(now)

    def _serve(self, now: float) -> None:
        """Let every machine do what its time has come for."""
        self.links.handle_timeout(now)
        self.router.handle_timeout(now, self.world.wall())
        self.sessions.handle_timeout(now)
        self.peering.handle_timeout(now)
        if now >= self._next_tick:
            self._next_tick = now + self.settings.tick_interval_secs
            self._tick(now)
        self._settle(now)
        self.burst_ended()

    def _tick(self, now: float) -> None:
        self.world.hosts.refresh()
        if self.world.admission.refresh():
            self.links.review_admissions(now)
            self.peering.surroundings_changed(now)
        self.sessions.transport_mtu = self.transports.mtu
        self.connections.tick(now)
        self.router.black_holes.testify(self.sessions.evidence(now), now)
        self.router.tick(now, self.world.wall())
        self.links.tick(now)
        self.sessions.tick(now)
        self.forwarding.tick()
        self.chronicle.limits(self.links.counters, self.sessions.counters, now)
