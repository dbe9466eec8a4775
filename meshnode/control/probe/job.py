"""One probe as a machine that is driven by `step` (spec 06 section 7.3)."""

from __future__ import annotations

from collections.abc import Callable

from meshnode.identity import PeerIdentity
from meshnode.mesh.coordinates import Coordinates, distance
from meshnode.mesh.mmp.quality import Quality
from meshnode.mesh.session import CloseReason, Session
from meshnode.node.core import Node

from .stage import Stage, Verdict

_SECOND_WARMUP_AFTER = 1.0
_SETTLE_SECS = 0.5


class Job:
    """A probe of `identity` from `node`. The order of `stages` is the order they are run in.

    A stage that ends hands over within the same step. Lookups and sessions of the probe are those any packet would
    cause; a session the probe opened is closed again unless somebody else began to use it.
    """

    def __init__(self, node: Node, number: int, identity: PeerIdentity, now: float) -> None:
        tick = float(node.settings.tick_interval_secs)
        ladder = float(sum(node.settings.lookup.attempt_timeouts_secs))
        self.node, self.number, self.identity = node, number, identity
        self.target = identity.node_addr
        self.began = now
        self.bloom = Stage(2 * tick, "no_response")
        self.discovery = Stage(ladder + 2 * tick, "no_response")
        self.path = Stage(0.0, "no_next_hop")
        self.session = Stage(max(5.0, 3 * tick), "handshake_timeout")
        self.rtt = Stage(max(3.0, 4 * tick), "no_report")
        self.stages = (self.bloom, self.discovery, self.path, self.session, self.rtt)
        self.budget = sum(stage.budget for stage in self.stages)
        self.ended_at: float | None = None
        self.is_done = self.is_cancelled = False
        self.fanout: int | None = None
        self.attempts: int | None = None
        self.source: str | None = None
        self.their_coordinates: Coordinates | None = None
        self.our_coordinates: Coordinates | None = None
        self.hop: bytes | None = None
        self.lookup_issued = self.joined_lookup = False
        self.warmups_sent = 0
        self.identity_was_cached = node.identities.peek_exact(self.target) is not None
        self.coords_were_cached = self._coordinates(now) is not None
        self.preexisting = node.sessions.sessions.get(self.target) is not None
        self.path_mtu: int | None = None
        self.was_established = False
        self.torn_down = False
        self.left_intact_reason: str | None = None
        self._session: Session | None = None
        self._quality: Quality | None = None
        self._before = (0, 0, 0, 0)
        node.register(identity, node.names.aliases.get(self.target))
        self._handlers: tuple[Callable[[float], None], ...] = (
            self._do_bloom,
            self._do_discovery,
            self._do_path,
            self._do_session,
            self._do_rtt,
        )

    # -- driving

    def step(self, now: float) -> None:
        """Go on as far as possible."""
        if self.is_done:
            return
        if self.ended_at is None:
            self._advance(now)
        elif now - self.ended_at >= _SETTLE_SECS or self._session is None:
            self._clean_up()

    def cancel(self, now: float) -> None:
        """Make an end at once; what runs counts as failed."""
        if self.is_done:
            return
        self.is_cancelled = True
        if self.ended_at is None:
            self._stop(now)
        self._clean_up()

    def _advance(self, now: float) -> None:
        for stage, handler in zip(self.stages, self._handlers, strict=True):
            if stage.has_ended:
                continue
            handler(now)
            if not stage.has_ended and now - self.began >= self.budget:
                stage.fail(now, stage.late_reason)
            if not stage.has_ended:
                return
            if stage.verdict is Verdict.FAILED and stage is not self.path:
                self._stop(now)
                return
        self.ended_at = now

    def _stop(self, now: float) -> None:
        """Leave out whatever was not reached."""
        for stage in self.stages:
            if stage.verdict is Verdict.RUNNING:
                stage.verdict, stage.reason = Verdict.FAILED, stage.late_reason
            elif stage.verdict is Verdict.PENDING:
                stage.leave_out()
        self.ended_at = now

    # -- is the target claimed by a filter, and does a lookup answer

    def _coordinates(self, now: float) -> Coordinates | None:
        return self.node.router.coordinates_for(self.target, now)

    def is_direct(self) -> bool:
        """Whether the target is a peer that can be sent to."""
        peer = self.node.links.peers.get(self.target)
        return peer is not None and not peer.distrusted

    def _do_bloom(self, now: float) -> None:
        self.bloom.begin(now)
        if self._coordinates(now) is not None:
            self.source = "cache"
            self.bloom.skip(now, "cached")
        elif self.is_direct():
            self.source = "direct_peer"
            self.bloom.skip(now, "direct_peer")
        else:
            self._look_up(now)

    def _look_up(self, now: float) -> None:
        """Start a lookup, or join one. An operator who asks need not wait for the back-off of an earlier failure."""
        lookups = self.node.router.lookups
        self.joined_lookup = self.target in lookups.pending
        lookups.backoff.forget(self.target)
        misses = lookups.counters.req_bloom_miss
        self.node.run(lambda moment: self._start_lookup(moment))
        pending = lookups.pending.get(self.target)
        self.lookup_issued = not self.joined_lookup
        if pending is not None:
            self.fanout, self.attempts = len(pending.asked), pending.attempt
            self.bloom.succeed(now)
        elif self._coordinates(now) is not None:
            self.bloom.succeed(now)
        else:
            self.bloom.fail(now, "bloom_miss" if lookups.counters.req_bloom_miss > misses else "no_tree_peers")

    def _start_lookup(self, now: float) -> None:
        self.node.router.lookup(self.target, now)

    def _do_discovery(self, now: float) -> None:
        if not self.lookup_issued and not self.joined_lookup:
            self.discovery.begin(now)
            self.discovery.skip(now, self.bloom.reason or "cached")
            return
        self.discovery.begin(now)
        pending = self.node.router.lookups.pending.get(self.target)
        if pending is not None:
            self.attempts = pending.attempt
        if self._coordinates(now) is not None:
            self.source = "lookup"
            self.discovery.succeed(now)
        elif pending is None or self.discovery.is_late(now):
            self.discovery.fail(now, "already_pending" if self.joined_lookup else "bloom_unconfirmed")

    # -- which way a packet would take

    def _do_path(self, now: float) -> None:
        self.path.begin(now)
        self.hop = self.node.router.next_hop(self.target, now)
        self.their_coordinates = self._coordinates(now)
        self.our_coordinates = self.node.router.own_coordinates
        if self.their_coordinates is None:
            if self.is_direct():
                self.path.skip(now, "direct_peer")
            else:
                self.path.fail(now, "no_next_hop")
        elif self.their_coordinates[-1] != self.our_coordinates[-1]:
            self.path.fail(now, "disjoint_trees")
        elif self.hop is None:
            self.path.fail(now, "no_next_hop")
        else:
            self.path.succeed(now)

    def no_hop_reason(self) -> str | None:
        """Why there is no next hop, in one word; None when there is one."""
        if self.hop is not None:
            return None
        if self.their_coordinates is None or self.our_coordinates is None:
            return "no_coords"
        if self.their_coordinates[-1] != self.our_coordinates[-1]:
            return "disjoint_trees"
        nearer = distance(self.our_coordinates, self.their_coordinates)
        neighbours = self.node.router.neighbours.values()
        positions = [n.position.coordinates for n in neighbours if n.position is not None]
        is_nearer = any(distance(position, self.their_coordinates) < nearer for position in positions)
        return "hop_not_send_ready" if is_nearer else "no_closer_peer"

    # -- does a session come up

    def _do_session(self, now: float) -> None:
        first = self.session.begin(now)
        session = self.node.sessions.sessions.get(self.target)
        if session is not None and session.established:
            self._established(session, now)
        elif session is None and (first or self.preexisting):
            self.preexisting = False
            self.node.run(lambda moment: self.node.sessions.open(self.identity, moment))
            self._session = self.node.sessions.sessions.get(self.target)
        elif self.session.is_late(now) and self.preexisting:
            self.session.skip(now, "preexisting")
            self.rtt.leave_out()
        elif self.session.is_late(now):
            self.session.fail(now, "handshake_timeout")

    def _established(self, session: Session, now: float) -> None:
        self.was_established = True
        self.path_mtu = session.path_mtu.current
        self._quality = session.measurement.quality
        if self.preexisting:
            self.left_intact_reason = "preexisting"
            self.session.skip(now, "preexisting")
        else:
            self.session.succeed(now)

    # -- how long is the round trip

    def _do_rtt(self, now: float) -> None:
        quality = self._quality
        if quality is None:
            self.rtt.leave_out()
            return
        if self.rtt.begin(now):
            self._before = _readings(quality)
            self._warm(now)
        reports, samples, zeros, failures = self.deltas()
        if samples or zeros:
            self.rtt.succeed(now, None if samples else "sub_millisecond")
        elif self.rtt.is_late(now):
            self.rtt.fail(now, "bad_timestamp_echo" if failures else "no_echo" if reports else "no_report")
        elif self.warmups_sent == 1 and not reports and now - self.rtt.began >= _SECOND_WARMUP_AFTER:
            self._warm(now)

    def _warm(self, now: float) -> None:
        self.warmups_sent += 1
        self.node.run(lambda moment: self.node.sessions.warm(self.target, moment))

    def deltas(self) -> tuple[int, int, int, int]:
        """Reports, samples, samples of 0 ms and echoes that make no sense, since the stage began."""
        if self._quality is None or self.rtt.verdict is Verdict.PENDING:
            return 0, 0, 0, 0
        now, before = _readings(self._quality), self._before
        return now[0] - before[0], now[1] - before[1], now[2] - before[2], now[3] - before[3]

    @property
    def srtt_ms(self) -> float | None:
        srtt_us = None if self._quality is None else self._quality.rtt.srtt_us
        return None if srtt_us is None else srtt_us / 1000

    @property
    def rtt_ms(self) -> int | None:
        """The last sample, once there was one."""
        sample = None if self._quality is None else self._quality.last_rtt_ms
        return sample if self.rtt.verdict is Verdict.OK else None

    # -- the end

    def _clean_up(self) -> None:
        """Close the session if it is ours and nobody else uses it."""
        self.is_done = True
        session = self._session
        if session is None:
            return
        present = self.node.sessions.sessions.get(self.target)
        if present is None:
            return
        if present is not session:
            self.left_intact_reason = "replaced"
        elif session.packets_sent or session.packets_received or not session.is_initiator:
            self.left_intact_reason = "adopted_by_traffic"
        else:
            self.torn_down = True
            self.node.run(lambda moment: self.node.sessions.remove(self.target, CloseReason.IDLE))


def _readings(quality: Quality) -> tuple[int, int, int, int]:
    return quality.reports_seen, quality.rtt_samples, quality.zero_samples, quality.arith_failures
