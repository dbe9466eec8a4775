"""Fields that both layers use: node addresses and lists of them."""

from __future__ import annotations

from typing import Any

from scapy.fields import FieldLenField, FieldListField, XStrFixedLenField


class NodeAddrField(XStrFixedLenField):
    """16 bytes, shown in hex."""

    def __init__(self, name: str, default: bytes = bytes(16)) -> None:
        super().__init__(name, default, 16)


def coordinates(name: str) -> list[Any]:
    """Two fields: a little-endian count and that many node addresses, the node itself first."""
    count = f"{name}_count"
    return [
        FieldLenField(count, None, count_of=name, fmt="<H"),
        FieldListField(name, [], NodeAddrField("", bytes(16)), count_from=lambda packet: getattr(packet, count)),
    ]
