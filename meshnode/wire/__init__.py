"""Everything that is on the wire, one module per message family; no state, one error type.

Link messages encode with their type byte and parse without it. Anything malformed raises `WireError`.
"""

from .bloom import FilterAnnounce
from .coordinates import encode_coordinates, parse_coordinates
from .datagram import DATAGRAM_HEADER, DATAGRAM_HEADER_SIZE, SessionDatagram
from .errors import WireError
from .ethernet import Beacon
from .link import (
    ESTABLISHED,
    Disconnect,
    DisconnectReason,
    EstablishedHeader,
    EstablishedPlaintext,
    Heartbeat,
    Msg1,
    Msg2,
    UnknownMessage,
    payload_length_agrees,
    stream_frame_length,
)
from .lookup import LookupRequest, LookupResponse
from .messages import LinkMessage, parse_link_message
from .reports import PathMtuNotification, ReceiverReport, SenderReport
from .session import (
    DataPacket,
    EncryptedHeader,
    EncryptedMessage,
    InnerHeader,
    SessionAck,
    SessionMessage,
    SessionMessage3,
    SessionSetup,
    parse_session_message,
)
from .signals import CoordinatesRequired, MtuExceeded, PathBroken, Signal, parse_signal
from .tree import AncestryEntry, TreeAnnounce

__all__ = [
    "DATAGRAM_HEADER",
    "DATAGRAM_HEADER_SIZE",
    "ESTABLISHED",
    "AncestryEntry",
    "Beacon",
    "CoordinatesRequired",
    "DataPacket",
    "Disconnect",
    "DisconnectReason",
    "EncryptedHeader",
    "EncryptedMessage",
    "EstablishedHeader",
    "EstablishedPlaintext",
    "FilterAnnounce",
    "Heartbeat",
    "InnerHeader",
    "LinkMessage",
    "LookupRequest",
    "LookupResponse",
    "Msg1",
    "Msg2",
    "MtuExceeded",
    "PathBroken",
    "PathMtuNotification",
    "ReceiverReport",
    "SenderReport",
    "SessionAck",
    "SessionDatagram",
    "SessionMessage",
    "SessionMessage3",
    "SessionSetup",
    "Signal",
    "TreeAnnounce",
    "UnknownMessage",
    "WireError",
    "encode_coordinates",
    "parse_coordinates",
    "parse_link_message",
    "parse_session_message",
    "parse_signal",
    "payload_length_agrees",
    "stream_frame_length",
]
