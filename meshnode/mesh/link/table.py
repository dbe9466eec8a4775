"""The tables of the link layer and the transitions of a peer between epochs.

Everything that changes who is a peer, or which epoch it uses, goes through here, so that the index table, the peer
table and the events stay consistent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from meshnode.identity import Identity, PeerIdentity
from meshnode.mesh.mmp import Measurement
from meshnode.mesh.settings import MeshSettings
from meshnode.wire.link import FLAG_K, FLAG_SP, Heartbeat

from .candidate import Candidate, Candidates
from .epoch import LinkEpoch, seal_run
from .events import LinkEvent, LinkNotice, LinkResolved, Path, PathChanged, PeerDown, PeerUp, Rekeyed, TrustChanged
from .handshake import Handshake
from .peer import Draining, PeerLink

DRAIN_SECS = 10.0
REKEY_JITTER_SECS = 15
_INDEX_DRAWS = 100


class Random(Protocol):
    """The part of `random.Random` the mesh machines use."""

    def randint(self, a: int, b: int, /) -> int: ...
    def uniform(self, a: float, b: float, /) -> float: ...


@dataclass(slots=True)
class LinkCounters:
    """Frames and handshakes refused, by cause (spec 01 section 13).

    `wrong_key` are first messages made for another key than ours, or noise of their size; `bad_state` counts them, too.
    """

    bad_state: int = 0
    unknown_connection: int = 0
    rate_limited: int = 0
    payload_len_mismatch: int = 0
    malformed: int = 0
    unknown_index: int = 0
    decrypt_failed: int = 0
    replayed: int = 0
    own_identity: int = 0
    replayed_handshake: int = 0
    acl_denied: int = 0
    no_room: int = 0
    wrong_key: int = 0


class LinkTable:
    """Who is a peer, what is in flight, and which of our indices means what."""

    def __init__(
        self,
        identity: Identity,
        startup_epoch: bytes,
        settings: MeshSettings,
        entropy: Callable[[int], bytes],
        random: Random,
    ) -> None:
        self.identity = identity
        self.startup_epoch = startup_epoch
        self.settings = settings
        self.entropy = entropy
        self.random = random
        self.counters = LinkCounters()
        self.peers: dict[bytes, PeerLink] = {}
        self.epochs: dict[bytes, tuple[LinkEpoch, PeerLink | Candidate]] = {}
        self.handshakes: dict[bytes, Handshake] = {}
        self.candidates = Candidates(settings.limits.max_pending_inbound, self.forget_epoch)
        self.by_path: dict[Path, PeerLink] = {}
        self.replies: dict[bytes, bytes] = {}
        self.outbound: list[tuple[Path, bytes]] = []
        self.events: list[LinkEvent] = []
        self.notices: list[LinkNotice] = []
        self.watch_at = float("inf")
        self._link_ids = 0

    # -- indices

    def new_index(self) -> bytes | None:
        """Draw an index nobody uses, or None when the draws are exhausted (spec 01 section 4)."""
        for _ in range(_INDEX_DRAWS):
            index = self.entropy(4)
            if index not in self.epochs and index not in self.handshakes:
                return index
        return None

    def new_link_id(self) -> int:
        self._link_ids += 1
        return self._link_ids

    def forget_epoch(self, epoch: LinkEpoch) -> None:
        """Nothing can arrive under `epoch` any more."""
        self.epochs.pop(epoch.our_index, None)

    # -- peers

    def install(
        self, identity: PeerIdentity, path: Path, epoch: LinkEpoch, remote_epoch: bytes, link_id: int, now: float
    ) -> PeerLink:
        """Make `identity` an active peer (spec 01 section 7.6)."""
        measurement = Measurement("link", self.settings.mmp, epoch.initiator, now)
        peer = PeerLink(identity, path, epoch, remote_epoch, measurement, link_id, self._draw_jitter(), now)
        self.peers[identity.node_addr] = peer
        self.by_path[path] = peer
        self.epochs[epoch.our_index] = (epoch, peer)
        self.events.append(PeerUp(peer))
        self.watch_at = now
        return peer

    def remove(self, peer: PeerLink, reason: str, redial: bool) -> None:
        """Drop `peer` with every epoch and handshake of its own (spec 01 section 9.4)."""
        if self.peers.get(peer.node_addr) is not peer:
            return
        del self.peers[peer.node_addr]
        if self.by_path.get(peer.path) is peer:
            del self.by_path[peer.path]
        self.remember_reply(peer, None)
        self.abandon_rekey(peer)
        self.forget_epoch(peer.current)
        for draining in peer.draining:
            self.forget_epoch(draining.epoch)
        peer.draining.clear()
        self.events.append(PeerDown(peer, reason, redial))

    def move(self, peer: PeerLink, path: Path) -> None:
        """Follow `peer` to the source of an authentic frame (spec 01 section 9.3)."""
        old = peer.path
        if self.by_path.get(old) is peer:
            del self.by_path[old]
        peer.path = path
        self.by_path[path] = peer
        self.events.append(PathChanged(peer, old))

    def remember_reply(self, peer: PeerLink, answered: Candidate | None) -> None:
        """Keep the answer behind the current epoch for a repeat of the question (spec 01 section 7.4 row D)."""
        if peer.handshake_reply is not None:
            self.replies.pop(peer.handshake_reply, None)
        peer.handshake_reply = answered.ephemeral if answered is not None else None
        if answered is not None:
            self.replies[answered.ephemeral] = answered.reply

    def swap(self, peer: PeerLink, epoch: LinkEpoch, now: float) -> None:
        """Use another epoch of the same establishment: no new K, no new timestamps (spec 01 section 7.5)."""
        peer.draining = [draining for draining in peer.draining if draining.epoch is not epoch]
        self.drain(peer, peer.current, now)
        peer.current = epoch
        peer.swapped_at = now
        self.epochs[epoch.our_index] = (epoch, peer)
        self.events.append(LinkResolved(peer))

    def keep(self, peer: PeerLink, epoch: LinkEpoch, now: float) -> None:
        """Stay on the current epoch; what is in flight under the losing one can still be opened."""
        self.epochs[epoch.our_index] = (epoch, peer)
        self.drain(peer, epoch, now)
        self.events.append(LinkResolved(peer))

    def cut_over(self, peer: PeerLink, epoch: LinkEpoch, now: float) -> None:
        """Move to the epoch of a completed rekey (spec 01 section 8.4)."""
        self.drain(peer, peer.current, now)
        peer.current = epoch
        self.epochs[epoch.our_index] = (epoch, peer)
        peer.k_bit ^= 1
        peer.rekeys += 1
        peer.established_at = peer.session_start = now
        peer.jitter = self._draw_jitter()
        peer.measurement.rekeyed(now)
        self.notices.append(Rekeyed(peer))

    def drain(self, peer: PeerLink, epoch: LinkEpoch, now: float) -> None:
        peer.draining.append(Draining(epoch, now + DRAIN_SECS))

    def end_drains(self, peer: PeerLink, now: float) -> None:
        """Forget epochs whose drain window is over."""
        if peer.draining and peer.draining[0].until <= now:
            for draining in peer.draining:
                if draining.until <= now:
                    self.forget_epoch(draining.epoch)
            peer.draining = [draining for draining in peer.draining if draining.until > now]

    def abandon_rekey(self, peer: PeerLink) -> None:
        """Give up the rekey we started, if any."""
        if peer.rekey is not None:
            self.handshakes.pop(peer.rekey.index, None)
            peer.rekey = None

    def _draw_jitter(self) -> int:
        return self.random.randint(-REKEY_JITTER_SECS, REKEY_JITTER_SECS)

    def doubt(self, peer: PeerLink) -> None:
        """Use `peer` less until it is heard again."""
        if not peer.doubtful:
            peer.doubtful = True
            self.notices.append(TrustChanged(peer))

    def spoke(self, peer: PeerLink, now: float) -> None:
        """A doubtful peer was heard: rely on it again, unless it has disappointed too often lately."""
        silence, srtt_ms = now - peer.last_heard, peer.measurement.srtt_ms
        if not peer.distrusted or peer.trust.regains(silence, srtt_ms, now):
            regained = peer.distrusted
            peer.doubtful = peer.distrusted = False
            self.notices.append(TrustChanged(peer, regained))

    # -- sending

    def seal(
        self, peer: PeerLink, head: bytes, buffers: list[bytes], offset: int, extra_flags: int, now: float
    ) -> list[bytes]:
        """Seal `head + buffer[offset:]` for each buffer as established frames to `peer`.

        `extra_flags` is FLAG_CE or 0. The caller hands the frames to the transport of `peer.path`.
        """
        flags = extra_flags | (FLAG_K if peer.k_bit else 0) | (FLAG_SP if peer.measurement.spin_bit else 0)
        timestamp = int((now - peer.session_start) * 1000) & 0xFFFFFFFF
        frames = seal_run(peer.current, flags, timestamp, head, buffers, offset)
        peer.sent(frames, timestamp)
        return frames

    def send(self, peer: PeerLink, message: bytes, now: float) -> None:
        """Queue one link message, type byte included, to `peer`."""
        self.send_all(peer, [message], now)

    def send_all(self, peer: PeerLink, messages: list[bytes], now: float) -> None:
        """Queue link messages, type bytes included, to `peer`."""
        path = peer.path
        self.outbound += [(path, frame) for frame in self.seal(peer, b"", messages, 0, 0, now)]

    def greet(self, peer: PeerLink, path: Path, now: float) -> None:
        """Queue a Heartbeat to `peer` along another path than its own."""
        (frame,) = self.seal(peer, b"", [Heartbeat().encode()], 0, 0, now)
        self.outbound.append((path, frame))

    def heartbeat(self, peer: PeerLink, now: float) -> None:
        peer.last_heartbeat = now
        self.send(peer, Heartbeat().encode(), now)
