"""The responder's side of link handshakes: first messages in, second messages out, and the proof that makes a peer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from meshnode.identity import PeerIdentity
from meshnode.noise import IkResponder, NoiseError
from meshnode.wire import WireError
from meshnode.wire.link import FLAG_K, MSG1_SIZE, Msg1, Msg2

from .admission import INBOUND_HANDSHAKE, Admit
from .budget import HandshakeBudget
from .candidate import Candidate
from .epoch import LinkEpoch
from .events import Path
from .peer import PeerLink
from .table import LinkTable

MIN_REKEY_AGE = 30.0
"""A session younger than this is not rekeyed: what looks like it is a crossing dial (spec 01 section 7.4 row D)."""

_POINT_AT, _POINT_SIZE = 8, 33
_POINT_PREFIXES = (2, 3)
_REMEMBERED_DENIALS = 1024


class Responder:
    """Answers first messages and promotes whoever proves alive (spec 01 sections 7.4, 7.5, 8.2 and 10)."""

    def __init__(
        self,
        table: LinkTable,
        accepts: Callable[[int], bool],
        admit: Admit,
        now: float,
    ) -> None:
        self._table = table
        self._accepts = accepts
        self._admit = admit
        self._denied: OrderedDict[bytes, None] = OrderedDict()
        self._budget = HandshakeBudget(table.settings, table.identity.secret, now)

    def message1(self, path: Path, frame: bytes, now: float) -> None:
        """Take one first message from the network; anything wrong with it is counted and ignored."""
        table = self._table
        owner = table.by_path.get(path)
        shapeless = len(frame) != MSG1_SIZE or frame[_POINT_AT] not in _POINT_PREFIXES
        if shapeless or (owner is None and not self._accepts(path[0])):
            table.counters.bad_state += 1
        elif not (self._budget.stranger(path, now) if owner is None else self._budget.peer(path, now)):
            table.counters.rate_limited += 1
        elif not self._repeated(path, frame[_POINT_AT : _POINT_AT + _POINT_SIZE]):
            self._read(path, frame, owner, now)

    def _read(self, path: Path, frame: bytes, owner: PeerLink | None, now: float) -> None:
        """Decrypt a first message that was admitted, and answer it if it is genuine and welcome."""
        noise = IkResponder(self._table.identity, self._table.startup_epoch)
        try:
            message = Msg1.parse(frame)
            noise.read_message1(message.noise)
        except NoiseError:
            self._table.counters.wrong_key += 1
            self._table.counters.bad_state += 1
            return
        except WireError:
            self._table.counters.bad_state += 1
            return
        if self._admissible(noise, owner, path, now):
            self._budget.answered()
            self._answer(path, message.sender_index, noise, now)

    def _repeated(self, path: Path, ephemeral: bytes) -> bool:
        """Deal with a first message seen before, without any public-key operation."""
        table = self._table
        candidate = table.candidates.find(ephemeral)
        reply = candidate.reply if candidate is not None else table.replies.get(ephemeral)
        if reply is not None:
            table.outbound.append((path, reply))
            return True
        if ephemeral in self._denied:
            table.counters.acl_denied += 1
            return True
        if table.candidates.was_used(ephemeral):
            table.counters.replayed_handshake += 1
            return True
        return False

    def _admissible(self, noise: IkResponder, owner: PeerLink | None, path: Path, now: float) -> bool:
        """Classify a decrypted first message by identity (spec 01 section 7.4 step 7)."""
        table, remote = self._table, noise.remote
        if remote.node_addr == table.identity.node_addr:
            table.counters.own_identity += 1
            return False
        if owner is not None and owner.identity != remote and not self._accepts(path[0]):
            table.counters.bad_state += 1
            return False
        peer = table.peers.get(remote.node_addr)
        if peer is None or peer.remote_epoch != noise.remote_epoch:
            allowed = (peer is not None or self._has_room(remote)) and self._is_welcome(noise, path)
        elif self._crosses(peer, now) and not peer.is_silent(now):
            return False
        else:
            allowed = self._yield_rekey(peer)
        if not allowed:
            table.counters.bad_state += 1
        return allowed

    def _is_welcome(self, noise: IkResponder, path: Path) -> bool:
        """Ask the access control list; copies of a first message it denied cost nothing from then on."""
        if self._admit(noise.remote, INBOUND_HANDSHAKE, path):
            return True
        self._table.counters.acl_denied += 1
        self._denied[noise.remote_ephemeral] = None
        if len(self._denied) > _REMEMBERED_DENIALS:
            self._denied.popitem(last=False)
        return False

    def forget_denied(self) -> None:
        """The access control list changed: whoever was denied may ask again with the same message."""
        self._denied.clear()

    def limits_changed(self, now: float) -> None:
        """Other limits hold from now on; everybody starts with a full budget."""
        self._budget = HandshakeBudget(self._table.settings, self._table.identity.secret, now)
        self._table.candidates.limit = max(self._table.settings.limits.max_pending_inbound, 1)

    def _crosses(self, peer: PeerLink, now: float) -> bool:
        """Whether a first message of `peer` is its own dial, overtaken by ours, that it would prefer if we answered.

        The smaller address moves to its own handshake as soon as it is answered and says nothing about it; what we
        send meanwhile would be lost.
        """
        young = now - peer.established_at < MIN_REKEY_AGE
        return young and not peer.rekeys and peer.current.initiator and self._table.identity.node_addr > peer.node_addr

    def _has_room(self, remote: PeerIdentity) -> bool:
        table = self._table
        limit = table.settings.limits.max_peers
        if not limit or len(table.peers) < limit:
            return True
        if any(handshake.remote == remote for handshake in table.handshakes.values()):
            return True
        table.counters.no_room += 1
        return False

    def _yield_rekey(self, peer: PeerLink) -> bool:
        """Break a tie of two rekeys: the smaller address stays initiator (spec 01 section 8.5)."""
        if peer.rekey is None:
            return True
        if self._table.identity.node_addr < peer.node_addr:
            return False
        self._table.abandon_rekey(peer)
        return True

    def _answer(self, path: Path, their_index: int, noise: IkResponder, now: float) -> None:
        table = self._table
        index = table.new_index()
        if index is None:
            table.counters.bad_state += 1
            return
        message2 = noise.write_message2(table.entropy(32))
        reply = Msg2(int.from_bytes(index, "little"), their_index, message2).encode()
        epoch = LinkEpoch(noise.keys, index, their_index, False, now)
        candidate = Candidate(
            noise.remote, path, epoch, noise.remote_epoch, noise.remote_ephemeral, reply, table.new_link_id(), now
        )
        table.candidates.add(candidate)
        table.epochs[index] = (epoch, candidate)
        table.outbound.append((path, reply))

    def prove(self, candidate: Candidate, path: Path, flags: int, now: float) -> PeerLink | None:
        """A frame with `flags` authenticated under `candidate`: it is alive, so act on its handshake.

        Returns the peer the frame belongs to, or None when there is no room for another one.
        """
        table = self._table
        peer = table.peers.get(candidate.identity.node_addr)
        if peer is None and not self._has_room(candidate.identity):
            table.counters.bad_state += 1
            table.candidates.discard(candidate)
            return None
        table.candidates.take(candidate)
        if peer is not None and peer.remote_epoch == candidate.remote_epoch:
            self._join(peer, candidate, flags, now)
        else:
            if peer is not None:
                table.remove(peer, "restarted", redial=False)
            peer = table.install(
                candidate.identity, path, candidate.epoch, candidate.remote_epoch, candidate.link_id, now
            )
        if peer.current is candidate.epoch:
            table.remember_reply(peer, candidate)
        return peer

    def _join(self, peer: PeerLink, candidate: Candidate, flags: int, now: float) -> None:
        """The proved handshake is of a live peer: a crossing dial or a rekey.

        Our clock cannot tell these apart: the peer may have begun to count, or asked, seconds earlier. Its K bit can,
        which toggles with a rekey only.
        """
        table = self._table
        young = candidate.created - peer.established_at < MIN_REKEY_AGE
        crossing = young and peer.current.initiator and not peer.rekeys and flags & FLAG_K == peer.k_bit
        if not crossing:
            peer.answered_rekey_at = now
            peer.leads_renewals = False
            table.abandon_rekey(peer)
            table.cut_over(peer, candidate.epoch, now)
        elif table.identity.node_addr < peer.node_addr:
            table.keep(peer, candidate.epoch, now)
        else:
            table.swap(peer, candidate.epoch, now)
