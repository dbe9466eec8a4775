"""The link layer of one node (FMP): frames and time in; messages, frames, events and one deadline out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from meshnode.identity import Identity, PeerIdentity
from meshnode.mesh.mmp import CostRange, Health
from meshnode.mesh.settings import MeshSettings
from meshnode.wire import WireError
from meshnode.wire.link import (
    DISCONNECT,
    FLAG_CE,
    FLAG_K,
    FLAG_SP,
    RECEIVER_REPORT,
    SENDER_REPORT,
    Disconnect,
    DisconnectReason,
    payload_length_agrees,
)
from meshnode.wire.reports import ReceiverReport, SenderReport

from .admission import DENIED, ESTABLISHED, INBOUND_HANDSHAKE, OUTBOUND_CONNECT, Admit
from .candidate import Candidate
from .epoch import LinkEpoch, Opened, open_run
from .events import DialFailed, FirstRtt, FramesLost, LinkEvent, LinkNotice, MtuChanged, Path
from .handshake import Handshake
from .initiator import Initiator, MaySend
from .mtu_probe import MtuProbe
from .peer import UNLIMITED, PeerLink
from .responder import Responder
from .table import LinkCounters, LinkTable, Random
from .watch import Watch

_MIN_FRAME = 32
_GREETINGS = 2
_PHASE_ESTABLISHED = 0
_PHASE_MESSAGE1 = 1
_PHASE_MESSAGE2 = 2


class LinkRun(NamedTuple):
    """Authentic plaintexts that arrived together from one peer: `timestamp(4) | type(1) | body` each."""

    peer: PeerLink
    plaintexts: list[bytes]
    ce: bool


class LinkLayer:
    """Every link of one node (spec 01).

    After each call the driver drains `outbound` (frames with the path they leave on) and `events`, and asks for
    `next_deadline`. `tick` wants to be called about once a second. `accepts(transport_id)` tells whether strangers may
    open links there; `admit(identity, context, path)` is the access control list; `follows(peer, path, now)` tells
    whether a peer that was heard from another path than its own is to be reached there from now on;
    `may_send(identity, path, now)` whether a frame may go to where a peer has not answered so far.
    """

    def __init__(
        self,
        identity: Identity,
        startup_epoch: bytes,
        settings: MeshSettings,
        entropy: Callable[[int], bytes],
        random: Random,
        now: float,
        accepts: Callable[[int], bool] = lambda transport_id: True,
        admit: Admit = lambda identity, context, path: True,
        follows: Callable[[PeerLink, Path, float], bool] = lambda peer, path, now: True,
        may_send: MaySend = lambda remote, path, now: True,
    ) -> None:
        self._follows = follows
        self._reports = settings.mmp.mode != "minimal"
        self.stirred = False
        """Whether the frames of the last `receive` did anything but count: if not, there is nothing to drain or arm."""

        self._table = LinkTable(identity, startup_epoch, settings, entropy, random)
        self._admit = admit
        self._responder = Responder(self._table, accepts, admit, now)
        self._initiator = Initiator(self._table, admit, may_send)
        self._watch = Watch(self._table, self._initiator)
        self.dial = self._initiator.dial
        self.probe_elsewhere = self._initiator.probe_elsewhere
        self.show_ourselves = self._watch.show_ourselves
        self.woke = self._watch.woke
        self.limits_changed = self._responder.limits_changed
        self.seal = self._table.seal
        self.send = self._table.send

    # -- what a driver reads

    @property
    def identity(self) -> PeerIdentity:
        """Who we are."""
        return self._table.identity.peer

    @property
    def peers(self) -> dict[bytes, PeerLink]:
        """Active peers by node address."""
        return self._table.peers

    def link_cost(self, node_addr: bytes) -> float | None:
        """What the link to a peer costs (spec 03 section 3.5); None while it is not measured, or there is none."""
        peer = self.peers.get(node_addr)
        return None if peer is None else peer.measurement.link_cost

    def cost_range(self, node_addr: bytes) -> CostRange | None:
        """The recent and the steady figure of the same."""
        peer = self.peers.get(node_addr)
        return None if peer is None else peer.measurement.cost_range

    def health(self, node_addr: bytes) -> Health | None:
        """Whether the link to a peer works at the moment; None without a link."""
        peer = self.peers.get(node_addr)
        if peer is None:
            return None
        quality = peer.measurement.quality
        return Health(quality.delivered(), quality.arrived_until, peer.last_heard)

    @property
    def counters(self) -> LinkCounters:
        return self._table.counters

    @property
    def epochs(self) -> list[LinkEpoch]:
        """Every epoch whose frames would be opened now."""
        return [epoch for epoch, _owner in self._table.epochs.values()]

    @property
    def handshakes(self) -> list[Handshake]:
        """First dials in progress."""
        return [handshake for handshake in self._table.handshakes.values() if handshake.peer is None]

    @property
    def candidates(self) -> list[Candidate]:
        """Answered handshakes that are not proved yet."""
        return list(self._table.candidates)

    @property
    def has_news(self) -> bool:
        """Whether there is anything to drain."""
        table = self._table
        return bool(table.outbound or table.events or table.notices)

    def drain_outbound(self) -> list[tuple[Path, bytes]]:
        table = self._table
        outbound, table.outbound = table.outbound, []
        return outbound

    def drain_events(self) -> list[LinkEvent]:
        table = self._table
        events, table.events = table.events, []
        return events

    @property
    def notices(self) -> list[LinkNotice]:
        """What happened to links that go on; as a rule empty."""
        return self._table.notices

    def drain_notices(self) -> list[LinkNotice]:
        table = self._table
        notices, table.notices = table.notices, []
        return notices

    # -- frames in

    def receive(self, transport_id: int, address: str, frames: list[bytes], now: float) -> list[LinkRun]:
        """Open the frames that arrived from `address`; handshakes are dealt with on the way.

        Returns the plaintexts in order, grouped by runs of equal epoch and flags.
        """
        path = (transport_id, address)
        runs: list[LinkRun] = []
        group: list[bytes] = []
        group_key = b""
        self.stirred = False
        for frame in frames:
            # Phase and flags, then the index: equal for all frames of a run but for the length between them.
            key = frame[:2] + frame[4:8]
            if key != group_key:
                if group:
                    self._open_group(path, group, runs, now)
                group, group_key = [], key
            group.append(frame)
        if group:
            self._open_group(path, group, runs, now)
        if runs or self.has_news:
            self.stirred = True
        return runs

    def _open_group(self, path: Path, frames: list[bytes], runs: list[LinkRun], now: float) -> None:
        first = frames[0]
        if len(first) < 4 or first[0] != _PHASE_ESTABLISHED:
            for frame in frames:
                self._handshake_frame(path, frame, now)
            return
        found = self._table.epochs.get(first[4:8])
        if found is None:
            self._unknown_index(first[4:8], len(frames), now)
            return
        if min(map(len, frames)) < _MIN_FRAME:
            self.counters.malformed += sum(1 for frame in frames if len(frame) < _MIN_FRAME)
            frames = [frame for frame in frames if len(frame) >= _MIN_FRAME]
        epoch, owner = found
        opened = open_run(epoch, frames)
        if opened.failures or opened.replays or opened.short:
            self._count_refused(owner, opened)
        if opened.plaintexts:
            self._authentic(path, epoch, owner, first[1], opened, runs, now)

    def _authentic(
        self,
        path: Path,
        epoch: LinkEpoch,
        owner: PeerLink | Candidate,
        flags: int,
        opened: Opened,
        runs: list[LinkRun],
        now: float,
    ) -> None:
        if isinstance(owner, Candidate):
            proved = self._responder.prove(owner, path, flags, now)
            if proved is None:
                return
            owner = proved
        if owner.path == path:
            owner.path_heard = now
        elif self._follows(owner, path, now):
            self._table.move(owner, path)
            owner.path_heard = now
        if owner.doubtful:
            self._table.spoke(owner, now)
        ce = bool(flags & FLAG_CE)
        owner.heard(opened, ce, now)
        if epoch is not owner.current and owner.stays_with(epoch, now):
            self._table.swap(owner, epoch, now)
        if epoch is owner.current:
            if epoch is not owner.k_from:
                owner.k_from, owner.k_bit = epoch, flags & FLAG_K
            owner.measurement.spin_received(1 if flags & FLAG_SP else 0, opened.spans[-1].last_counter, now)
        runs.append(tuple.__new__(LinkRun, (owner, opened.plaintexts, ce)))

    def _count_refused(self, owner: PeerLink | Candidate, opened: Opened) -> None:
        self.counters.decrypt_failed += opened.failures
        self.counters.replayed += opened.replays
        self.counters.malformed += opened.short
        if isinstance(owner, PeerLink):
            owner.consecutive_failures += opened.failures
            owner.replays += opened.replays
            owner.refused += opened.failures + opened.replays

    def _unknown_index(self, index: bytes, count: int, now: float) -> None:
        """Frames may overtake the answer to a rekey of ours; remember that the peer already uses the new keys."""
        handshake = self._table.handshakes.get(index)
        if handshake is None or handshake.peer is None:
            self.counters.unknown_index += count
        elif handshake.early_frame_at is None or handshake.early_frame_at < handshake.peer.last_heard:
            handshake.early_frame_at = now
            self.stirred = True

    def _handshake_frame(self, path: Path, frame: bytes, now: float) -> None:
        if len(frame) < 4:
            self.counters.malformed += 1
        elif not payload_length_agrees(frame):
            self.counters.payload_len_mismatch += 1
        elif frame[0] == _PHASE_MESSAGE1:
            self._responder.message1(path, frame, now)
        elif frame[0] == _PHASE_MESSAGE2:
            self._initiator.message2(path, frame, now)
        else:
            self.counters.malformed += 1

    # -- link messages for this layer

    def expect_mtu(self, peer: PeerLink, mtu: int, now: float, sure: bool = False) -> None:
        """Tell how long frames to `peer` may be as far as its transport knows; unless `sure`, it is then found out."""
        peer.mtu_probe = None if sure else MtuProbe(mtu, now)
        peer.mtu_limit = UNLIMITED

    def message(self, peer: PeerLink, message_type: int, body: bytes, now: float) -> None:
        """Take a link message of this layer: reports and Disconnect; a Heartbeat needs nothing more."""
        try:
            if message_type == RECEIVER_REPORT:
                self._receiver_report(peer, ReceiverReport.parse_link(body), now)
            elif message_type == SENDER_REPORT:
                peer.measurement.sender_report(SenderReport.parse_link(body))
                peer.trust.expectant = True
            elif message_type == DISCONNECT:
                reason = Disconnect.parse(body).reason
                self._table.remove(peer, f"disconnected by peer ({reason.name.lower()})", redial=True)
        except WireError:
            self.counters.malformed += 1

    def _receiver_report(self, peer: PeerLink, report: ReceiverReport, now: float) -> None:
        quality = peer.measurement.quality
        before = quality.latest
        if peer.measurement.receiver_report(report, peer.timestamp(now), now):
            self._table.events.append(FirstRtt(peer))
        if quality.lost_since is not None:
            self._table.notices.append(FramesLost(peer, quality.lost_since))
        if peer.mtu_probe is not None and before is not None and quality.latest is report:
            self._judge_mtu(peer, peer.mtu_probe, before, report, now)
        if self._reports:  # else there is little of ours to report on
            peer.trust.reported(now)

    def _judge_mtu(
        self, peer: PeerLink, probe: MtuProbe, before: ReceiverReport, report: ReceiverReport, now: float
    ) -> None:
        """Draw the report's conclusions about the size of frames."""
        limit, quality = probe.limit, peer.measurement.quality
        swallowed = probe.report(before, report, peer.current, now, peer.measurement.smoothed_loss or 0.0)
        if swallowed:
            quality.discount(swallowed)
        elif quality.lost_since is not None:
            probe.losses_seen(before, report, now)
        if probe.limit != limit:
            peer.mtu_limit = probe.limit if probe.limit < probe.configured else UNLIMITED
            self._table.notices.append(MtuChanged(peer))
        self._watch.probe_mtu(peer, now)

    # -- connections

    def peer_at(self, path: Path) -> PeerLink | None:
        """Who is reached along `path`."""
        return self._table.by_path.get(path)

    def path_opened(self, path: Path, now: float) -> None:
        """The connection that `path` stands for is open: send the dials that waited, and let a peer see us there."""
        self._initiator.path_opened(path, now)
        peer = self._table.by_path.get(path)
        if peer is not None:
            self._table.heartbeat(peer, now)

    def greet(self, peer: PeerLink, path: Path, now: float) -> None:
        """Show ourselves to `peer` along another path than its own, which it may then answer on."""
        for _ in range(_GREETINGS):
            self._table.greet(peer, path, now)

    def path_closed(self, path: Path, reason: str) -> PeerLink | None:
        """Nothing moves along `path` any more: its dials fail, whoever was reached there is doubted and returned."""
        table = self._table
        self._initiator.path_closed(path, reason)
        peer = table.by_path.get(path)
        if peer is not None:
            table.doubt(peer)
        return peer

    # -- time

    def next_deadline(self) -> float | None:
        handshakes, peers = self._initiator.next_deadline(), self._watch.next_deadline()
        if handshakes is None or peers is None:
            return peers if handshakes is None else handshakes
        return min(handshakes, peers)

    def handle_timeout(self, now: float) -> None:
        self._initiator.handle_timeout(now)
        self._watch.handle_timeout(now)

    def tick(self, now: float) -> None:
        """Once a second: reports, heartbeats, liveness and rekeys of every peer (spec 01 section 12)."""
        self._table.candidates.expire(now)
        self._watch.tick(now)

    # -- closing

    def disconnect(self, peer: PeerLink, reason: DisconnectReason, now: float) -> None:
        """Tell `peer` that the link ends, and end it; it is not redialled."""
        self._table.send(peer, Disconnect(reason).encode(), now)
        self._table.remove(peer, f"disconnected by us ({reason.name.lower()})", redial=False)

    def shut_down(self, now: float) -> None:
        """Disconnect from everybody and stop dialling."""
        for peer in list(self._table.peers.values()):
            self.disconnect(peer, DisconnectReason.SHUTDOWN, now)
        self._table.handshakes.clear()

    def leave_transport(self, transport_id: int, reason: str, now: float) -> None:
        """A transport is taken away: tell its peers, so that both sides look for each other elsewhere at once."""
        table = self._table
        for peer in [peer for peer in table.peers.values() if peer.path[0] == transport_id]:
            table.send(peer, Disconnect(DisconnectReason.CONFIGURATION_CHANGE).encode(), now)
            table.remove(peer, reason, redial=True)
        for handshake in [handshake for handshake in self.handshakes if handshake.path[0] == transport_id]:
            self._initiator.forget(handshake)
            table.events.append(DialFailed(handshake.remote, handshake.path, reason))
        for candidate in [candidate for candidate in table.candidates if candidate.path[0] == transport_id]:
            table.candidates.discard(candidate)

    def review_admissions(self, now: float) -> None:
        """The access control list changed: let go of whoever it denies now, be it a peer, a dial or a newcomer."""
        table = self._table
        self._responder.forget_denied()
        for peer in list(table.peers.values()):
            if not self._admit(peer.identity, ESTABLISHED, peer.path):
                table.counters.acl_denied += 1
                table.send(peer, Disconnect(DisconnectReason.SECURITY_VIOLATION).encode(), now)
                table.remove(peer, DENIED, redial=True)
        for handshake in self.handshakes:
            if not self._admit(handshake.remote, OUTBOUND_CONNECT, handshake.path):
                self._initiator.forget(handshake)
                table.events.append(DialFailed(handshake.remote, handshake.path, DENIED))
        for candidate in table.candidates:
            if not self._admit(candidate.identity, INBOUND_HANDSHAKE, candidate.path):
                table.counters.acl_denied += 1
                table.candidates.discard(candidate)

    def cancel_dials(self, remote: PeerIdentity) -> None:
        """Stop waiting for answers of `remote`."""
        for handshake in self.handshakes:
            if handshake.remote == remote:
                self._initiator.forget(handshake)
