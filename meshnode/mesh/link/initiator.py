"""The initiator's side of link handshakes: dials, rekeys, probes of silent peers, and their answers."""

from __future__ import annotations

from collections.abc import Callable

from meshnode.identity import PeerIdentity
from meshnode.noise import IkInitiator, NoiseError, TransportKeys
from meshnode.wire import WireError
from meshnode.wire.link import Disconnect, DisconnectReason, Msg1, Msg2

from .admission import DENIED, OUTBOUND_CONNECT, OUTBOUND_HANDSHAKE, Admit
from .epoch import LinkEpoch
from .events import NO_ANSWER, DialFailed, Path
from .handshake import Handshake
from .peer import PeerLink
from .responder import MIN_REKEY_AGE
from .table import LinkTable

_REKEY_DAMPENING = 30.0
_PRECEDENCE_SECS = 45.0
"""How much longer we use a key than we might, for the peer to renew it first."""

_USUAL_AFTER_SECS = 120
_LATER_PROBE_GAP = 1.0
_LOST_ANSWER_SECS, _LOST_ANSWER_IDLE_SECS = 0.2, 1.0
_GOODBYES = 3
_CURE_GAP = 60.0


MaySend = Callable[[PeerIdentity, Path, float], bool]
"""`may_send(remote, path, now)`: whether one more frame for `remote` may go to where it has not answered so far."""


class DialRefused(Exception):
    """A dial was not started; the text says why."""


class DialDenied(DialRefused):
    """The access control list denies the peer: no other address of it will do either."""


class Initiator:
    """Starts handshakes and finishes them (spec 01 sections 7.2, 7.3, 8.1 and 8.3)."""

    def __init__(self, table: LinkTable, admit: Admit, may_send: MaySend) -> None:
        self._table = table
        self._admit = admit
        self._may_send = may_send
        self._cures: dict[bytes, float] = {}

    # -- starting

    def dial(
        self, remote: PeerIdentity, path: Path, now: float, waiting: bool = False, unproved: bool = False
    ) -> Handshake:
        """Send a first message to `remote` at `path`, `waiting` for `path_opened` if need be. Raises `DialRefused`.

        Where the path is `unproved`, each copy is asked for with `may_send`, and half of the room is left to others.
        """
        table = self._table
        if remote == table.identity.peer:
            raise DialRefused("that is our own identity")
        if not self._admit(remote, OUTBOUND_CONNECT, path):
            table.counters.acl_denied += 1
            raise DialDenied(DENIED)
        limits = table.settings.limits
        dials = sum(1 for handshake in table.handshakes.values() if handshake.peer is None)
        most = max(limits.max_connections // 2, 1) if unproved else limits.max_connections
        if limits.max_connections and dials >= most:
            raise DialRefused("node.limits.max_connections handshakes are in progress")
        if limits.max_links and dials + len(table.peers) >= limits.max_links:
            raise DialRefused("node.limits.max_links links exist")
        if limits.max_peers and len(table.peers) >= limits.max_peers and remote.node_addr not in table.peers:
            raise DialRefused("node.limits.max_peers peers are connected")
        handshake = self._prepare(remote, path, None, now)
        if handshake is None:
            raise DialRefused("no free session index")
        handshake.waiting = handshake.reliable = waiting
        handshake.unproved = unproved
        if not waiting:
            self._send_first(handshake, now)
        return handshake

    def rekey(self, peer: PeerLink, now: float) -> None:
        """Start a rekey of `peer`, unless one is in flight."""
        if peer.rekey is None:
            peer.rekey = self._begin(peer.identity, peer.path, peer, now)

    def probe(self, peer: PeerLink, now: float) -> None:
        """Ask a silent peer for a sign of life, at short intervals: with a rekey, that in flight if there is one."""
        self.rekey(peer, now)
        if peer.rekey is not None:
            peer.rekey.next_resend = min(peer.rekey.next_resend, now + self._probe_gap(peer))

    @staticmethod
    def _probe_gap(peer: PeerLink) -> float:
        """Seconds until a silent peer is asked again; one that answered nothing so far need not be hurried."""
        return _LATER_PROBE_GAP if peer.distrusted else peer.trust.probe_gap(peer.measurement.srtt_ms)

    def path_opened(self, path: Path, now: float) -> None:
        """The connection `path` stands for is open: send what waited for it, and again what was sent into the void."""
        for handshake in self._table.handshakes.values():
            if handshake.waiting and handshake.path == path:
                handshake.waiting = False
                handshake.started = now
                self._send_first(handshake, now)
        for peer in self._table.peers.values():
            if peer.doubtful and path in (peer.path, *peer.alternatives):
                self._seek(peer, [path], now)

    def path_closed(self, path: Path, reason: str) -> None:
        """Nothing can come back along `path` any more: its dials have failed."""
        for handshake in list(self._table.handshakes.values()):
            if handshake.peer is None and handshake.path == path:
                self.forget(handshake)
                self._table.events.append(DialFailed(handshake.remote, path, reason))

    def probe_elsewhere(self, peer: PeerLink, paths: list[Path], now: float) -> None:
        """Ask for a silent peer at other addresses, too, with the handshake that probes it where it was."""
        peer.alternatives = paths
        self._seek(peer, paths, now)

    def _seek(self, peer: PeerLink, paths: list[Path], now: float) -> None:
        """Ask for `peer` along `paths`: with a handshake, lest it was restarted, and with the keys it had.

        Either may be refused: the handshake by a peer that tries the same, the Heartbeat by one that has new keys.
        """
        for path in paths:
            if peer.rekey is not None and self._may_send(peer.identity, path, now):
                self._table.outbound.append((path, peer.rekey.frame))
            if self._may_send(peer.identity, path, now):
                self._table.greet(peer, path, now)

    def renew(self, peer: PeerLink, now: float) -> None:
        """Rekey `peer` if its keys are used up; from then on renewals are ours to start, until it starts one."""
        if self._renewal_due(peer, now):
            peer.leads_renewals = True
            self.rekey(peer, now)

    def _renewal_due(self, peer: PeerLink, now: float) -> bool:
        """Whether the keys of `peer` are used up (spec 01 section 8.1).

        A reference peer that answers a rekey is lost with its answer (section 18.1); one that asks loses nothing, since
        we repeat ours. So whoever renews by itself goes first: the usual time for that passes before we ask.
        """
        settings = self._table.settings.rekey
        if not settings.enabled or peer.rekey is not None:
            return False
        if peer.answered_rekey_at is not None and now - peer.answered_rekey_at < _REKEY_DAMPENING:
            return False
        age = now - peer.established_at
        if age < MIN_REKEY_AGE:
            return False
        precedence = 0.0 if peer.leads_renewals else _PRECEDENCE_SECS
        if age >= settings.after_secs + peer.jitter + precedence:
            return True
        if peer.current.send_counter < settings.after_messages:
            return False
        return peer.leads_renewals or age >= _USUAL_AFTER_SECS + peer.jitter + precedence

    def _begin(self, remote: PeerIdentity, path: Path, peer: PeerLink | None, now: float) -> Handshake | None:
        handshake = self._prepare(remote, path, peer, now)
        if handshake is not None:
            self._send_first(handshake, now)
        return handshake

    def _prepare(self, remote: PeerIdentity, path: Path, peer: PeerLink | None, now: float) -> Handshake | None:
        table = self._table
        index = table.new_index()
        if index is None:
            return None
        noise = IkInitiator(table.identity, remote, table.startup_epoch, table.entropy(32))
        frame = Msg1(int.from_bytes(index, "little"), noise.message1()).encode()
        link_id = table.new_link_id() if peer is None else peer.link_id
        handshake = Handshake(remote, path, index, noise, frame, peer, link_id, now)
        table.handshakes[index] = handshake
        return handshake

    def _send_first(self, handshake: Handshake, now: float) -> None:
        handshake.schedule(self._table.settings.rate_limit, now)
        if not self._is_withheld(handshake, now):
            self._table.outbound.append((handshake.path, handshake.frame))

    def _is_withheld(self, handshake: Handshake, now: float) -> bool:
        return handshake.unproved and not self._may_send(handshake.remote, handshake.path, now)

    # -- finishing

    def message2(self, path: Path, frame: bytes, now: float) -> None:
        """Take one second message from the network; a forged one leaves the handshake waiting."""
        table = self._table
        try:
            message = Msg2.parse(frame)
        except WireError:
            table.counters.bad_state += 1
            return
        index = message.receiver_index.to_bytes(4, "little")
        handshake = table.handshakes.get(index)
        if handshake is None:
            table.counters.unknown_connection += 1
            return
        try:
            keys = handshake.noise.read_message2(message.noise)
        except NoiseError:
            table.counters.bad_state += 1
            return
        self._complete(handshake, path, keys, message.sender_index, now)

    def _complete(self, handshake: Handshake, path: Path, keys: TransportKeys, their_index: int, now: float) -> None:
        table = self._table
        self.forget(handshake)
        if handshake.peer is None and not self._admit(handshake.remote, OUTBOUND_HANDSHAKE, path):
            table.counters.bad_state += 1
            table.counters.acl_denied += 1
            table.events.append(DialFailed(handshake.remote, path, DENIED))
            return
        epoch = LinkEpoch(keys, handshake.index, their_index, True, now)
        remote_epoch = handshake.noise.remote_epoch
        peer = table.peers.get(handshake.remote.node_addr)
        if peer is not None and peer.remote_epoch != remote_epoch:
            table.remove(peer, "restarted", redial=False)
            peer = None
        if peer is None:
            peer = table.install(handshake.remote, path, epoch, remote_epoch, handshake.link_id, now)
            self._resolve_crossing(peer, now)
            # The other side waits for a first frame before it takes us for alive.
            table.heartbeat(peer, now)
        elif handshake.peer is peer:
            if peer.doubtful and path != peer.path:
                # Only the peer can have answered, just now, and nothing else reaches it: it is there.
                table.move(peer, path)
            if peer.speaks(now):
                # An answer is a sign of life; nothing but answers comes of somebody who forgets us with each of them.
                if peer.doubtful:
                    table.spoke(peer, now)
                peer.last_heard = now
            table.cut_over(peer, epoch, now)
            table.heartbeat(peer, now)
        elif self._dials_cross(peer) and table.identity.node_addr < peer.node_addr:
            table.swap(peer, epoch, now)
            table.remember_reply(peer, None)
        else:
            table.keep(peer, epoch, now)

    @staticmethod
    def _dials_cross(peer: PeerLink) -> bool:
        """Whether a dial of ours that completes now crossed that of `peer`, which did not renew the keys since."""
        return not (peer.current.initiator or peer.rekeys or peer.k_bit)

    def _resolve_crossing(self, peer: PeerLink, now: float) -> None:
        """Our dial completed while a first message of the peer is answered: the smaller address's handshake survives.

        The smaller one moves to it when our answer arrives, so the larger one has to be there first (spec 01 section
        7.5). That the dial shows the same startup epoch is taken for proof that the first message was no old one; if
        it was, `PeerLink.stays_with` finds out.
        """
        table = self._table
        answered = table.candidates.newest(peer.node_addr)
        if answered is None or answered.remote_epoch != peer.remote_epoch:
            return
        if table.identity.node_addr > peer.node_addr:
            table.candidates.take(answered)
            table.swap(peer, answered.epoch, now)
            table.remember_reply(peer, answered)

    def forget(self, handshake: Handshake) -> None:
        """Stop waiting for the answer to `handshake`."""
        self._table.handshakes.pop(handshake.index, None)
        if handshake.peer is not None and handshake.peer.rekey is handshake:
            handshake.peer.rekey = None

    # -- waiting

    def next_deadline(self) -> float | None:
        """When the earliest handshake wants attention."""
        handshakes = self._table.handshakes
        return min(map(self._deadline, handshakes.values())) if handshakes else None

    def handle_timeout(self, now: float) -> None:
        """Resend, abandon or cure every handshake whose time has come."""
        for handshake in list(self._table.handshakes.values()):
            if now >= self._answer_lost_at(handshake):
                self._cure_lost_answer(handshake, now)
            elif now >= self._expiry(handshake):
                self._give_up(handshake)
            elif now >= handshake.next_resend:
                self._resend(handshake, now)

    def _expiry(self, handshake: Handshake) -> float:
        if handshake.waiting:
            return float("inf")  # the transport bounds the time a connection takes to open
        return handshake.started + self._table.settings.rate_limit.handshake_timeout_secs

    def _deadline(self, handshake: Handshake) -> float:
        return min(handshake.next_resend, self._expiry(handshake), self._answer_lost_at(handshake))

    @staticmethod
    def _answer_lost_at(handshake: Handshake) -> float:
        """When the answer must be lost because the peer uses its keys, and those before them no more.

        It can hardly be that far behind. Anybody may send such a frame; if the peer is heard, it meant nothing.
        """
        early, peer = handshake.early_frame_at, handshake.peer
        if early is None or peer is None or peer.last_heard > early:
            return float("inf")
        shortest = _LOST_ANSWER_SECS if peer.busy else _LOST_ANSWER_IDLE_SECS
        return early + max(shortest, 2 * (peer.measurement.srtt_ms or 0.0) / 1000)

    def _resend(self, handshake: Handshake, now: float) -> None:
        peer = handshake.peer
        if peer is not None:
            handshake.path = peer.path
        elif self._is_withheld(handshake, now):
            handshake.withheld(now)
            return
        self._table.outbound.append((handshake.path, handshake.frame))
        handshake.resent(self._table.settings.rate_limit, now)
        if peer is not None and peer.doubtful:
            self._seek(peer, peer.alternatives, now)
            handshake.next_resend = min(handshake.next_resend, now + self._probe_gap(peer))

    def _give_up(self, handshake: Handshake) -> None:
        self.forget(handshake)
        if handshake.peer is None:
            self._table.events.append(DialFailed(handshake.remote, handshake.path, NO_ANSWER))

    def _cure_lost_answer(self, handshake: Handshake, now: float) -> None:
        """The peer already uses keys whose handshake answer got lost: start over while it still hears us.

        It would otherwise stay deaf until one side declares the link dead (spec 01 section 18.1).
        """
        table, peer = self._table, handshake.peer
        self.forget(handshake)
        if peer is not None and table.peers.get(peer.node_addr) is peer:
            self._begin_anew(peer, "lost rekey answer", now)

    def cure(self, peer: PeerLink, now: float) -> bool:
        """Start over with a peer that uses keys nobody has, while it still opens the old ones (spec 01 section 18.2).

        False when that was done less than a minute ago: whoever provokes it must not keep a link from working.
        """
        cures = self._cures
        last = cures.get(peer.node_addr)
        if last is not None and now - last < _CURE_GAP:
            return False
        for node_addr in [node_addr for node_addr, at in cures.items() if now - at >= _CURE_GAP]:
            del cures[node_addr]
        cures[peer.node_addr] = now
        self._begin_anew(peer, "it uses keys of an old handshake", now)
        return True

    def _begin_anew(self, peer: PeerLink, reason: str, now: float) -> None:
        """Say goodbye, more than once since a peer that misses it answers no dial, and dial."""
        for _ in range(_GOODBYES):
            self._table.send(peer, Disconnect(DisconnectReason.RESTART).encode(), now)
        self._table.remove(peer, reason, redial=False)
        self.start_over(peer, now)

    def start_over(self, peer: PeerLink, now: float) -> None:
        """Dial a peer that was just removed where it was."""
        self._begin(peer.identity, peer.path, None, now)
