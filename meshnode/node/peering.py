"""Whom to dial, where, and when again (spec 01 section 11).

One policy for every source of addresses: the configuration, the control socket, neighbours heard by a transport, mDNS,
Nostr. A source tells what it knows with `candidates_found` and takes it back with `candidates_gone`, from outside the
node through `Node.run`; everything else, order, pace, retries and reconnects, is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from meshnode.identity import PeerIdentity
from meshnode.mesh.link import DialDenied, DialRefused, LinkLayer, Path
from meshnode.mesh.link.table import Random
from meshnode.mesh.rate_limit import TokenBucket
from meshnode.mesh.settings import MeshSettings
from meshnode.transports.interfaces import INameKeeper

from .candidates import ALWAYS, CandidateTable, KnownPeer, PeerAddress, PeerConfig, Wish
from .hearsay import ADVERT_COPIES, BEACON_COPIES, Hearsay
from .transports import TransportTable

__all__ = ["DialError", "PeerAddress", "PeerConfig", "Peering", "Retry", "Wish"]

PARALLEL_DIALS = 4
STAGGER_SECS = 0.3
"""How long the addresses of one priority are tried alone before those of the next join them."""

LASTING_SECS = 30.0
"""A link that lived less than this is no success: whoever accepts and hangs up is dialled ever less often."""

_ATTEMPTS_BURST, _ATTEMPTS_PER_SEC = 16, 16.0
_PROMPT_SECS = 1.0
_LEAST_SHARE = 0.75  # of a delay, chosen at random: nodes that lost the same peer do not all come back at once
_SWEEP_SECS = 1.0
_NEVER = float("inf")


@dataclass(slots=True)
class Retry:
    """A peer to be dialled at `due`, after `count` attempts in vain; `reconnect` when it will not be given up."""

    identity: PeerIdentity
    count: int
    due: float
    reconnect: bool


@dataclass(slots=True)
class _Attempt:
    """Addresses of one peer that wait for their turn, which comes at `due`; `ordered` when the operator named them."""

    identity: PeerIdentity
    queue: list[PeerAddress]
    due: float
    ordered: bool = False


class DialError(Exception):
    """No dial could be started; the text says why for each address."""


class Peering:
    """Keeps wanted peers connected and dials on request.

    `report(text)` receives one line for the operator whenever a wanted peer cannot be dialled. Call `handle_timeout` at
    `next_deadline`.
    """

    def __init__(
        self,
        links: LinkLayer,
        transports: TransportTable,
        settings: MeshSettings,
        random: Random,
        report: Callable[[str], None],
        hearsay: Hearsay,
    ) -> None:
        self._links = links
        self._transports = transports
        self._settings = settings
        self._random = random
        self._report = report
        self._hearsay = hearsay
        self.known = CandidateTable()
        self.retries: dict[bytes, Retry] = {}
        self._attempts: dict[bytes, _Attempt] = {}
        self._pace = TokenBucket(_ATTEMPTS_BURST, _ATTEMPTS_PER_SEC, 0.0)
        self._wake = _NEVER
        self._sweep_at = 0.0
        self._stopping = False

    # -- what sources tell

    def start(self, peers: list[PeerConfig], now: float) -> None:
        """Dial every configured peer that wants to be connected."""
        for config in peers:
            self.configure(config, now)
        self.handle_timeout(now)

    def configure(self, config: PeerConfig, now: float) -> None:
        """Take a peer from the operator, or what changed about one, and dial it if it is to be connected."""
        peer = self.known.configure(config)
        peer.dismissed = False
        self._want(peer, now)

    def unconfigure(self, identity: PeerIdentity) -> bool:
        """The operator does not know `identity` any more; whether there was anything to forget. A link stays."""
        self._forget_dials(identity)
        return self.known.unconfigure(identity)

    def candidates_found(
        self,
        source: str,
        identity: PeerIdentity,
        addresses: Iterable[PeerAddress],
        now: float,
        wish: Wish = Wish.KEEP,
        lifetime: float = ALWAYS,
        copies: int = ADVERT_COPIES,
    ) -> None:
        """Hear from `source` where `identity` may be reached.

        `addresses` is all that the source knows of the peer at present: it replaces what the source told before, and is
        forgotten after `lifetime` seconds unless told again. A peer that is wanted and not connected is dialled; one
        that waits for its next dial is dialled at once when an address is new. Telling the same again only renews it.

        Until the peer has answered at one of them, as many `copies` of a first message leave for them as hearing this
        was worth (`Hearsay`), 0 when nothing was heard anew. Who signed it makes no difference: the owner of a key can
        name any address.
        """
        if self._stopping or identity == self._links.identity:
            return
        peer = self.known.wanted(source, identity, wish, now + lifetime)
        if peer is not None:
            self._found(peer, peer.replace(source, addresses, now, now + lifetime), copies, now)

    def neighbour_found(
        self,
        source: str,
        identity: PeerIdentity,
        address: PeerAddress,
        now: float,
        lifetime: float,
        copies: int = BEACON_COPIES,
    ) -> None:
        """Hear from `source`, which hears neighbours one at a time, that `identity` is at `address`, too.

        Anybody can claim to be `identity`, so this does not displace what was heard before.
        """
        if self._stopping or identity == self._links.identity:
            return
        peer = self.known.wanted(source, identity, Wish.KEEP, now + lifetime)
        if peer is not None:
            self._found(peer, peer.add(source, address, now, now + lifetime), copies, now)

    def _found(self, peer: KnownPeer, is_new: bool, copies: int, now: float) -> None:
        self._hearsay.heard(peer, copies)
        link = self._links.peers.get(peer.identity.node_addr)
        if link is not None:
            self._prove(peer, link.path)
        if is_new and self._is_dialling(peer.identity):
            self._join(peer, now)
        else:
            self._want(peer, now, at_once=is_new)

    def candidates_gone(self, source: str, identity: PeerIdentity) -> None:
        """Hear that `source` takes back all it told about `identity`. An existing link stays."""
        self.known.gone(source, identity)

    def connect(self, peer: PeerConfig, now: float) -> bool:
        """Dial `peer` once. False when it is connected or being dialled already. Raises `DialError`."""
        node_addr = peer.identity.node_addr
        known = self.known.get(node_addr)
        if known is not None:
            known.dismissed = False
        if node_addr in self._links.peers or self._is_dialling(peer.identity):
            return False
        addresses = sorted(peer.addresses, key=lambda address: address.priority)
        self._dial_in_turn(_Attempt(peer.identity, addresses, now, ordered=True), now)
        return True

    def disconnect(self, identity: PeerIdentity) -> None:
        """Leave `identity` alone, whoever wants it, until it is connected again by the operator or by itself."""
        self._forget_dials(identity)
        known = self.known.get(identity.node_addr)
        if known is not None:
            known.dismissed = True

    def stop(self) -> None:
        """Dial nobody any more."""
        self._stopping = True
        self.retries.clear()
        self._attempts.clear()

    def surroundings_changed(self, now: float) -> None:
        """An interface came up, the machine woke: what failed before may work now, so nobody waits any longer."""
        for retry in self.retries.values():
            self._schedule(retry, now + self._random.uniform(0.0, _PROMPT_SECS))

    def alternatives(self, identity: PeerIdentity, current: Path) -> list[Path]:
        """Where else than at `current` a peer that has fallen silent might be, the best first, hearsay last."""
        known = self.known.get(identity.node_addr)
        found = [] if known is None else [self._path(candidate.address) for candidate in known.in_turn()]
        paths = [path for path in found if path is not None and path != current]
        return sorted(paths, key=lambda path: not self._is_vouched(known, path))[:PARALLEL_DIALS]

    def known_paths(self, identity: PeerIdentity) -> list[tuple[int, Path]]:
        """Every path on which a peer can be dialled at present, with the priority of its address."""
        known = self.known.get(identity.node_addr)
        found = []
        for candidate in () if known is None else known.in_turn():
            transport = self._transports.choose(candidate.address.transport, candidate.address.address)
            if transport is not None:
                path = (transport.transport_id, candidate.address.address)
                found.append((candidate.address.priority, path))
        return found

    # -- what nobody vouches for

    def may_send(self, identity: PeerIdentity, path: Path, now: float) -> bool:
        """Whether one more frame for `identity` may go along `path`, charged where only hearsay says that it is there.

        What needs a connection is free: nothing leaves before the other side has accepted that.
        """
        known = self.known.get(identity.node_addr)
        if self._is_vouched(known, path):
            return True
        return known is not None and self._hearsay.allow(known, path[1], now)

    def _is_vouched(self, known: KnownPeer | None, path: Path) -> bool:
        if self._transports.connector(path[0]) is not None:
            return True
        candidates = () if known is None else known.candidates
        return any(candidate.is_vouched and self._is_at(candidate.address, path) for candidate in candidates)

    def _is_at(self, address: PeerAddress, path: Path) -> bool:
        transport = self._transports.get(path[0])
        if transport is None or address.address != path[1]:
            return False
        return address.transport in (transport.kind, f"{transport.kind}/{transport.name}")

    def _prove(self, known: KnownPeer, path: Path) -> None:
        for candidate in known.candidates:
            candidate.proved = candidate.proved or self._is_at(candidate.address, path)

    def _has_grounds(self, known: KnownPeer) -> bool:
        """Whether there is anything to dial `known` on: the operator's word, its own answer, or news of it."""
        return known.earned > 0 or self._stands(known)

    def _stands(self, known: KnownPeer) -> bool:
        """Whether more than hearsay tells of `known`."""
        return known.configured is not None or any(
            candidate.is_vouched or self._is_connected_first(candidate.address) for candidate in known.candidates
        )

    def _is_connected_first(self, address: PeerAddress) -> bool:
        transport = self._transports.choose(address.transport, address.address)
        return transport is not None and self._transports.connector(transport.transport_id) is not None

    # -- what happened to links

    def peer_up(self, identity: PeerIdentity, now: float, path: Path | None = None) -> None:
        """A link came up along `path`, whoever dialled."""
        self._forget_dials(identity)
        known = self.known.get(identity.node_addr)
        if known is not None:
            known.up_since = now
            known.dismissed = False
            known.forgive()
            if path is not None:
                self._prove(known, path)

    def peer_down(
        self, identity: PeerIdentity, now: float, redial: bool = True, path: Path | None = None, spoke: bool = True
    ) -> None:
        """A link along `path` ended: come back to a wanted peer, at once if it had lasted (spec 01 section 11.3).

        It was there: that is worth as much as to hear of it. A link on which the peer never `spoke` was none.
        """
        known = self.known.get(identity.node_addr)
        if known is None:
            return
        if path is not None:
            self._prove(known, path)
        self._hearsay.heard(known, ADVERT_COPIES)
        lasted = spoke and known.up_since is not None and now - known.up_since >= LASTING_SECS
        known.up_since = None
        known.vain = 0 if lasted else known.vain + 1
        if not redial or self._stopping or not known.is_redialled(now):
            return
        delay = self._random.uniform(0.0, _PROMPT_SECS) if known.vain <= 1 else self._delay(known.vain - 1)
        self._retry(known, now + delay, now)

    def dial_failed(self, identity: PeerIdentity, now: float) -> None:
        """A dial ended without a link: try again later (spec 01 section 11.3, handshake-timeout reflex)."""
        attempt = self._attempts.get(identity.node_addr)
        if attempt is not None:
            self._hasten(attempt, now)
        known = self.known.get(identity.node_addr)
        if known is None or self._stopping or identity.node_addr in self._links.peers or self._is_dialling(identity):
            return
        known.vain += 1
        wish, limit = known.wish(now), self._settings.retry.max_retries
        is_over = not limit or wish is Wish.NONE or (wish is Wish.TRY and known.vain > limit)
        if is_over or not self._has_grounds(known):
            self.retries.pop(identity.node_addr, None)
        else:
            self._retry(known, now + self._delay(known.vain), now)

    # -- time

    def next_deadline(self) -> float | None:
        """When the next dial is due."""
        return None if self._wake == _NEVER else self._wake

    def handle_timeout(self, now: float) -> None:
        """Dial what is due, a few at a time."""
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_SECS
            self.known.expire(now)
        if now < self._wake:
            return
        for attempt in [attempt for attempt in self._attempts.values() if attempt.due <= now]:
            self._advance(attempt, now)
        due = [retry for retry in self.retries.values() if retry.due <= now]
        for retry in sorted(due, key=self._is_made_up) if len(due) > 1 else due:
            if not self._pace.allow(now):
                break
            del self.retries[retry.identity.node_addr]
            self._attempt(retry.identity, now)
        dues = [item.due for table in (self._attempts, self.retries) for item in table.values()]
        self._wake = max(min(dues, default=_NEVER), now + 1 / _ATTEMPTS_PER_SEC)

    def _is_made_up(self, retry: Retry) -> bool:
        """Whether nobody may be behind `retry`: such dials have to wait for those of which more is known."""
        known = self.known.get(retry.identity.node_addr)
        return known is None or not self._stands(known)

    def _want(self, peer: KnownPeer, now: float, at_once: bool = True) -> None:
        """Have a wanted peer dialled unless it is connected, being dialled, or waiting without anything new."""
        node_addr = peer.identity.node_addr
        if node_addr in self._links.peers or self._is_dialling(peer.identity) or peer.wish(now) is Wish.NONE:
            return
        if not self._has_grounds(peer):
            return
        if at_once or (node_addr not in self.retries and not self._is_given_up(peer, now)):
            self._retry(peer, now, now)

    def _join(self, peer: KnownPeer, now: float) -> None:
        """Let addresses that were just found take part in the attempt under way."""
        attempt = self._attempts.setdefault(peer.identity.node_addr, _Attempt(peer.identity, [], now))
        attempt.ordered = False
        attempt.queue = [known.address for known in peer.in_turn() if not known.tried]
        self._hasten(attempt, now)

    def _hasten(self, attempt: _Attempt, now: float) -> None:
        attempt.due = now
        self._wake = min(self._wake, now)

    def _is_given_up(self, peer: KnownPeer, now: float) -> bool:
        if peer.wish(now) is Wish.TRY:
            return peer.vain > self._settings.retry.max_retries
        return peer.vain > 0 and not peer.is_redialled(now)

    def _retry(self, peer: KnownPeer, due: float, now: float) -> None:
        retry = Retry(peer.identity, peer.vain, due, peer.wish(now) is Wish.KEEP)
        self.retries[peer.identity.node_addr] = retry
        self._schedule(retry, due)

    def _schedule(self, retry: Retry, due: float) -> None:
        retry.due = due
        self._wake = min(self._wake, due)

    def _delay(self, count: int) -> float:
        """Seconds to wait after `count` attempts in vain: doubled each time up to the limit, and a bit at random."""
        retries = self._settings.retry
        delay = min(retries.base_interval_secs * 2.0 ** min(count, 32), retries.max_backoff_secs)
        return delay * self._random.uniform(_LEAST_SHARE, 1.0)

    # -- dialling

    def _attempt(self, identity: PeerIdentity, now: float) -> None:
        """Dial a peer that is due, if it still is wanted."""
        known = self.known.get(identity.node_addr)
        if known is None or identity.node_addr in self._links.peers or known.wish(now) is Wish.NONE:
            return
        if self._is_dialling(identity):
            return
        try:
            addresses = [candidate.address for candidate in known.in_turn()]
            self._dial_in_turn(_Attempt(identity, addresses, now), now)
        except DialError as error:
            if known.configured is not None:  # of others, anybody can make up as many as he likes
                self._report(f"cannot dial {known.name}: {error}")
            self.dial_failed(identity, now)

    def _dial_in_turn(self, attempt: _Attempt, now: float) -> None:
        """Begin with the first priority that has an address to dial; raises `DialError` when there is none."""
        self._attempts[attempt.identity.node_addr] = attempt
        refusals = self._advance(attempt, now)
        if not self._is_dialling(attempt.identity):
            raise DialError("; ".join(refusals) or "no address given")

    def _advance(self, attempt: _Attempt, now: float) -> list[str]:
        """Dial the addresses of the next priority; the others wait a little. Returns why some could not be dialled."""
        refusals: list[str] = []
        started: PeerAddress | None = None
        while attempt.queue and (started is None or started.priority == attempt.queue[0].priority):
            if self._dials(attempt.identity) >= PARALLEL_DIALS:
                attempt.queue.clear()
                break
            address = attempt.queue.pop(0)
            try:
                refusal = self._dial(attempt, address, now)
            except DialDenied as denial:
                attempt.queue.clear()
                refusal = str(denial)
            if refusal is None:
                started = address
            else:
                refusals.append(refusal)
        if attempt.queue:
            attempt.due = now + STAGGER_SECS
            self._wake = min(self._wake, attempt.due)
        else:
            self._attempts.pop(attempt.identity.node_addr, None)
        return refusals

    def _dial(self, attempt: _Attempt, address: PeerAddress, now: float) -> str | None:
        """Start one handshake; returns why not. Raises `DialDenied` when no other address can do better."""
        identity = attempt.identity
        path = self._path(address)
        if path is None:
            return f"no operational transport for {address.transport} {address.address}"
        known = self.known.get(identity.node_addr)
        unproved = not attempt.ordered and not self._is_vouched(known, path)
        if unproved and (known is None or not known.earned):
            return f"nobody answered at {address.address}, and nothing was heard of it since"
        connector = self._transports.connector(path[0])
        waiting = connector is not None and not connector.is_connected(address.address)
        try:
            self._links.dial(identity, path, now, waiting, unproved)
        except DialDenied:
            raise
        except DialRefused as refusal:
            return str(refusal)
        if connector is not None and waiting:
            connector.connect(address.address)
        for candidate in () if known is None else known.candidates:
            candidate.tried = candidate.tried or candidate.address == address
        return None

    def _path(self, address: PeerAddress) -> Path | None:
        """The path to dial `address` on; a name in it is looked up again."""
        transport = self._transports.choose(address.transport, address.address)
        if transport is None:
            return None
        if INameKeeper.providedBy(transport):
            INameKeeper(transport).look_up_again(address.address)
        return (transport.transport_id, address.address)

    def _dials(self, identity: PeerIdentity) -> int:
        return sum(1 for handshake in self._links.handshakes if handshake.remote == identity)

    def _is_dialling(self, identity: PeerIdentity) -> bool:
        return identity.node_addr in self._attempts or self._dials(identity) > 0

    def _forget_dials(self, identity: PeerIdentity) -> None:
        self.retries.pop(identity.node_addr, None)
        self._attempts.pop(identity.node_addr, None)
