"""Encrypted messages on their way in (spec 02 sections 5.5 and 5.6).

In-order runs under the current keys take the fast path; every other message is judged alone.
"""

from __future__ import annotations

from meshnode.mesh.mmp.path_mtu import MTU_FLOOR
from meshnode.wire import PathMtuNotification, ReceiverReport, WireError
from meshnode.wire.session import (
    DATA_INNER,
    DATA_PACKET,
    ENCRYPTED,
    INNER,
    PATH_MTU_NOTIFICATION,
    PORTS,
    SESSION_RECEIVER_REPORT,
    SESSION_SENDER_REPORT,
    SPIN_BIT,
    EncryptedMessage,
    K,
)

from .core import Core
from .epoch import SessionEpoch, open_run
from .events import Delivery, PathMtuChanged
from .rekey import Rekeying
from .revival import Revival
from .session import Session

_DATA_KIND_SIZE = 6


class Arrival:
    """Where a run of messages came from, under which circumstances, and what came out of it so far."""

    __slots__ = ("ce", "deliveries", "link_peer", "now", "path_mtu", "source")

    def __init__(self, source: bytes, link_peer: bytes, path_mtu: int, ce: bool, now: float) -> None:
        self.source = source
        self.link_peer = link_peer
        self.path_mtu = path_mtu
        self.ce = ce
        self.now = now
        self.deliveries: list[Delivery] = []


PLAINTEXT_OVERHEAD = 100
"""What a link frame has more than the session plaintext in it, which is what reports count."""


class Receiving:
    """Opens messages of established sessions and acts on what is in them."""

    __slots__ = ("_core", "_rekeying", "_revival")

    def __init__(self, core: Core, rekeying: Rekeying, revival: Revival) -> None:
        self._core = core
        self._rekeying = rekeying
        self._revival = revival

    def open_in_order(
        self, session: Session, epoch: SessionEpoch, messages: list[bytes], start: int, offset: int, arrival: Arrival
    ) -> int:
        """The fast path from index `start` on; returns the index of the first message it left."""
        first = epoch.window.highest + 1
        groups = open_run(epoch, messages, start, offset)
        last = epoch.window.highest
        if groups:
            if session.unproven is not None or session.rekey.message3 is not None:
                self._rekeying.authenticated(session, epoch, arrival.now)
            nbytes = 0
            for kind, plaintexts in groups:
                size = sum(map(len, plaintexts))
                nbytes += size
                self._dispatch(session, kind, plaintexts, size, arrival)
            self._note(session, epoch, plaintexts[-1], nbytes, first, last, arrival)
        return start + last + 1 - first

    def open_one(self, session: Session, raw: bytes, message: EncryptedMessage, arrival: Arrival) -> None:
        """The slow path for the message `raw`: any order, any living keys, coordinates already taken off."""
        header, counter = raw[: ENCRYPTED.size], message.header.counter
        for epoch in self._trial_order(session, bool(message.header.flags & K)):
            plaintext = epoch.open(header, counter, message.ciphertext)
            if plaintext is not None:
                break
        else:
            self._core.counters.undecryptable += 1
            return
        self._rekeying.authenticated(session, epoch, arrival.now)
        if message.source_coordinates:
            self._core.coordinates.learn_coordinates(session.address, message.source_coordinates, arrival.now)
        if len(plaintext) < INNER.size:
            return
        kind = plaintext[4:10]
        self._note(session, epoch, plaintext, len(plaintext), counter, counter, arrival)
        self._dispatch(session, kind, [plaintext], len(plaintext), arrival)

    def _trial_order(self, session: Session, k: bool) -> list[SessionEpoch]:
        """Keys to try, best guess first. The K bit is a hint and no more: two peers' bits can stay opposite."""
        current, pending, previous = session.current, session.pending, session.previous
        order = (pending, current, previous) if k != session.k else (current, pending, previous)
        return [epoch for epoch in order if epoch is not None]

    def _note(
        self,
        session: Session,
        epoch: SessionEpoch,
        latest: bytes,
        nbytes: int,
        first: int,
        last: int,
        arrival: Arrival,
    ) -> None:
        """Account for authentic messages with consecutive counters, `latest` being the plaintext of the last.

        Messages under draining keys are not measured: their counters would hide those of the new keys for a long time.
        """
        now, measurement = arrival.now, session.measurement
        if epoch is not session.previous:
            timestamp, _type, inner_flags = INNER.unpack_from(latest)
            ce_frames = last - first + 1 if arrival.ce else 0
            measurement.received_run(first, last, timestamp, nbytes, ce_frames, now)
            measurement.spin_received(inner_flags & SPIN_BIT, last, now)
        session.path_mtu.observe(arrival.path_mtu)
        session.last_heard = now
        session.heard_through = arrival.link_peer
        session.unheard = 0
        if session.offers:
            self._revival.heard(session)

    def _dispatch(self, session: Session, kind: bytes, plaintexts: list[bytes], nbytes: int, arrival: Arrival) -> None:
        if kind[0] != DATA_PACKET:
            for plaintext in plaintexts:
                self._control(session, kind[0], plaintext[INNER.size :], arrival.now)
        elif len(kind) == _DATA_KIND_SIZE:
            session.packets_received += len(plaintexts)
            session.bytes_received += nbytes - INNER.size * len(plaintexts)
            self._deliver(session, kind, plaintexts, arrival)

    def _deliver(self, session: Session, kind: bytes, plaintexts: list[bytes], arrival: Arrival) -> None:
        source_port, destination_port = PORTS.unpack_from(kind, 2)
        session.last_activity = arrival.now
        deliveries = arrival.deliveries
        if deliveries:
            last = deliveries[-1]
            if last.source_port == source_port and last.destination_port == destination_port and last.ce == arrival.ce:
                last.buffers += plaintexts
                return
        deliveries.append(
            Delivery(arrival.source, source_port, destination_port, plaintexts, DATA_INNER.size, arrival.ce)
        )

    def _control(self, session: Session, message_type: int, body: bytes, now: float) -> None:
        """Messages between the session layers; unknown types and malformed bodies end here."""
        try:
            if message_type == SESSION_RECEIVER_REPORT:
                self._receiver_report(session, ReceiverReport.parse_session(body), now)
            elif message_type == SESSION_SENDER_REPORT:
                self._expect_reports(session)
            elif message_type == PATH_MTU_NOTIFICATION:
                self._path_mtu(session, PathMtuNotification.parse_session(body).path_mtu, now)
        except WireError:
            return

    def _receiver_report(self, session: Session, report: ReceiverReport, now: float) -> None:
        session.measurement.receiver_report(report, session.timestamp(now), now)
        session.reported_at, session.sent_by_report = now, session.measurement.sender.packets_sent
        if report.interval_packets_recv:
            mean = report.interval_bytes_recv // report.interval_packets_recv
            session.path_mtu.carried(mean + PLAINTEXT_OVERHEAD, now)
        session.path_mtu.reported(report.highest_counter, report.cumulative_packets_recv, now)
        srtt_ms = session.measurement.srtt_ms
        if srtt_ms is not None:
            session.path_mtu.set_srtt(srtt_ms)
        self._expect_reports(session)

    def _expect_reports(self, session: Session) -> None:
        session.peer_reports = True
        self._revival.update_patience(session)

    def _path_mtu(self, session: Session, mtu: int, now: float) -> None:
        if mtu < MTU_FLOOR:
            self._core.errors.path_mtu_notif_below_floor += 1
        elif session.path_mtu.apply(mtu, now):
            self._core.events.append(PathMtuChanged(session.address, session.path_mtu.current))
