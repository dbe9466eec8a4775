"""What a way of finding peers is to the node, and what the node is to it.

A discovery service tells where it believes which node to be. Whether, when and how often anybody is dialled is decided
in one place for all of them, the node's peering policy; nothing that a service tells is believed before the handshake.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from zope.interface import Attribute, Interface

from meshnode.identity import PeerIdentity


class DiscoveryError(Exception):
    """A discovery service cannot start; the text is one line for the operator."""


class Whereabouts(NamedTuple):
    """One address of a peer: a kind of transport, an address of its own form, and a priority; lower is tried first."""

    transport: str
    address: str
    priority: int


class IDiscoveryHost(Interface):
    """The node, as a discovery service sees it."""

    public_key: bytes = Attribute("This node's own key (x-only, 32 bytes).")

    def candidates_found(
        source: str, identity: PeerIdentity, whereabouts: list[Whereabouts], lifetime: float, heard: bool
    ) -> None:
        """Hear all that `source` knows of where `identity` may be, for `lifetime` seconds or until told otherwise.

        `heard` when the network said so just now, whole; False when it only is remembered or told in another way. What
        is sent to addresses that have not answered is measured by that.
        """

    def candidates_gone(source: str, identity: PeerIdentity) -> None:
        """Hear that `source` takes back what it told about `identity`."""


class IDiscovery(Interface):
    """One way of finding peers."""

    source: str = Attribute("Its name, under which its candidates are kept.")

    def start() -> None:
        """Begin. Raises `DiscoveryError` when that makes no sense; what goes wrong later is logged."""

    def stop() -> Any:
        """Say goodbye and end. Returns None or a Deferred. Never fails."""

    def network_changed() -> None:
        """Note that interfaces or addresses of this machine may have changed."""

    def peer_lost(identity: PeerIdentity) -> None:
        """Note that the link with `identity` ended: if it was found here, it may be found anew."""
