"""Peers the operator wants, connected or not: shown with what stands in their way, added and removed (ours alone)."""

from __future__ import annotations

from typing import Any

from meshnode.identity import IdentityError, PeerIdentity
from meshnode.mesh.link import NO_ANSWER
from meshnode.node.candidates import Candidate, KnownPeer
from meshnode.node.chronicle import HINTS
from meshnode.node.core import Node
from meshnode.node.events import DialFailure, EventHub, PeerConnected, Record
from meshnode.node.peering import PeerAddress, PeerConfig
from meshnode.wire.link import DisconnectReason

from .commands import CommandError, text_params
from .encoding import Answer
from .view import View

MOST_FAILURES = 1024
_INTERNET = frozenset({"udp", "tcp", "tor", "nym"})


class DialFailures:
    """Why the latest dial of each peer that is not connected failed."""

    def __init__(self, events: EventHub) -> None:
        self._latest: dict[str, dict[str, Any]] = {}
        events.subscribe(self._heard)

    def _heard(self, record: Record) -> None:
        event = record.event
        if isinstance(event, DialFailure):
            self._latest.pop(event.npub, None)
            if len(self._latest) >= MOST_FAILURES:
                del self._latest[next(iter(self._latest))]
            row = {"time_ms": int(record.when * 1000), "address": event.address, "reason": event.reason}
            self._latest[event.npub] = {**row, "hint": event.hint or None}
        elif isinstance(event, PeerConnected):
            self._latest.pop(event.npub, None)

    def of(self, npub: str) -> dict[str, Any] | None:
        return self._latest.get(npub)


def show_known_peers(view: View, failures: DialFailures) -> Answer:
    """Every peer somebody told about, the configuration first of all."""
    known = sorted(view.node.peering.known, key=lambda peer: (peer.configured is None, peer.name))
    return {"peers": (_row(view, peer, failures) for peer in known)}


def _row(view: View, peer: KnownPeer, failures: DialFailures) -> dict[str, Any]:
    node, node_addr = view.node, peer.identity.node_addr
    retry = node.peering.retries.get(node_addr)
    return {
        "npub": peer.identity.npub,
        "node_addr": node_addr.hex(),
        "display_name": view.name(node_addr),
        "is_configured": peer.configured is not None,
        "is_connected": node_addr in node.links.peers,
        **_dialling(view, peer),
        "is_dismissed": peer.dismissed,
        "wish": peer.wish(view.now).name.lower(),
        "vain_attempts": peer.vain,
        "next_attempt_ms": None if retry is None else view.unix_ms(retry.due),
        "last_failure": failures.of(peer.identity.npub),
        "addresses": [_address(known) for known in peer.candidates],
    }


def _dialling(view: View, peer: KnownPeer) -> dict[str, Any]:
    """Whether it is being dialled and since when, and what it may mean that nobody answers."""
    begun = [dial.started for dial in view.node.links.handshakes if dial.remote == peer.identity]
    if not begun:
        return {"is_dialling": False, "dialling_since_ms": None, "no_answer_hint": None}
    hint = HINTS[NO_ANSWER]
    return {"is_dialling": True, "dialling_since_ms": view.unix_ms(min(begun)), "no_answer_hint": hint}


def _address(known: Candidate) -> dict[str, Any]:
    return {
        "transport": known.address.transport,
        "address": known.address.address,
        "priority": known.address.priority,
        "source": known.source,
        "tried_in_vain": known.tried,
    }


def _remedy(node: Node, carrier: str) -> str:
    """What to change about an address that nothing here can send to, in a form to append."""
    kind, running = carrier.partition("/")[0], sorted({transport.kind for transport in node.transports})
    if kind not in running:
        return f"; this node has {', '.join(running)}"
    return "; write ip:port, [ipv6]:port or host:port" if kind in _INTERNET else ""


class PeerActions:
    """Adds and removes wanted peers of a running node; the configuration file is not touched."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def add(self, params: Any) -> Answer:
        """Want a peer from now on, at the given address beside those known already."""
        npub, address, transport = text_params("peer_add", params, ("npub", "address", "transport"))
        identity = _identity(npub)
        node = self._node
        if identity == node.identity.peer:
            raise CommandError(f"cannot add {npub}: that is this node itself")
        if node.transports.choose(transport, address) is None:
            raise CommandError(
                f"none of the running transports of kind {transport} can send to {address!r}{_remedy(node, transport)}"
            )
        alias = params.get("alias")
        known = node.peering.known.get(identity.node_addr)
        old = None if known is None else known.configured
        config = _extended(old, identity, PeerAddress(transport, address), alias if isinstance(alias, str) else None)
        changed = ["peer"] if known is None or old is None else _changes(known, old, config)
        node.register(identity, config.alias)
        if config.alias is not None:
            node.world.hosts.call(config.alias, identity)
        node.run(lambda now: node.peering.configure(config, now))
        return {
            "npub": npub,
            "alias": config.alias,
            "addresses": [{"transport": a.transport, "addr": a.address} for a in config.addresses],
            "changed": changed,
        }

    def remove(self, params: Any) -> Answer:
        """Do not want a peer any more, and end the link with it."""
        (npub,) = text_params("peer_remove", params, ("npub",))
        identity = _identity(npub)
        node = self._node
        was_configured = node.peering.unconfigure(identity)
        peer = node.links.peers.get(identity.node_addr)
        if not was_configured and peer is None:
            raise CommandError(f"peer not found: {npub}")
        node.links.cancel_dials(identity)
        node.world.hosts.forget(identity)
        if peer is not None:
            node.peering.disconnect(identity)
            node.run(lambda now: node.links.disconnect(peer, DisconnectReason.CONFIGURATION_CHANGE, now))
        return {"npub": npub, "was_configured": was_configured, "was_connected": peer is not None}


def _extended(old: PeerConfig | None, identity: PeerIdentity, address: PeerAddress, alias: str | None) -> PeerConfig:
    """The peer as it is configured, with one more address; a new one when it is not."""
    if old is None:
        return PeerConfig(identity, [address], alias)
    is_known = any((one.transport, one.address) == (address.transport, address.address) for one in old.addresses)
    addresses = old.addresses if is_known else [*old.addresses, address]
    return PeerConfig(identity, addresses, alias or old.alias, True, old.auto_reconnect)


def _changes(known: KnownPeer, old: PeerConfig, new: PeerConfig) -> list[str]:
    """What is otherwise about a peer that was known before it was added again, in words."""
    differences = {
        "another address": old.addresses != new.addresses,
        "alias": old.alias != new.alias,
        "dialled from now on": not old.auto_connect,
        "no longer left alone": known.dismissed,
    }
    return [word for word, differs in differences.items() if differs]


def _identity(npub: str) -> PeerIdentity:
    try:
        return PeerIdentity.from_npub(npub)
    except IdentityError as error:
        raise CommandError(f"invalid peer npub '{npub}': {error}") from None
