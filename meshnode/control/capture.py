"""The stream of captured frames on the control socket: the answer to `capture`, until the client leaves."""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from meshnode.mesh.link.epoch import LinkEpoch
from meshnode.mesh.session import SessionEpoch
from meshnode.node.core import Node
from meshnode.noise import NONCE, InvalidTag
from meshnode.transports.interfaces import ITransport
from meshnode.wire import WireError
from meshnode.wire.datagram import SessionDatagram
from meshnode.wire.link import ESTABLISHED, INNER, SESSION_DATAGRAM, EstablishedHeader
from meshnode.wire.session import PHASE_ENCRYPTED, EncryptedMessage

from .commands import CommandError, Stream
from .encoding import Answer, encode

MOST_CAPTURES = 4
QUEUED = 2048
"""Frames that wait for one slow client; beyond that new ones are lost, and the client is told how many."""
_NOT_ALLOWED = "this node does not allow it: write `meshnode: {capture: {decrypt: true}}` into its configuration"


class Captures:
    """Gives every client that captures a stream of its own; without any, frames are not looked at."""

    def __init__(self, node: Node, may_decrypt: Callable[[], bool]) -> None:
        self._node = node
        self._may_decrypt = may_decrypt
        self._streams: list[CaptureStream] = []

    def capture(self, params: Any) -> CaptureStream:
        """Begin a stream; with `decrypt` it holds what is inside as well. Raises `CommandError`."""
        if len(self._streams) >= MOST_CAPTURES:
            raise CommandError(f"{MOST_CAPTURES} clients capture already")
        decrypt = isinstance(params, dict) and params.get("decrypt") is True
        if decrypt and not self._may_decrypt():
            raise CommandError(_NOT_ALLOWED)
        stream = CaptureStream(self._node, Opener(self._node) if decrypt else None, self._left)
        self._streams.append(stream)
        self._node.transports.tap = self._tap
        what = "frames and what is inside" if decrypt else "frames"
        self._node.world.log("warn", f"a client of the control socket captures {what}")
        return stream

    def _left(self, stream: CaptureStream) -> None:
        if stream in self._streams:
            self._streams.remove(stream)
            self._node.world.log("info", "a client of the control socket captures no more")
        if not self._streams:
            self._node.transports.tap = None

    def _tap(self, outgoing: bool, transport: ITransport, address: str, frames: list[bytes]) -> None:
        for stream in self._streams:
            stream.take(outgoing, transport, address, frames)


class CaptureStream(Stream):
    """Frames as lines of JSON for one client."""

    def __init__(self, node: Node, opener: Opener | None, left: Callable[[CaptureStream], None]) -> None:
        super().__init__()
        self._wall = node.world.wall
        self._opener = opener
        self._left = left
        self._queue: deque[dict[str, Any]] = deque()
        self._lost = 0
        self.head: Answer = {"decrypt": opener is not None, "node_addr": node.identity.node_addr.hex()}

    def take(self, outgoing: bool, transport: ITransport, address: str, frames: list[bytes]) -> None:
        """Note a batch; what finds no room is counted."""
        room = QUEUED - len(self._queue)
        self._lost += max(0, len(frames) - room)
        now = int(self._wall() * 1_000_000)
        for frame in frames[: max(0, room)]:
            row: dict[str, Any] = {
                "time_us": now,
                "direction": "out" if outgoing else "in",
                "transport": transport.kind,
                "transport_id": transport.transport_id,
                "address": address,
                "frame": frame,
            }
            if self._opener is not None:
                row.update(self._opener.open(frame, outgoing))
            self._queue.append(row)
        self.wake()

    def lines(self) -> Iterator[bytes]:
        """What there is to send; an empty piece when there is nothing at the moment."""
        while True:
            if self._queue:
                yield _line(self._queue.popleft())
            elif self._lost:
                lost, self._lost = self._lost, 0
                yield _line({"lost": lost})
            else:
                yield b""

    def close(self) -> None:
        """The client is gone."""
        self._left(self)


class Opener:
    """Opens copies of frames with the keys the node has now, and changes nothing by it."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def open(self, frame: bytes, outgoing: bool) -> dict[str, bytes]:
        """Return `plaintext` of the link and `inner` of the session, as far as the keys are ours."""
        try:
            header = EstablishedHeader.parse(frame)
        except WireError:
            return {}
        for epoch in self._epochs(header.receiver_index, outgoing):
            plaintext = _opened(epoch, outgoing, header.counter, frame[ESTABLISHED.size :], frame[: ESTABLISHED.size])
            if plaintext is not None:
                return {"plaintext": plaintext, **self._inside(plaintext)}
        return {}

    def _epochs(self, index: int, outgoing: bool) -> list[LinkEpoch]:
        own = index.to_bytes(4, "little")
        return [e for e in self._node.links.epochs if (e.their_index == index if outgoing else e.our_index == own)]

    def _inside(self, plaintext: bytes) -> dict[str, bytes]:
        """What a session of ours carries in a datagram."""
        if len(plaintext) < INNER.size or plaintext[INNER.size - 1] != SESSION_DATAGRAM:
            return {}
        try:
            datagram = SessionDatagram.parse(plaintext[INNER.size :])
            if datagram.payload[:1] != bytes((PHASE_ENCRYPTED,)):
                return {}
            message = EncryptedMessage.parse(datagram.payload)
        except WireError:
            return {}
        outgoing = datagram.source == self._node.identity.node_addr
        session = self._node.sessions.sessions.get(datagram.destination if outgoing else datagram.source)
        if session is None:
            return {}
        for epoch in (session.current, session.pending, session.previous):
            if epoch is not None:
                inner = _opened(epoch, outgoing, message.header.counter, message.ciphertext, message.header.encode())
                if inner is not None:
                    return {"inner": inner}
        return {}


def _opened(epoch: LinkEpoch | SessionEpoch, own: bool, counter: int, sealed: bytes, header: bytes) -> bytes | None:
    decrypt = epoch.sealer.decrypt if own else epoch.decrypt
    try:
        return decrypt(NONCE.pack(counter), sealed, header)
    except InvalidTag:
        return None


def _line(row: dict[str, Any]) -> bytes:
    text = {name: b64encode(value).decode() if isinstance(value, bytes) else value for name, value in row.items()}
    return f"{encode(text)}\n".encode("utf-8", "replace")
