"""What both ends of a channel say before the first frame, and which of two channels stays (spec 04 section 9)."""

from __future__ import annotations

from meshnode.identity import IdentityError, PeerIdentity

HELLO_SIZE = 33
HELLO_TIMEOUT = 5.0
"""Seconds a channel may stay without the other side's hello."""

_MARK = b"\x00"


class HelloError(ValueError):
    """The first message of a channel is no hello; the text says why."""


def encode_hello(own: PeerIdentity) -> bytes:
    """Return the 33 bytes every channel begins with."""
    return _MARK + own.xonly


def parse_hello(message: bytes) -> PeerIdentity:
    """Return the key the other side claims; only the handshake proves it. Raises `HelloError`."""
    if len(message) != HELLO_SIZE:
        raise HelloError(f"a hello of {len(message)} bytes instead of {HELLO_SIZE}")
    if message[:1] != _MARK:
        raise HelloError(f"a hello that starts with {message[:1].hex()} instead of {_MARK.hex()}")
    try:
        return PeerIdentity(message[1:])
    except IdentityError as error:
        raise HelloError(f"a hello in which {error}") from None


def own_channel_wins(own: PeerIdentity, peer: PeerIdentity) -> bool:
    """Whether, of two channels, the one stays that this side opened: the smaller NodeAddr's does."""
    return own.node_addr < peer.node_addr
