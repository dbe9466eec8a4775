"""The points at which the link layer asks the access control list (spec 01 section 10.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from meshnode.identity import PeerIdentity

from .events import Path

Admit = Callable[[PeerIdentity, str, Path], bool]
"""`admit(identity, context, path)`: whether that node may be a peer; `context` is one of the constants below."""

OUTBOUND_CONNECT: Final = "outbound_connect"
OUTBOUND_HANDSHAKE: Final = "outbound_handshake"
INBOUND_HANDSHAKE: Final = "inbound_handshake"
ESTABLISHED: Final = "established"

DENIED: Final = "denied by the access control list"
"""The reason given for what ends, or does not begin, because of the list."""
