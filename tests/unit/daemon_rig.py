"""How the reference v0.4.1 renews the keys of a link and of a session, as far as the specification tells.

Spec 01 sections 5.2, 7.4, 8 and 18.1, spec 02 section 7. It uses keys of a link that it answered with from its next
tick on, whether or not the answer arrived, and repeats no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from meshnode.identity import PeerIdentity
from meshnode.mesh.link.epoch import LinkEpoch, open_run, seal_run
from meshnode.mesh.link.events import Path
from meshnode.mesh.session.answers import ArmedAnswer
from meshnode.mesh.session.core import REKEY_JITTERS
from meshnode.mesh.session.rekey import DAMPENING, Rekeying
from meshnode.mesh.session.revival import Revival
from meshnode.mesh.session.session import NEVER, Session, SessionState
from meshnode.noise import IkInitiator, IkResponder, NoiseError, TransportKeys
from meshnode.wire.link import DISCONNECT, FLAG_K, Heartbeat, Msg1, Msg2
from meshnode.wire.session import SessionAck, SessionMessage3, SessionSetup

from .link_rig import LinkHost
from .session_rig import Node

_YOUNG = _DAMPENING = _LINK_DEAD = 30.0
_DRAIN = 10.0
_FAILURES = 20
_RESENDS = (1.0, 3.0, 7.0, 15.0, 31.0)


class Run(NamedTuple):
    """What `LinkNet` reads of plaintexts that arrived."""

    peer: object
    plaintexts: list[bytes]


@dataclass
class Question:
    """A dial or a renewal it started."""

    noise: IkInitiator
    index: bytes
    frame: bytes
    started: float
    copies: int = 0


class Daemon:
    """A reference node reduced to one link; it takes a `LinkHost`'s place in a `LinkNet`.

    It ticks `phase` seconds after every full one, and renews keys `renews_at` seconds old.
    """

    def __init__(self, host: LinkHost, phase: float = 0.5, renews_at: float = float("inf")) -> None:
        self.name, self.identity = host.name, host.identity
        self.phase, self.renews_at = phase, renews_at
        self.entropy = host.layer._table.entropy
        self.epoch = self.entropy(8)
        self.layer = self
        self.events: list[object] = []
        self.received: list[bytes] = []
        self.outbound: list[tuple[Path, bytes]] = []
        self.renewals = self.resets = 0
        self.next_tick = phase
        self.remote: PeerIdentity | None = None
        self._forget()

    def _forget(self) -> None:
        self.current: LinkEpoch | None = None
        self.pending: LinkEpoch | None = None
        self.previous: LinkEpoch | None = None
        self.question: Question | None = None
        self.first_reply: bytes | None = None
        self.answered_at = self.drain_from = float("-inf")
        self.k = self.failures = 0

    # -- what a net asks of a layer

    def drain_outbound(self) -> list[tuple[Path, bytes]]:
        outbound, self.outbound = self.outbound, []
        return outbound

    def drain_events(self) -> list[object]:
        return []

    def next_deadline(self) -> float:
        return self.next_tick

    def tick(self, now: float) -> None:
        """The net's ticks come on full seconds, this node's do not."""

    def handle_timeout(self, now: float) -> None:
        while self.next_tick <= now:
            self.next_tick += 1.0
            if self.current is not None:
                self._tick(now)

    def message(self, peer: object, message_type: int, body: bytes, now: float) -> None:
        if message_type == DISCONNECT:
            self._lose()

    def receive(self, transport_id: int, address: str, frames: list[bytes], now: float) -> list[Run]:
        path = (transport_id, address)
        handlers = {1: self._message1, 2: self._message2}
        runs = []
        for frame in frames:
            if frame[0]:
                handlers[frame[0]](path, frame, now)
            else:
                runs += self._established(path, frame, now)
        return runs

    def dial(self, remote: PeerIdentity, path: Path, now: float) -> None:
        """Once: it repeats nothing of this."""
        self._ask(remote, path, now)

    # -- frames

    def say(self, message: bytes, now: float) -> None:
        if self.current is not None:
            flags = FLAG_K if self.k else 0
            stamp = int((now - self.since) * 1000)
            self.outbound += [(self.path, frame) for frame in seal_run(self.current, flags, stamp, b"", [message], 0)]

    def _established(self, path: Path, frame: bytes, now: float) -> list[Run]:
        living = [epoch for epoch in (self.current, self.pending, self.previous) if epoch is not None]
        if frame[4:8] not in [epoch.our_index for epoch in living]:
            return []
        # It looks at pending keys only when the K bit is not its own.
        flipped = (frame[1] & FLAG_K) != self.k
        for epoch in (self.pending if flipped else None, self.current, self.previous):
            if epoch is None:
                continue
            opened = open_run(epoch, [frame])
            if opened.plaintexts:
                if epoch is self.pending:
                    self._cut_over(now)
                self.path, self.last_heard, self.failures = path, now, 0
                return [Run(self, opened.plaintexts)]
        self.failures += 1
        if self.failures >= _FAILURES:
            self._lose()
        return []

    def _message1(self, path: Path, frame: bytes, now: float) -> None:
        noise = IkResponder(self.identity, self.epoch)
        message = Msg1.parse(frame)
        noise.read_message1(message.noise)
        if self.current is not None and noise.remote_epoch != self.remote_epoch:
            self._lose()
        if self.current is None:
            epoch, self.first_reply = self._answer(path, message.sender_index, noise, now)
            self._promote(noise, path, epoch, now)
        elif now - self.since < _YOUNG:
            self.outbound += [(path, self.first_reply)] if self.first_reply else []
        elif self.pending is None and not self._stays_initiator():
            self.question = None
            self.pending, _ = self._answer(path, message.sender_index, noise, now)
            self.answered_at = now

    def _stays_initiator(self) -> bool:
        assert self.remote is not None
        return self.question is not None and self.identity.node_addr < self.remote.node_addr

    def _answer(self, path: Path, their_index: int, noise: IkResponder, now: float) -> tuple[LinkEpoch, bytes]:
        index = self.entropy(4)
        message2 = noise.write_message2(self.entropy(32))
        reply = Msg2(int.from_bytes(index, "little"), their_index, message2).encode()
        self.outbound.append((path, reply))
        return LinkEpoch(noise.keys, index, their_index, False, now), reply

    def _message2(self, path: Path, frame: bytes, now: float) -> None:
        message, question = Msg2.parse(frame), self.question
        if question is None or message.receiver_index.to_bytes(4, "little") != question.index:
            return
        self.question = None
        try:
            keys: TransportKeys = question.noise.read_message2(message.noise)
        except NoiseError:
            return
        epoch = LinkEpoch(keys, question.index, message.sender_index, True, now)
        if self.current is None:
            self._promote(question.noise, path, epoch, now)
            self.say(Heartbeat().encode(), now)
        else:
            self.pending = epoch

    def _promote(self, noise: IkInitiator | IkResponder, path: Path, epoch: LinkEpoch, now: float) -> None:
        self.remote, self.remote_epoch, self.current = noise.remote, noise.remote_epoch, epoch
        self.path, self.since, self.last_heard, self.heartbeat_at = path, now, now, now

    # -- time

    def _tick(self, now: float) -> None:
        self._repeat_question(now)
        asking = self.question is not None and self.question.copies < len(_RESENDS)
        if now - self.last_heard >= _LINK_DEAD and not asking:
            self._lose()
            return
        if now - self.heartbeat_at >= 10.0:
            self.heartbeat_at = now
            self.say(Heartbeat().encode(), now)
        if self.pending is not None:
            self._cut_over(now)
            return
        if now - self.drain_from >= _DRAIN:
            self.previous = None
        if self.question is None and now - self.answered_at >= _DAMPENING and now - self.since >= self.renews_at:
            assert self.remote is not None
            self._ask(self.remote, self.path, now)

    def _ask(self, remote: PeerIdentity, path: Path, now: float) -> None:
        noise, index = IkInitiator(self.identity, remote, self.epoch, self.entropy(32)), self.entropy(4)
        frame = Msg1(int.from_bytes(index, "little"), noise.message1()).encode()
        self.question = Question(noise, index, frame, now)
        self.outbound.append((path, frame))

    def _repeat_question(self, now: float) -> None:
        question = self.question
        if question is None:
            return
        if question.copies == len(_RESENDS):
            self.question = None
        elif now - question.started >= _RESENDS[question.copies]:
            question.copies += 1
            self.outbound.append((self.path, question.frame))

    def _cut_over(self, now: float) -> None:
        self.previous, self.current, self.pending = self.current, self.pending, None
        self.k = 0 if self.k else FLAG_K
        self.since = self.drain_from = now
        self.renewals += 1
        self.question = None

    def _lose(self) -> None:
        self.resets += 1
        self._forget()


class DaemonRekeying(Rekeying):
    """What it does about renewals of sessions: no repeat of a Setup or an Ack, no end to waiting for an Ack."""

    def take_setup(self, session: Session, setup: SessionSetup, link_peer: bytes, now: float) -> None:
        counters, rekey = self._core.counters, session.rekey
        if not rekey.idle and self._core.own < session.address:
            counters.rekey_tiebreak += 1
            return
        if not rekey.idle:
            rekey.clear_handshake()
        if session.pending is not None and now - rekey.completed <= self._core.settings.session.idle_timeout_secs:
            counters.rekey_pending += 1
            return
        rekey.last_peer_rekey = now
        self._arm(session, setup, link_peer, now)

    def take_message3(self, session: Session, message: SessionMessage3, now: float) -> None:
        armed = session.rekey.armed
        super().take_message3(session, message, now)
        armed.clear()

    def take_ack(self, session: Session, ack: SessionAck, now: float) -> bool | None:
        noise = session.rekey.noise
        answered = super().take_ack(session, ack, now)
        if answered is not None:
            session.rekey.message3_due = self._core.resend_at(0, now)
        elif noise is not None:
            session.rekey.clear_own()
        return answered

    def _ask_anew(self, session: Session, now: float) -> None:
        session.rekey.setup_due = NEVER

    def _answer_again(self, session: Session, answer: ArmedAnswer, now: float) -> None:
        answer.due = NEVER

    def tick(self, session: Session, now: float) -> None:
        if session.rekey.noise is not None:
            session.rekey.sent_at = now  # it waits for ever
        super().tick(session, now)

    def _due(self, session: Session, now: float) -> bool:
        settings, rekey, epoch = self._core.settings.rekey, session.rekey, session.current
        if epoch is None or session.pending is not None or rekey.message3 is not None:
            return False
        jitter = 2 * rekey.jitter - sum(REKEY_JITTERS)  # from -15 to 15
        recently = now - rekey.last_peer_rekey < DAMPENING
        return not recently and now - session.session_start >= settings.after_secs + jitter

    def _cut_over(self, session: Session, now: float) -> None:
        self.promote(session, now)


class NoRevival(Revival):
    """It notices no silence."""

    def serve(self, session: Session, now: float) -> None:
        return


class DaemonSessions(Node):
    """A reference node reduced to its sessions; it takes a `Node`'s place."""

    def restart(self) -> None:
        super().restart()
        layer = self.layer
        rekeying = DaemonRekeying(layer._core)
        layer._rekeying = layer._receiving._rekeying = rekeying
        layer._revival = NoRevival(layer._core, rekeying)
        layer._on_setup[SessionState.ESTABLISHED] = rekeying.take_setup
