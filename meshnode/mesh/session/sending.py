"""Data on its way out: sealed in runs, with coordinates while the path is being warmed (spec 02 sections 5.7 and 8)."""

from __future__ import annotations

from meshnode.wire.session import CP, DATA_INNER, DATA_PACKET, K

from .core import Core
from .epoch import seal_run
from .errors import SessionNotReady
from .session import Session

DATA_OVERHEAD = 26  # inner header, ports and tag: what a ciphertext has more than its service payload
FRAME_OVERHEAD = 110  # what a link frame has more than the service payload and the coordinates in it


class Sending:
    """Seals service payloads of established sessions."""

    __slots__ = ("_core",)

    def __init__(self, core: Core) -> None:
        self._core = core

    def seal(
        self, session: Session, source_port: int, destination_port: int, payloads: list[bytes], now: float
    ) -> list[bytes]:
        """Whole session messages in the order they have to leave in; CoordsWarmups may be among them."""
        epoch, measurement = session.current, session.measurement
        if epoch is None:
            raise SessionNotReady(f"no session with {session.address.hex()}")
        timestamp = int((now - session.session_start) * 1000) & 0xFFFFFFFF
        inner = DATA_INNER.pack(timestamp, DATA_PACKET, measurement.spin_bit, source_port, destination_port)
        count, size = len(payloads), sum(map(len, payloads))
        if session.warmup_remaining:
            messages = self._seal_warming(session, inner, payloads, timestamp, now)
        else:
            first = epoch.send_counter
            messages = seal_run(epoch, K if session.k else 0, inner, payloads)
            measurement.sent(first, first + count - 1, timestamp, size + DATA_OVERHEAD * count)
        evidence = session.path_mtu.evidence
        if evidence is not None:
            evidence.sent(epoch.send_counter - 1, [len(payload) + FRAME_OVERHEAD for payload in payloads], now)
        session.packets_sent += count
        session.bytes_sent += size
        session.last_activity = now
        if not session.unheard:
            session.offer_at = now + session.patience
            if session.offer_at < session.wake_at:
                self._core.wake(session, session.offer_at)
        session.unheard += count
        return messages

    def _seal_warming(
        self, session: Session, inner: bytes, payloads: list[bytes], timestamp: int, now: float
    ) -> list[bytes]:
        """As `seal_run`, the first payloads with our coordinates beside them, or before them where they do not fit."""
        epoch = session.current
        if epoch is None:
            return []
        coordinates = self._core.coordinate_pair(session.address, now)
        room = min(self._core.transport_mtu, session.path_mtu.current) - FRAME_OVERHEAD - len(coordinates)
        messages: list[bytes] = []
        for payload in payloads:
            flags, clear = session.k_flag, b""
            if session.warmup_remaining:
                session.warmup_remaining -= 1
                if len(payload) <= room:
                    flags, clear = flags | CP, coordinates
                else:
                    messages.append(self._core.warmup(session, coordinates, now))
            counter = epoch.send_counter
            messages.append(epoch.seal(flags, inner + payload, clear))
            session.measurement.sent(counter, counter, timestamp, len(payload) + DATA_OVERHEAD)
        return messages
