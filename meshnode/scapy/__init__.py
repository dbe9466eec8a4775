"""Layers for scapy: frames of links (spec 01) and messages of sessions (spec 02), opened where keys are given.

Needs `pip install meshnode[scapy]`. scapy is under the GPL; nothing else in this package imports it. The layers are
written from the specification on their own, without the codecs of `meshnode.wire`, so that each can judge the other.

    from scapy.all import rdpcap
    from meshnode.scapy import FmpFrame, Keys
    for frame in rdpcap("mesh.pcapng"): ...      # frames of `meshctl capture --pcap` are dissected
    FmpFrame(data).opened(Keys(link={index: key}))
"""

from meshnode.scapy.keys import Keys
from meshnode.scapy.link import (
    FilterAnnounceLayer,
    Fmp,
    FmpFrame,
    FmpInner,
    FmpMsg1,
    FmpMsg2,
    LinkDisconnect,
    LinkHeartbeat,
    LinkReceiverReport,
    LinkSenderReport,
    LookupRequestLayer,
    LookupResponseLayer,
    SessionDatagramLayer,
    TreeAnnounceLayer,
)
from meshnode.scapy.session import (
    Fsp,
    FspAck,
    FspCoordinates,
    FspData,
    FspEncrypted,
    FspInner,
    FspMsg3,
    FspSetup,
    FspSignal,
)

__all__ = [
    "FilterAnnounceLayer",
    "Fmp",
    "FmpFrame",
    "FmpInner",
    "FmpMsg1",
    "FmpMsg2",
    "Fsp",
    "FspAck",
    "FspCoordinates",
    "FspData",
    "FspEncrypted",
    "FspInner",
    "FspMsg3",
    "FspSetup",
    "FspSignal",
    "Keys",
    "LinkDisconnect",
    "LinkHeartbeat",
    "LinkReceiverReport",
    "LinkSenderReport",
    "LookupRequestLayer",
    "LookupResponseLayer",
    "SessionDatagramLayer",
    "TreeAnnounceLayer",
]
