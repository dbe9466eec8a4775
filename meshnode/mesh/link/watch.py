"""Looking after the peers in time: reports, heartbeats, silence, rekeys (spec 01 sections 8.1, 9 and 12)."""

from __future__ import annotations

from meshnode.wire.link import Heartbeat

from .events import TrustChanged
from .initiator import Initiator
from .peer import PeerLink
from .responder import MIN_REKEY_AGE
from .table import LinkTable

LINK_DEAD = "link dead: nothing heard"
_EARLY_REPORTS = (0.1, 0.3, 0.7)
"""Seconds after promotion at which reports leave besides the ticks: a link should be measured before it is judged."""

_BUSY_FRAMES = 20
_NUDGE_AFTER = 0.25
_SIGNS_OF_LIFE = 3
_REFUSED_FRAMES = 2
_REFUSED_SECS = 5.0
_FRESH_KEYS_SECS = 2.0
_SOUNDINGS = 5
_SOUNDING_GAP = 0.15
MESSAGE_OVERHEAD = 36
MIN_FRAME = MESSAGE_OVERHEAD + 1
_NEVER = float("inf")


class Watch:
    """Does for every peer what is due. `table.watch_at` is when something is due before the next tick."""

    def __init__(self, table: LinkTable, initiator: Initiator) -> None:
        self._table = table
        self._initiator = initiator

    def next_deadline(self) -> float | None:
        """When `handle_timeout` wants to be called."""
        return None if self._table.watch_at == _NEVER else self._table.watch_at

    def handle_timeout(self, now: float) -> None:
        """Judge the silent peers, and report to the new ones."""
        table = self._table
        if now < table.watch_at:
            return
        for peer in list(table.peers.values()):
            if now - peer.promoted_at <= _EARLY_REPORTS[-1] + 0.1:
                self._report(peer, now)
            self._sound(peer, now)
            self._nudge(peer, now)
            self._judge(peer, now)
        self._set_alarm(now)

    def tick(self, now: float) -> None:
        """Everything that recurs, for every peer."""
        table, settings = self._table, self._table.settings
        for peer in list(table.peers.values()):
            if now - peer.last_heard >= settings.link_dead_timeout_secs:
                table.remove(peer, LINK_DEAD, redial=True)
                continue
            self._report(peer, now)
            last = peer.last_heartbeat
            if last is None or now - last >= settings.heartbeat_interval_secs:
                table.heartbeat(peer, now)
            table.end_drains(peer, now)
            self._initiator.renew(peer, now)
            self.probe_mtu(peer, now)
            self._judge(peer, now)
            peer.busy = peer.packets_recv - peer.packets_at_tick >= _BUSY_FRAMES
            peer.packets_at_tick = peer.packets_recv
            if peer.measurement.quality.is_vague() and peer.sounding_budget.allow(now):
                peer.soundings = _SOUNDINGS
        self._set_alarm(now)

    def _report(self, peer: PeerLink, now: float) -> None:
        reports = peer.measurement.reports_due(now)
        if reports:
            self._table.send_all(peer, reports, now)

    def probe_mtu(self, peer: PeerLink, now: float) -> None:
        """Send the padded frames that are due, between short ones, so that no other gap joins theirs."""
        probe = peer.mtu_probe
        if probe is None or peer.doubtful or not peer.trust.expectant:
            return
        sizes = probe.due(now)
        if sizes:
            probe.sent(sizes, peer.current, peer.current.send_counter + 1, now)
            for size in (MIN_FRAME, *sizes, MIN_FRAME):
                self._table.send(peer, Heartbeat().encode().ljust(size - MESSAGE_OVERHEAD, b"\0"), now)

    def _sound(self, peer: PeerLink, now: float) -> None:
        """Send one of the Heartbeats that tell sooner how much a link loses."""
        if peer.soundings and now >= peer.sounded_at + _SOUNDING_GAP:
            peer.soundings -= 1
            peer.sounded_at = now
            self._table.send(peer, Heartbeat().encode(), now)

    def _nudge(self, peer: PeerLink, now: float) -> None:
        """Answer a stream that stopped with a sign of life.

        It may have stopped because we are behind a translator that forgot us: the peer goes on at the address that our
        frame comes from (spec 01 section 9.3).
        """
        if peer.busy and now - peer.last_heard >= _NUDGE_AFTER and peer.nudged_at < peer.last_heard:
            peer.nudged_at = now
            self._table.heartbeat(peer, now)

    # -- what happened to this machine

    def show_ourselves(self, now: float) -> None:
        """Our own address may be another one now: let every peer see where we are."""
        for peer in self._table.peers.values():
            peer.soundings = max(peer.soundings, _SIGNS_OF_LIFE)
            peer.sounded_at = now - _SOUNDING_GAP
        self._table.watch_at = now

    def woke(self, slept: float, now: float) -> None:
        """We did nothing for `slept` seconds: ask every peer whether it is still there, and judge nobody for silence.

        Whoever must have given us up meanwhile is met as for the first time.
        """
        table = self._table
        for peer in list(table.peers.values()):
            if slept >= table.settings.link_dead_timeout_secs:
                table.remove(peer, "slept for longer than a link lasts", redial=True)
                self._initiator.start_over(peer, now)
                continue
            peer.last_heard = max(peer.last_heard, now - peer.trust.patience(peer.measurement.srtt_ms))
            peer.trust.woke(now)
            self._initiator.rekey(peer, now)
        table.watch_at = now

    def _judge(self, peer: PeerLink, now: float) -> None:
        """Probe a silent peer with a fresh handshake; doubt it meanwhile, and distrust it when nothing comes back."""
        silent = peer.is_silent(now)
        if silent and self._is_led_astray(peer, now) and self._initiator.cure(peer, now):
            return
        if silent and not peer.is_probed:
            peer.probed_at = now
            self._initiator.probe(peer, now)
        elif (silent or peer.distrusted) and now - peer.established_at >= _FRESH_KEYS_SECS:
            self._initiator.rekey(peer, now)
        if not peer.distrusted and peer.is_broken(now):
            peer.trust.lose(now)
            peer.doubtful = peer.distrusted = True
            self._table.notices.append(TrustChanged(peer))
        elif silent and peer.trust.expectant and not peer.doubtful:
            self._table.doubt(peer)

    def _is_led_astray(self, peer: PeerLink, now: float) -> bool:
        """Whether the peer seems to use keys that came of an old first message of ours, which somebody replayed.

        Ours would not. Such a peer goes on sending to our index, but nothing of it opens (spec 01 section 18.2).
        """
        old = now - peer.established_at >= MIN_REKEY_AGE
        return old and peer.refused >= _REFUSED_FRAMES and now - peer.last_heard >= _REFUSED_SECS

    def _set_alarm(self, now: float) -> None:
        self._table.watch_at = min((self._due(peer, now) for peer in self._table.peers.values()), default=_NEVER)

    def _due(self, peer: PeerLink, now: float) -> float:
        """When `peer` is to be looked at next, other things being equal."""
        early = next((peer.promoted_at + age for age in _EARLY_REPORTS if peer.promoted_at + age > now), _NEVER)
        if peer.busy and peer.nudged_at < peer.last_heard:
            early = min(early, max(peer.last_heard, now) + _NUDGE_AFTER)
        if peer.soundings:
            early = min(early, peer.sounded_at + _SOUNDING_GAP)
        if peer.distrusted:
            return early
        silent_at = peer.last_heard + peer.trust.patience(peer.measurement.srtt_ms)
        if silent_at > now:
            return min(early, silent_at)
        return min(early, max(peer.broken_at(), now + 0.1))
