"""One key epoch of a session and the two hot functions of the session layer: seal a run, open a run.

An epoch is what one completed XK handshake leaves behind: two keys, a send counter and a replay window. A session
sends with one epoch and may hold up to two others it still or already opens (spec 02 section 5.6).
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError  # noqa: N812

from meshnode.noise import MAX_COUNTER, NONCE, InvalidTag, ReplayWindow, TransportKeys, aead
from meshnode.wire.session import CP, ENCRYPTED, INNER, U

from .errors import SessionError

MAX_PLAINTEXT = 65519

_SEAL_HEADER = Struct("<HHQ")  # version, phase and flags as one little-endian word; length; counter
_OPEN_HEADER = Struct("<IQ")
_NOT_PLAIN = 0xFF | (CP | U) << 8  # any of these bits: not an encrypted message without coordinates

Group = tuple[bytes, list[bytes]]
"""Plaintexts in a row that share their bytes 4..10, and those bytes: message type, inner flags and, for data, ports."""


class SessionEpoch:
    """Keys and counters of one completed XK handshake."""

    __slots__ = ("decrypt", "encrypt", "sealer", "send_counter", "window")

    def __init__(self, keys: TransportKeys) -> None:
        self.sealer = aead(keys.send)
        self.encrypt = self.sealer.encrypt
        self.decrypt = aead(keys.receive).decrypt
        self.send_counter = 0
        self.window = ReplayWindow()

    def __repr__(self) -> str:
        return f"<SessionEpoch sent {self.send_counter} highest {self.window.highest}>"

    def seal(self, flags: int, plaintext: bytes, coordinates: bytes = b"") -> bytes:
        """One encrypted message with the next counter; `coordinates` go in clear between header and ciphertext.

        Raises SessionError when the plaintext is too long or the counters are used up.
        """
        counter, size = self.send_counter, len(plaintext)
        if counter > MAX_COUNTER or size > MAX_PLAINTEXT:
            raise SessionError(f"cannot seal {size} bytes with counter {counter}")
        header = _SEAL_HEADER.pack(flags << 8, size, counter)
        self.send_counter = counter + 1
        return header + coordinates + self.encrypt(NONCE.pack(counter), plaintext, header)

    def open(self, header: bytes, counter: int, ciphertext: bytes) -> bytes | None:
        """The plaintext, or None for a replay and for what these keys did not seal; nothing changes then."""
        if not self.window.check(counter):
            return None
        try:
            plaintext = self.decrypt(NONCE.pack(counter), ciphertext, header)
        except InvalidTag:
            return None
        self.window.accept(counter)
        return plaintext


def seal_run(epoch: SessionEpoch, flags: int, inner: bytes, payloads: list[bytes]) -> list[bytes]:
    """Seal `inner` (inner header and ports) followed by each payload, with consecutive counters.

    Raises SessionError when a payload is too long or the counters are used up; then no counter is used up: what was
    sealed until then is dropped. About 1.9 us per 1,200-byte packet, of which the AEAD takes 1.55.
    """
    encrypt, pack_header, pack_nonce = epoch.encrypt, _SEAL_HEADER.pack, NONCE.pack
    counter = epoch.send_counter
    word, overhead = flags << 8, len(inner)
    if counter + len(payloads) > MAX_COUNTER + 1:
        raise SessionError("the session's counters are used up")
    messages: list[bytes] = []
    append = messages.append
    for payload in payloads:
        size = overhead + len(payload)
        if size > MAX_PLAINTEXT:
            raise SessionError(f"a message cannot carry {size} bytes")
        header = pack_header(word, size, counter)
        append(header + encrypt(pack_nonce(counter), inner + payload, header))
        counter += 1
    epoch.send_counter = counter
    return messages


def open_run(epoch: SessionEpoch, messages: list[bytes], start: int, offset: int) -> list[Group]:
    """Open encrypted messages from index `start` on, as long as they come in order under this epoch's keys.

    Each message begins at `offset` of its buffer. Stops before the first one that carries coordinates, is out of
    order, is not an encrypted message or does not open: such a message takes the slow path, which judges it. How many
    were opened shows in `epoch.window.highest`. Plaintexts without a whole inner header are opened and left out.
    """
    decrypt, unpack_header, pack_nonce = epoch.decrypt, _OPEN_HEADER.unpack, NONCE.pack
    body = offset + ENCRYPTED.size
    expected = epoch.window.highest + 1
    groups: list[Group] = []
    group: list[bytes] = []
    append = group.append
    kind: bytes | None = None
    try:
        for buffer in messages[start:] if start else messages:
            header = buffer[offset:body]
            word, counter = unpack_header(header)
            if counter != expected or word & _NOT_PLAIN:
                break
            plaintext = decrypt(pack_nonce(counter), buffer[body:], header)
            expected += 1
            if plaintext[4:10] == kind:
                append(plaintext)
            elif len(plaintext) >= INNER.size:
                kind = plaintext[4:10]
                group = [plaintext]
                append = group.append
                groups.append((kind, group))
    except (InvalidTag, StructError):
        pass
    epoch.window.highest = expected - 1
    return groups
