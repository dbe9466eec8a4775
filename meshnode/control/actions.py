"""The commands that change something: connect and disconnect (spec 06 section 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from meshnode.identity import IdentityError, PeerIdentity
from meshnode.node.core import Node
from meshnode.node.peering import DialError, PeerAddress, PeerConfig
from meshnode.transports.addresses import HostName, parse_address
from meshnode.transports.interfaces import TransportError
from meshnode.wire.link import DisconnectReason

from .commands import CommandError, text_params
from .encoding import Answer

RESOLVE_SECS = 4.0
_INTERNET = frozenset(("udp", "tcp"))
_TRAVERSAL = "nat"  # an address that only a rendezvous could turn into a real one


class Actions:
    """Carries the commands out on `node`. `resolver` and `call_later` are the reactor's, for host names."""

    def __init__(self, node: Node, resolver: Callable[[], IHostnameResolver], call_later: Callable[..., Any]) -> None:
        self._node = node
        self._resolver = resolver
        self._call_later = call_later

    def connect(self, params: Any) -> Answer | Deferred[Answer]:
        """Start to dial a peer once. Success means that the dial has begun, or that there is nothing to do."""
        npub, address, transport = text_params("connect", params, ("npub", "address", "transport"))
        identity = self._identity(npub, "peer npub")
        if identity == self._node.identity.peer:
            raise CommandError(f"cannot connect to {npub}: that is this node itself")
        answer = {"npub": npub, "address": address, "transport": transport, "refreshed": False}
        if self._is_known_link(identity):
            self._node.register(identity, self._node.names.aliases.get(identity.node_addr))
            return answer
        host = self._check(npub, address, transport)
        found = succeed(True) if host is None else self._resolves(host)
        return found.addCallback(lambda is_found: self._dial(identity, answer, is_found))

    def disconnect(self, params: Any) -> Answer:
        """End the link with a peer, and do not come back to it."""
        (npub,) = text_params("disconnect", params, ("npub",))
        identity = self._identity(npub, "npub")
        node = self._node
        peer = node.links.peers.get(identity.node_addr)
        if peer is None:
            raise CommandError(f"peer not found: {npub}")
        node.peering.disconnect(identity)
        node.links.cancel_dials(identity)
        node.run(lambda now: node.links.disconnect(peer, DisconnectReason.CONFIGURATION_CHANGE, now))
        return {"npub": npub, "disconnected": True}

    def _identity(self, npub: str, what: str) -> PeerIdentity:
        try:
            return PeerIdentity.from_npub(npub)
        except IdentityError as error:
            raise CommandError(f"invalid {what} '{npub}': {error}") from None

    def _is_known_link(self, identity: PeerIdentity) -> bool:
        links = self._node.links
        return identity.node_addr in links.peers or any(dial.remote == identity for dial in links.handshakes)

    def _check(self, npub: str, address: str, transport: str) -> HostName | None:
        """Refuse what cannot be dialled; returns the host name that has to be looked up first, if there is one."""
        carrier = transport.partition("/")[0]
        if address == _TRAVERSAL or all(running.kind != carrier for running in self._node.transports):
            raise CommandError(_no_transport(npub))
        host = _host_name(address) if carrier in _INTERNET else None
        if self._node.transports.choose(transport, address) is None:
            raise CommandError(f"{_no_transport(npub)}: none of kind {transport} can send to {address!r}")
        return host

    def _resolves(self, name: HostName) -> Deferred[bool]:
        """Whether the name has an address; False as well when no answer comes in time."""
        lookup = _Lookup()
        self._resolver().resolveHostName(lookup, name.host, name.port)
        timer = self._call_later(RESOLVE_SECS, lookup.finish, False)

        def ended(is_found: bool) -> bool:
            if timer.active():
                timer.cancel()
            return is_found

        return lookup.result.addCallback(ended)

    def _dial(self, identity: PeerIdentity, answer: dict[str, Any], is_found: bool) -> Answer:
        address, transport = answer["address"], answer["transport"]
        if not is_found:
            raise CommandError(f"cannot connect to {address!r}: no address was found for that name")
        peer = PeerConfig(identity, [PeerAddress(transport, address)], auto_connect=False, auto_reconnect=False)
        try:
            self._node.connect(peer)
        except DialError as error:
            raise CommandError(f"{_no_transport(answer['npub'])}: {error}") from None
        return answer


def _host_name(address: str) -> HostName | None:
    """The name in an Internet address, None when it is numeric. Raises `CommandError` when it is no address."""
    try:
        parsed = parse_address(address)
    except TransportError as error:
        raise CommandError(str(error)) from None
    return parsed if isinstance(parsed, HostName) else None


def _no_transport(npub: str) -> str:
    return f"no transport available for type: no operational transport for any of {npub}'s addresses"


@implementer(IResolutionReceiver)
class _Lookup:
    """One question to the name server; `result` fires once, with whether there was an address."""

    def __init__(self) -> None:
        self.result: Deferred[bool] = Deferred()
        self._is_found = False

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:  # noqa: N802, N803
        """Nothing to note: a late answer is ignored."""

    def addressResolved(self, address: IAddress) -> None:  # noqa: N802
        self._is_found = True

    def resolutionComplete(self) -> None:  # noqa: N802
        self.finish(self._is_found)

    def finish(self, is_found: bool) -> None:
        if not self.result.called:
            self.result.callback(is_found)
