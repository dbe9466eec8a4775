"""Writing capture files that Wireshark and scapy read: pcapng with a comment on every packet."""

from __future__ import annotations

from struct import Struct
from typing import BinaryIO

LINKTYPE_FRAMES = 147
"""The first of the types left to users (`USER0`): a frame of our links, nothing around it."""
LINKTYPE_IPV6 = 229

_BLOCK = Struct("<II")
_SECTION = Struct("<IHHq")
_INTERFACE = Struct("<HHI")
_PACKET = Struct("<IIIII")
_OPTION = Struct("<HH")
_LENGTH = Struct("<I")

_MAGIC = 0x1A2B3C4D
_SECTION_BLOCK, _INTERFACE_BLOCK, _PACKET_BLOCK = 0x0A0D0D0A, 1, 6
_COMMENT, _APPLICATION, _NAME, _FLAGS = 1, 4, 2, 2
_INBOUND, _OUTBOUND = 1, 2
_MOST_COMMENT = 0xFFFF


class CaptureFile:
    """A pcapng file with one interface per name. Times are Unix time in microseconds."""

    def __init__(self, file: BinaryIO, application: str, interfaces: list[tuple[str, int]]) -> None:
        self._file = file
        self._block(_SECTION_BLOCK, _SECTION.pack(_MAGIC, 1, 0, -1) + _options((_APPLICATION, application.encode())))
        for name, linktype in interfaces:
            self._block(_INTERFACE_BLOCK, _INTERFACE.pack(linktype, 0, 0) + _options((_NAME, name.encode())))

    def packet(self, interface: int, time_us: int, data: bytes, outgoing: bool, comment: str) -> None:
        """Append one packet of the interface with this number."""
        head = _PACKET.pack(interface, time_us >> 32, time_us & 0xFFFFFFFF, len(data), len(data))
        flags = (_OUTBOUND if outgoing else _INBOUND).to_bytes(4, "little")
        text = comment.encode("utf-8", "replace")[:_MOST_COMMENT]
        self._block(_PACKET_BLOCK, head + _padded(data) + _options((_COMMENT, text), (_FLAGS, flags)))

    def flush(self) -> None:
        self._file.flush()

    def _block(self, kind: int, body: bytes) -> None:
        total = _BLOCK.size + len(body) + _LENGTH.size
        self._file.write(_BLOCK.pack(kind, total) + body + _LENGTH.pack(total))


def _options(*options: tuple[int, bytes]) -> bytes:
    parts = [_OPTION.pack(code, len(value)) + _padded(value) for code, value in options]
    return b"".join(parts) + _OPTION.pack(0, 0)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
