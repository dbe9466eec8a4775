"""Error signals from nodes on the way (spec 02 section 9.3). They are unauthenticated: hints, and limited as such."""

from __future__ import annotations

from meshnode.mesh.mmp.path_mtu import MTU_FLOOR
from meshnode.wire import CoordinatesRequired, MtuExceeded, PathBroken, Signal, WireError, parse_signal

from .core import Core
from .events import PathMtuChanged, PathMtuReleased
from .session import Session

SILENCE = 2.0
"""Seconds after which a remote that says nothing may well be out of reach."""

RENEWAL_INTERVAL = 0.25
"""Seconds between two times that signals about one remote are acted on."""

_TYPES = {CoordinatesRequired.TYPE: "coords", PathBroken.TYPE: "broken", MtuExceeded.TYPE: "mtu"}
_ARRIVALS = {"coords": "coords_required", "broken": "path_broken", "mtu": "mtu_exceeded"}


class Signals:
    """Admits signals and acts on them."""

    __slots__ = ("_core",)

    def __init__(self, core: Core) -> None:
        self._core = core

    def receive(self, source: bytes, body: bytes, now: float) -> None:
        """Judge one signal, type byte first, that came in a datagram from `source`."""
        family = _TYPES.get(body[0]) if body else None
        if family is None:
            return
        self._count(_ARRIVALS[family])
        try:
            signal = parse_signal(body)
        except WireError:
            return
        session = self._admitted(source, signal, family)
        if session is None:
            self._count(f"unbound_{family}")
            self._core.counters.unknown_session += 1
        else:
            self._act(session, signal, now)

    def respond(self, session: Session, now: float) -> bool:
        """Send a CoordsWarmup, at most one per destination and interval; False when it has to wait."""
        interval = self._core.settings.session.coords_response_interval_ms / 1000
        if not session.established or now - session.last_coords_response < interval:
            return False
        session.last_coords_response = now
        self._core.send_warmup(session, now)
        return True

    def _admitted(self, source: bytes, signal: Signal, family: str) -> Session | None:
        """The session a signal may concern: established, or being opened by us."""
        destination = signal.destination
        if destination in (self._core.own, source):
            self._count("unbound_forged")
            return None
        session = self._core.sessions.get(destination)
        if session is None or not (session.established or session.is_initiator or session.ours):
            return None
        return session

    def _act(self, session: Session, signal: Signal, now: float) -> None:
        match signal:
            case CoordinatesRequired():
                self._renew_coordinates(session, now)
            case PathBroken():
                self._path_broken(session, now)
            case MtuExceeded():
                self._tighten(session, signal.mtu, now)

    def _path_broken(self, session: Session, now: float) -> None:
        """Look for the remote anew. What we know is given up only if the remote is silent: anybody may say this."""
        silent = not session.established or now - session.last_heard >= SILENCE
        if silent:
            self._core.coordinates.forget_coordinates(session.address)
        self._renew_coordinates(session, now)
        if silent:
            session.path_mtu.reset()
            self._core.events.append(PathMtuReleased(session.address))

    def _renew_coordinates(self, session: Session, now: float) -> None:
        if now - session.last_renewal < RENEWAL_INTERVAL:
            return
        session.last_renewal = now
        self.respond(session, now)
        self._core.want_lookup(session.address)
        session.warmup_remaining = self._core.settings.session.coords_warmup_packets

    def _tighten(self, session: Session, mtu: int, now: float) -> None:
        if mtu < MTU_FLOOR:
            self._core.errors.mtu_exceeded_below_floor += 1
            return
        if session.path_mtu.claim(mtu, now):
            self._core.events.append(PathMtuChanged(session.address, mtu))

    def _count(self, name: str) -> None:
        errors = self._core.errors
        setattr(errors, name, getattr(errors, name) + 1)
