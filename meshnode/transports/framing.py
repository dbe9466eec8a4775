"""Link frames in a byte stream: no preface, boundaries from the frames' own prefixes (spec 04 section 3).

The reader never looks for a boundary again once it lost one: whoever sends anything but frames is cut off.
"""

from __future__ import annotations

from struct import Struct

_PREFIX = Struct("<BBH")
ESTABLISHED_OVERHEAD = 32
_HANDSHAKES = {1: (110, 114), 2: (65, 69)}


class FrameReader:
    """Cuts one direction of one stream into frames of at most `limit` bytes.

    After a violation `broken` says what it was, and nothing more comes out.
    """

    __slots__ = ("_rest", "broken", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.broken: str | None = None
        self._rest = b""

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete yet."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived; returns the frames it completes, in order."""
        if self.broken is not None:
            return []
        if self._rest:
            data = self._rest + data
        frames: list[bytes] = []
        longest = max(0, self.limit - ESTABLISHED_OVERHEAD)
        unpack, size, start = _PREFIX.unpack_from, len(data), 0
        while size - start >= 4:
            phase, _flags, length = unpack(data, start)
            if phase == 0 and length <= longest:
                end = start + ESTABLISHED_OVERHEAD + length
            else:
                total = self._handshake_size(phase, length)
                if total is None:
                    return frames
                end = start + total
            if end > size:
                break
            frames.append(data[start:end])
            start = end
        self._rest = data[start:]
        return frames

    def _handshake_size(self, first: int, length: int) -> int | None:
        """Size of a handshake frame; None after noting why these are no frames."""
        expected, total = _HANDSHAKES.get(first, (None, 0))
        if length == expected:
            return total
        self._rest = b""
        if first == 0:
            self.broken = f"a frame of {length + ESTABLISHED_OVERHEAD} bytes, longer than the mtu of {self.limit}"
        elif expected is not None:
            self.broken = f"a handshake of the wrong length {length}"
        elif first >> 4:
            self.broken = f"not a link frame (version {first >> 4})"
        else:
            self.broken = f"not a link frame (phase {first})"
        return None
