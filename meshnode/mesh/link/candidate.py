"""Answered first messages that nobody has proved to be alive yet.

A first message carries nothing fresh from us, so whoever recorded one can replay it. We answer it, but let it change
nothing until a frame authenticates under the keys it led to (spec 01 sections 8.4 and 18.2).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from meshnode.identity import PeerIdentity

from .budget import source_of
from .epoch import LinkEpoch
from .events import Path

LIFETIME_SECS = 30.0
_PER_IDENTITY = 4
_SOURCES_AT_LEAST = 8
"""How many sources there must be before they can fill the table together."""

_REMEMBERED_EPHEMERALS = 8192


class Candidate:
    """A completed responder handshake awaiting its first authentic frame."""

    __slots__ = ("created", "ephemeral", "epoch", "identity", "link_id", "path", "remote_epoch", "reply")

    def __init__(
        self,
        identity: PeerIdentity,
        path: Path,
        epoch: LinkEpoch,
        remote_epoch: bytes,
        ephemeral: bytes,
        reply: bytes,
        link_id: int,
        now: float,
    ) -> None:
        self.identity = identity
        self.path = path
        self.epoch = epoch
        self.remote_epoch = remote_epoch
        self.ephemeral = ephemeral
        self.reply = reply
        self.link_id = link_id
        self.created = now


class Candidates:
    """All candidates of a node, bounded per identity, per source and in total; the oldest gives way."""

    def __init__(self, limit: int, forget_epoch: Callable[[LinkEpoch], None]) -> None:
        self.limit = max(limit, 1)
        self._forget_epoch = forget_epoch
        self._by_ephemeral: OrderedDict[bytes, Candidate] = OrderedDict()
        self._by_identity: dict[bytes, list[Candidate]] = {}
        self._by_source: dict[bytes, OrderedDict[bytes, Candidate]] = {}
        self._used: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_ephemeral)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(list(self._by_ephemeral.values()))

    def find(self, ephemeral: bytes) -> Candidate | None:
        """The candidate that this very first message made."""
        return self._by_ephemeral.get(ephemeral)

    def was_used(self, ephemeral: bytes) -> bool:
        """Whether a first message with this key was answered before, however that ended."""
        return ephemeral in self._used

    def newest(self, node_addr: bytes) -> Candidate | None:
        """The latest candidate of an identity."""
        mine = self._by_identity.get(node_addr)
        return mine[-1] if mine else None

    def add(self, candidate: Candidate) -> None:
        self._make_room(candidate)
        self._by_identity.setdefault(candidate.identity.node_addr, []).append(candidate)
        self._by_ephemeral[candidate.ephemeral] = candidate
        self._by_source.setdefault(source_of(candidate.path), OrderedDict())[candidate.ephemeral] = candidate
        self._used[candidate.ephemeral] = None
        if len(self._used) > _REMEMBERED_EPHEMERALS:
            self._used.popitem(last=False)

    def _make_room(self, candidate: Candidate) -> None:
        """Let an older candidate give way where there are too many: of the same identity, source, or at all."""
        mine = self._by_identity.get(candidate.identity.node_addr, [])
        alike = self._by_source.get(source_of(candidate.path), OrderedDict[bytes, Candidate]())
        if len(mine) >= _PER_IDENTITY:
            self.discard(mine[0])
        elif len(alike) >= max(self.limit // _SOURCES_AT_LEAST, 1):
            self.discard(next(iter(alike.values())))
        elif len(self._by_ephemeral) >= self.limit:
            self.discard(next(iter(self._by_ephemeral.values())))

    def take(self, candidate: Candidate) -> None:
        """Remove a candidate that is being promoted; its epoch stays in use."""
        del self._by_ephemeral[candidate.ephemeral]
        mine = self._by_identity[candidate.identity.node_addr]
        mine.remove(candidate)
        if not mine:
            del self._by_identity[candidate.identity.node_addr]
        source = source_of(candidate.path)
        del self._by_source[source][candidate.ephemeral]
        if not self._by_source[source]:
            del self._by_source[source]

    def discard(self, candidate: Candidate) -> None:
        """Forget a candidate and its keys."""
        self.take(candidate)
        self._forget_epoch(candidate.epoch)

    def expire(self, now: float) -> None:
        """Forget candidates that stayed unproven for `LIFETIME_SECS`."""
        while self._by_ephemeral:
            oldest = next(iter(self._by_ephemeral.values()))
            if now - oldest.created < LIFETIME_SECS:
                return
            self.discard(oldest)
