"""From the bytes of a link message to the message."""

from __future__ import annotations

from collections.abc import Callable

from . import link
from .bloom import FilterAnnounce
from .datagram import SessionDatagram
from .errors import need
from .link import Disconnect, Heartbeat, UnknownMessage
from .lookup import LookupRequest, LookupResponse
from .reports import ReceiverReport, SenderReport
from .tree import TreeAnnounce

LinkMessage = (
    SessionDatagram
    | SenderReport
    | ReceiverReport
    | TreeAnnounce
    | FilterAnnounce
    | LookupRequest
    | LookupResponse
    | Disconnect
    | Heartbeat
    | UnknownMessage
)

_PARSERS: dict[int, Callable[[bytes], LinkMessage]] = {
    link.SESSION_DATAGRAM: SessionDatagram.parse,
    link.SENDER_REPORT: SenderReport.parse_link,
    link.RECEIVER_REPORT: ReceiverReport.parse_link,
    link.TREE_ANNOUNCE: TreeAnnounce.parse,
    link.FILTER_ANNOUNCE: FilterAnnounce.parse,
    link.LOOKUP_REQUEST: LookupRequest.parse,
    link.LOOKUP_RESPONSE: LookupResponse.parse,
    link.DISCONNECT: Disconnect.parse,
    link.HEARTBEAT: Heartbeat.parse,
}


def parse_link_message(plaintext: bytes) -> LinkMessage:
    """Read a link message, type byte first; raise `WireError` when it is empty or malformed."""
    need(plaintext, 1, "a link message")
    parser = _PARSERS.get(plaintext[0])
    return parser(plaintext[1:]) if parser else UnknownMessage(plaintext[0], plaintext[1:])
