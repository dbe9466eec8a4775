"""One key epoch of a link and the two hot functions of the link layer: seal a run, open a run.

An epoch is what one completed IK handshake leaves behind: two keys, two indices, a send counter and a replay window.
A link has one epoch it sends with and may have others it still opens.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from meshnode.noise import NONCE, InvalidTag, ReplayWindow, TransportKeys, aead
from meshnode.wire.link import ESTABLISHED

_COUNTER = Struct("<Q")
_TIMESTAMP = Struct("<I")
_HEADER_SIZE = 16
_MIN_PLAINTEXT = 5


class Span(NamedTuple):
    """Frames of one epoch that opened with consecutive counters, for the measurement (spec 03 section 11.4)."""

    first_counter: int
    last_counter: int
    timestamp: int
    nbytes: int


class Opened(NamedTuple):
    """What came out of a run of established frames."""

    plaintexts: list[bytes]
    spans: list[Span]
    failures: int
    replays: int
    short: int


class LinkEpoch:
    """Keys and counters of one completed link handshake (spec 01 sections 2.5 and 4)."""

    __slots__ = (
        "born",
        "decrypt",
        "encrypt",
        "initiator",
        "our_index",
        "sealer",
        "send_counter",
        "their_index",
        "window",
    )

    def __init__(self, keys: TransportKeys, our_index: bytes, their_index: int, initiator: bool, now: float) -> None:
        self.sealer = aead(keys.send)
        self.encrypt = self.sealer.encrypt
        self.decrypt = aead(keys.receive).decrypt
        self.our_index = our_index
        self.their_index = their_index
        self.initiator = initiator
        self.send_counter = 0
        self.window = ReplayWindow()
        self.born = now

    def __repr__(self) -> str:
        return f"<LinkEpoch {self.our_index.hex()} sent {self.send_counter}>"


def seal_run(
    epoch: LinkEpoch, flags: int, timestamp: int, head: bytes, buffers: list[bytes], offset: int
) -> list[bytes]:
    """Seal one established frame per buffer: the message is `head` followed by `buffer[offset:]`.

    About 2.1 us per 1,200-byte packet, of which the AEAD takes 1.3.
    """
    encrypt, pack_header, pack_nonce = epoch.encrypt, ESTABLISHED.pack, NONCE.pack
    their_index = epoch.their_index
    counter = epoch.send_counter
    prefix = _TIMESTAMP.pack(timestamp) + head
    frames: list[bytes] = []
    append = frames.append
    for buffer in buffers:
        inner = prefix + (buffer[offset:] if offset else buffer)
        header = pack_header(0, flags, len(inner), their_index, counter)
        append(header + encrypt(pack_nonce(counter), inner, header))
        counter += 1
    epoch.send_counter = counter
    return frames


def open_run(epoch: LinkEpoch, frames: list[bytes]) -> Opened:
    """Open established frames of one epoch in order of arrival.

    Frames that are replayed, too old, forged or shorter than an inner header are left out and counted. A frame that
    is authentic but too short still uses up its counter (spec 01 section 5.2 step 4).
    """
    decrypt, pack_nonce, unpack_counter = epoch.decrypt, NONCE.pack, _COUNTER.unpack_from
    new, timestamp_of = tuple.__new__, _TIMESTAMP.unpack_from  # a named tuple's own constructor is a Python function
    window = epoch.window
    highest = window.highest
    plaintexts: list[bytes] = []
    append = plaintexts.append
    spans: list[Span] = []
    failures = replays = short = nbytes = 0
    first = last = -1
    plain = b""
    for frame in frames:
        (counter,) = unpack_counter(frame, 8)
        in_order = counter == highest + 1
        if not in_order and not window.check(counter):
            replays += 1
            continue
        try:
            opened = decrypt(pack_nonce(counter), frame[_HEADER_SIZE:], frame[:_HEADER_SIZE])
        except InvalidTag:
            failures += 1
            continue
        if in_order:
            highest = window.highest = counter
        else:
            window.accept(counter)
            highest = window.highest
        if len(opened) < _MIN_PLAINTEXT:
            short += 1
            continue
        if counter != last + 1 and nbytes:
            spans.append(new(Span, (first, last, *timestamp_of(plain), nbytes)))
            nbytes = 0
        if not nbytes:
            first = counter
        plain, last = opened, counter
        nbytes += len(frame)
        append(opened)
    if nbytes:
        spans.append(new(Span, (first, last, *timestamp_of(plain), nbytes)))
    return new(Opened, (plaintexts, spans, failures, replays, short))
