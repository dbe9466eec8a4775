"""What a transport is to the node, and what the node is to a transport.

A transport moves whole link frames between this node and a textual address of its own kind. Frames always travel in
lists, because every per-call cost on the packet path is paid once per list.
"""

from __future__ import annotations

from typing import Any

from zope.interface import Attribute, Interface


class TransportError(Exception):
    """A transport cannot do what it was asked; the text is one line for the operator."""


class ITransportHost(Interface):
    """The node, as a transport sees it. A transport never calls it from within a method that the node called."""

    public_key: bytes = Attribute("This node's own key (x-only, 32 bytes), for carriers that show it to neighbours.")

    def frames_received(transport: ITransport, address: str, frames: list[bytes]) -> None:
        """Take `frames` that arrived from `address`, in order of arrival."""

    def burst_ended() -> None:
        """Note that a reactor wake-up of a transport is over: everything queued by it is flushed now."""

    def connected(transport: ITransport, address: str) -> None:
        """Note that the connection asked for by `connect` is open."""

    def connect_failed(transport: ITransport, address: str, cause: str) -> None:
        """Note that the connection asked for by `connect` did not open; `cause` is for the operator."""

    def connection_lost(transport: ITransport, address: str, cause: str, dialled: bool) -> None:
        """Note that an open connection ended and not by our `disconnect`. An address not `dialled` is nobody's."""

    def carries_link(transport: ITransport, address: str) -> bool:
        """Whether a peer is reached over the connection of `address`; one of which that is not so may give way."""

    def mtu_changed(transport: ITransport, address: str | None) -> None:
        """Note that `link_mtu` has another answer now: for `address`, or for every address when that is None."""

    def state_changed(transport: ITransport, cause: str) -> None:
        """Note that `state` became `up` or ceased to be, other than by `start` and `stop`."""

    def neighbour_found(transport: ITransport, address: str, public_key: bytes) -> None:
        """Note that somebody at `address` claims to be `public_key` (x-only, 32 bytes) and may be dialled."""


class ITransport(Interface):
    """One running instance of a carrier (spec 04 section 1)."""

    transport_id: int = Attribute("Number of this instance within the node, from 1, in order of creation.")
    kind: str = Attribute("Name of the carrier as in the configuration: `udp`, `tcp`, ...")
    name: str | None = Attribute("Name of the instance in the configuration, or None.")
    state: str = Attribute("`configured`, `starting`, `up`, `down` or `failed`.")
    mtu: int = Attribute("Largest link frame, in bytes, that this instance carries.")
    accepts_connections: bool = Attribute("Whether strangers may open links over this instance.")
    local_address: str | None = Attribute("Bound address in text form, or None while there is none.")

    def start() -> Any:
        """Open descriptors. Returns None or a Deferred. Raises or fails with `TransportError`.

        What may come later (an interface, a proxy) is no error: `state` stays `starting`, the transport waits for it
        and tells `state_changed`.
        """

    def stop() -> Any:
        """Close descriptors. Returns None or a Deferred. Never fails."""

    def send(address: str, frames: list[bytes]) -> None:
        """Queue `frames` for `address`; trouble on the way is counted, not raised."""

    def flush() -> None:
        """Hand everything queued to the system."""

    def link_mtu(address: str) -> int:
        """Largest link frame, in bytes, towards `address`."""

    def can_dial(address: str) -> bool:
        """Whether `address` is of this instance's kind and family, so that a frame sent there could leave."""

    def stats() -> dict[str, int]:
        """Counters under the names operators know (spec 06 section 3.11)."""


class IConnectionTransport(ITransport):
    """A carrier that needs a connection to an address before frames can move (spec 04 section 1.4).

    A connection that was dialled is known by the text given to `connect`, an accepted one by a text of the transport's
    own making, which nobody ever dials. Frames in both directions use the one connection. `send` never connects: frames
    for an address without an open connection are counted and dropped.
    """

    def connect(address: str) -> None:
        """Open a connection to `address`, unless one is open or being opened.

        Ends, after this call, with exactly one `connected` or `connect_failed`; the transport bounds the time.
        """

    def disconnect(address: str) -> None:
        """Close the connection or stop opening it, without telling the host; what was sent before leaves first."""

    def is_connected(address: str) -> bool:
        """Whether the connection to or from `address` is open."""

    def is_inbound(address: str) -> bool:
        """Whether `address` stands for an open connection that was accepted."""

    def connections() -> list[str]:
        """Addresses of the open connections."""


class INameKeeper(Interface):
    """Provided besides `ITransport` by a transport that remembers the numeric addresses of host names."""

    def look_up_again(address: str) -> None:
        """Ask anew for the name in `address` before the next frame to it leaves; one that has no name is no matter."""


class ITransportDetails(Interface):
    """What a transport of some kinds tells operators beside its counters."""

    def details() -> dict[str, Any]:
        """Keys of its row in `show_transports` (spec 06 section 3.11), each left out while it is not known."""


class ITransportFactory(Interface):
    """Makes instances of one carrier; found by name in the registry or as a Twisted plugin."""

    kind: str = Attribute("Name of the carrier as in the configuration.")

    def create(transport_id: int, name: str | None, section: Any, host: ITransportHost, reactor: Any) -> ITransport:
        """Make one instance from its configuration `section`. Opens nothing yet."""
