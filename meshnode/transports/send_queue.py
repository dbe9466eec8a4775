"""What waits for the end of a burst in carriers without connections."""

from __future__ import annotations

QUEUE_FRAMES = 4096


class SendQueue:
    """Frames by address, in the order in which they are to leave. It grows by one burst more than `QUEUE_FRAMES`."""

    __slots__ = ("_count", "_frames")

    def __init__(self) -> None:
        self._frames: dict[str, list[bytes]] = {}
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._frames)

    def add(self, address: str, frames: list[bytes]) -> bool:
        """Queue `frames`, a list that is not kept; whether there are enough now to be sent at once."""
        queued = self._frames.get(address)
        if queued is None:
            self._frames[address] = frames[:]
        else:
            queued += frames
        self._count += len(frames)
        return self._count >= QUEUE_FRAMES

    def take(self) -> dict[str, list[bytes]]:
        """Return everything and be empty."""
        frames, self._frames, self._count = self._frames, {}, 0
        return frames
