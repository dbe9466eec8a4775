"""Whom to dial, where, and when again (spec 01 section 11)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from meshnode.identity import PeerIdentity
from meshnode.mesh.link import DialRefused, LinkLayer
from meshnode.mesh.settings import MeshSettings

from .transports import TransportTable

_PARALLEL_DIALS = 4
_DIALS_PER_TICK = 16


@dataclass(slots=True, frozen=True)
class PeerAddress:
    """Where a peer may be reached; lower `priority` is tried first."""

    transport: str
    address: str
    priority: int = 100


@dataclass(slots=True)
class PeerConfig:
    """A peer this node knows from its operator."""

    identity: PeerIdentity
    addresses: list[PeerAddress]
    alias: str | None = None
    auto_connect: bool = True
    auto_reconnect: bool = True


@dataclass(slots=True)
class Retry:
    """A dial to be tried again at `due`."""

    peer: PeerConfig
    count: int
    due: float
    reconnect: bool


class DialError(Exception):
    """No dial could be started; the text says why for each address."""


@dataclass(slots=True)
class Peering:
    """Keeps configured peers connected and dials on request.

    `report(text)` receives one line for the operator whenever a configured peer cannot be dialled.
    """

    links: LinkLayer
    transports: TransportTable
    settings: MeshSettings
    report: Callable[[str], None]
    configured: dict[bytes, PeerConfig] = field(default_factory=dict)
    retries: dict[bytes, Retry] = field(default_factory=dict)
    _stopping: bool = False

    def start(self, peers: list[PeerConfig], now: float) -> None:
        """Dial every configured peer that wants to be connected."""
        for peer in peers:
            self.configured[peer.identity.node_addr] = peer
        for peer in self.configured.values():
            if peer.auto_connect:
                self._attempt(peer, now)

    def stop(self) -> None:
        """Dial nobody any more."""
        self._stopping = True
        self.retries.clear()

    def connect(self, peer: PeerConfig, now: float) -> bool:
        """Dial `peer` once. False when it is connected or being dialled already. Raises `DialError`."""
        if peer.identity.node_addr in self.links.peers or self._dialling(peer.identity):
            return False
        refusals = [text for text in (self._dial(peer.identity, address, now) for address in _ordered(peer)) if text]
        if not self._dialling(peer.identity):
            raise DialError("; ".join(refusals) or "no address given")
        return True

    def disconnect(self, identity: PeerIdentity) -> None:
        """Forget about redialling `identity`."""
        self.retries.pop(identity.node_addr, None)

    def found(self, identity: PeerIdentity, address: PeerAddress, now: float) -> None:
        """Dial a neighbour that a transport saw, unless it is connected or being dialled."""
        if identity == self.links.identity:
            return
        try:
            self.connect(PeerConfig(identity, [address]), now)
        except DialError as error:
            self.report(f"cannot dial {identity.short_npub}: {error}")

    def transport_up(self, now: float) -> None:
        """A transport works again: dial at once whoever waits to be dialled again."""
        for retry in self.retries.values():
            retry.due = min(retry.due, now)

    # -- what happened to links

    def peer_up(self, identity: PeerIdentity) -> None:
        self.retries.pop(identity.node_addr, None)

    def peer_down(self, identity: PeerIdentity, now: float) -> None:
        """A link ended: redial a configured peer (spec 01 section 11.3, link-dead reflex)."""
        peer = self.configured.get(identity.node_addr)
        if self._stopping or peer is None or not (peer.auto_connect and peer.auto_reconnect):
            return
        retry = self.retries.get(identity.node_addr)
        count = 0 if retry is None else retry.count + 1
        self.retries[identity.node_addr] = Retry(peer, count, now + self._delay(count), True)

    def dial_failed(self, identity: PeerIdentity, now: float) -> None:
        """A dial ended without a link: try again later (spec 01 section 11.3, handshake-timeout reflex)."""
        retries = self.settings.retry
        if self._stopping or not retries.max_retries or self._dialling(identity):
            return
        if identity.node_addr in self.links.peers:
            return
        retry = self.retries.get(identity.node_addr)
        peer = self.configured.get(identity.node_addr)
        if retry is not None:
            retry.count += 1
            if not retry.reconnect and retry.count > retries.max_retries:
                del self.retries[identity.node_addr]
            else:
                retry.due = now + self._delay(retry.count)
        elif peer is not None and peer.auto_connect:
            self.retries[identity.node_addr] = Retry(peer, 1, now + self._delay(1), True)

    def tick(self, now: float) -> None:
        """Dial what is due, a few at a time."""
        due = [retry for retry in self.retries.values() if retry.due <= now][:_DIALS_PER_TICK]
        for retry in due:
            if retry.peer.identity.node_addr in self.links.peers:
                del self.retries[retry.peer.identity.node_addr]
                continue
            retry.due = now + self.settings.rate_limit.handshake_timeout_secs
            self._attempt(retry.peer, now)

    # -- dialling

    def _attempt(self, peer: PeerConfig, now: float) -> None:
        try:
            self.connect(peer, now)
        except DialError as error:
            self.report(f"cannot dial {peer.alias or peer.identity.short_npub}: {error}")
            self.dial_failed(peer.identity, now)

    def _dial(self, identity: PeerIdentity, address: PeerAddress, now: float) -> str | None:
        """Start one handshake; returns why not."""
        if self._dials(identity) >= _PARALLEL_DIALS:
            return None
        transport = self.transports.choose(address.transport, address.address)
        if transport is None:
            return f"no operational transport for {address.transport} {address.address}"
        path = (transport.transport_id, address.address)
        connector = self.transports.connector(transport.transport_id)
        waiting = connector is not None and not connector.is_connected(address.address)
        try:
            self.links.dial(identity, path, now, waiting)
        except DialRefused as refusal:
            return str(refusal)
        if connector is not None and waiting:
            connector.connect(address.address)
        return None

    def _dials(self, identity: PeerIdentity) -> int:
        return sum(1 for handshake in self.links.handshakes if handshake.remote == identity)

    def _dialling(self, identity: PeerIdentity) -> bool:
        return self._dials(identity) > 0

    def _delay(self, count: int) -> float:
        retries = self.settings.retry
        return min(retries.base_interval_secs * 2.0 ** min(count, 32), retries.max_backoff_secs)


def _ordered(peer: PeerConfig) -> list[PeerAddress]:
    return sorted(peer.addresses, key=lambda address: address.priority)
