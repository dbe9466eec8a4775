"""What happens to a node, as data: one class per kind of event, and the hub that tells whoever listens.

Events feed the log, `meshctl watch`, the hook and every screen. They are about control, never about packets: nothing
here is made more often than links, routes and sessions change. No event holds a secret.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final

KEPT: Final = 512
"""Events that can still be asked for; the oldest goes first."""


@dataclass(slots=True, frozen=True)
class Event:
    """Base of all events. `KIND` names the class to operators; `LEVEL` and `SUBSYSTEM` are those of its log line."""

    KIND: ClassVar[str] = ""
    LEVEL: ClassVar[str] = "info"
    SUBSYSTEM: ClassVar[str] = "node"

    def text(self) -> str:
        """One line for people."""
        raise NotImplementedError

    @property
    def level(self) -> str:
        return self.LEVEL

    def values(self) -> dict[str, Any]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(slots=True, frozen=True)
class PeerConnected(Event):
    """A link with a peer came up. `direction` is `inbound` or `outbound`."""

    KIND: ClassVar[str] = "peer_up"
    SUBSYSTEM: ClassVar[str] = "link"
    npub: str
    name: str
    transport: str
    address: str
    direction: str

    def text(self) -> str:
        return f"peer {self.name} connected at {self.address} ({self.direction})"


@dataclass(slots=True, frozen=True)
class PeerRemoved(Event):
    """A link with a peer ended."""

    KIND: ClassVar[str] = "peer_down"
    SUBSYSTEM: ClassVar[str] = "link"
    npub: str
    name: str
    address: str
    reason: str

    def text(self) -> str:
        return f"peer {self.name} removed: {self.reason}"


@dataclass(slots=True, frozen=True)
class PeerMoved(Event):
    """A peer roamed: it was heard from another address and is reached there now."""

    KIND: ClassVar[str] = "roam"
    SUBSYSTEM: ClassVar[str] = "link"
    npub: str
    name: str
    old: str
    new: str

    def text(self) -> str:
        return f"peer {self.name} moved from {self.old} to {self.new}"


@dataclass(slots=True, frozen=True)
class PeerSilent(Event):
    """A peer does not answer; routes go around it until it is heard."""

    KIND: ClassVar[str] = "peer_silent"
    SUBSYSTEM: ClassVar[str] = "link"
    npub: str
    name: str

    def text(self) -> str:
        return f"peer {self.name} is silent and not relied on until it speaks"


@dataclass(slots=True, frozen=True)
class PeerHeard(Event):
    """A peer that was silent is heard and relied on again; its link lasted."""

    KIND: ClassVar[str] = "peer_heard"
    SUBSYSTEM: ClassVar[str] = "link"
    npub: str
    name: str

    def text(self) -> str:
        return f"peer {self.name} speaks again"


@dataclass(slots=True, frozen=True)
class DialFailure(Event):
    """A dial ended without a link. `hint` says what may be behind the reason, where that is not plain."""

    KIND: ClassVar[str] = "dial_failed"
    SUBSYSTEM: ClassVar[str] = "link"
    npub: str
    name: str
    address: str
    reason: str
    hint: str

    def text(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"dial of {self.name} at {self.address} failed: {self.reason}{hint}"


@dataclass(slots=True, frozen=True)
class PeerRefused(Event):
    """The access control list kept a node out; `left_out` more refusals were passed over since the last event."""

    KIND: ClassVar[str] = "peer_refused"
    LEVEL: ClassVar[str] = "warn"
    SUBSYSTEM: ClassVar[str] = "access"
    npub: str
    name: str
    transport_id: int
    address: str
    context: str
    reason: str
    left_out: int

    def text(self) -> str:
        others = f" ({self.left_out} more refusals since the last such line)" if self.left_out else ""
        return (
            f"Rejected peer by ACL peer={self.name} npub={self.npub} transport_id={self.transport_id} "
            f"remote_addr={self.address} context={self.context} decision={self.reason!r}{others}"
        )


@dataclass(slots=True, frozen=True)
class KeysRenewed(Event):
    """A rekey completed. `layer` is `link` or `session`."""

    KIND: ClassVar[str] = "rekey"
    LEVEL: ClassVar[str] = "debug"
    SUBSYSTEM: ClassVar[str] = "keys"
    name: str
    node_addr: str
    layer: str

    def text(self) -> str:
        return f"{self.layer} keys with {self.name} renewed"


@dataclass(slots=True, frozen=True)
class ParentSwitched(Event):
    """The node hangs at another place of the tree; names and node addresses of the parents."""

    KIND: ClassVar[str] = "parent_changed"
    SUBSYSTEM: ClassVar[str] = "tree"
    old: str
    new: str
    old_addr: str
    new_addr: str

    def text(self) -> str:
        return f"tree parent {self.old} -> {self.new}"


@dataclass(slots=True, frozen=True)
class RelayGivenUp(Event):
    """A peer drops what is led through it; traffic for others goes around it as far as there is another way."""

    KIND: ClassVar[str] = "relay_given_up"
    LEVEL: ClassVar[str] = "warn"
    SUBSYSTEM: ClassVar[str] = "routing"
    npub: str
    name: str

    def text(self) -> str:
        return f"peer {self.name} does not pass on what is sent through it: traffic for others goes around it"


@dataclass(slots=True, frozen=True)
class RelayRestored(Event):
    """A peer that was given up as a relay passes traffic on again."""

    KIND: ClassVar[str] = "relay_restored"
    SUBSYSTEM: ClassVar[str] = "routing"
    npub: str
    name: str

    def text(self) -> str:
        return f"peer {self.name} passes traffic on again"


@dataclass(slots=True, frozen=True)
class PathBroken(Event):
    """A destination was looked for in the mesh and not found."""

    KIND: ClassVar[str] = "path_broken"
    LEVEL: ClassVar[str] = "debug"
    SUBSYSTEM: ClassVar[str] = "routing"
    name: str
    node_addr: str

    def text(self) -> str:
        return f"lookup of {self.name} failed"


@dataclass(slots=True, frozen=True)
class PathMtuFound(Event):
    """How long the frames to a peer may be is known now; `limited` when that is less than its transport promised."""

    KIND: ClassVar[str] = "path_mtu"
    SUBSYSTEM: ClassVar[str] = "routing"
    npub: str
    name: str
    mtu: int
    limited: bool

    def text(self) -> str:
        return f"the path to {self.name} carries frames of {self.mtu} bytes"

    @property
    def level(self) -> str:
        return "warn" if self.limited else "info"


@dataclass(slots=True, frozen=True)
class SessionOpened(Event):
    """An end-to-end session is established."""

    KIND: ClassVar[str] = "session_up"
    SUBSYSTEM: ClassVar[str] = "session"
    npub: str
    name: str

    def text(self) -> str:
        return f"session with {self.name} established"


@dataclass(slots=True, frozen=True)
class SessionEnded(Event):
    """An end-to-end session is over."""

    KIND: ClassVar[str] = "session_down"
    SUBSYSTEM: ClassVar[str] = "session"
    name: str
    node_addr: str
    reason: str

    def text(self) -> str:
        return f"session with {self.name} closed: {self.reason}"


@dataclass(slots=True, frozen=True)
class NameResolved(Event):
    """A program of this machine asked for a name; each node is told of at most once a minute."""

    KIND: ClassVar[str] = "name_resolved"
    LEVEL: ClassVar[str] = "debug"
    SUBSYSTEM: ClassVar[str] = "names"
    npub: str
    name: str

    def text(self) -> str:
        return f"the name of {self.name} was asked for"


@dataclass(slots=True, frozen=True)
class LimitReached(Event):
    """Something was refused because a limit is reached; `refused` counts since the last event about it."""

    KIND: ClassVar[str] = "limit_reached"
    LEVEL: ClassVar[str] = "warn"
    SUBSYSTEM: ClassVar[str] = "limits"
    limit: str
    refused: int

    def text(self) -> str:
        return f"limit {self.limit} reached: {self.refused} refused"


@dataclass(slots=True, frozen=True)
class TransportState(Event):
    """A transport works again, or does no longer."""

    KIND: ClassVar[str] = "transport"
    SUBSYSTEM: ClassVar[str] = "transport"
    transport: str
    state: str
    cause: str

    def text(self) -> str:
        return f"{self.transport} is {self.state}: {self.cause}"

    @property
    def level(self) -> str:
        return "info" if self.state == "up" else "warn"


@dataclass(slots=True, frozen=True)
class StoodStill(Event):
    """The node did nothing for a while, because the machine slept or the process was stopped; it asks for its peers."""

    KIND: ClassVar[str] = "stood_still"
    LEVEL: ClassVar[str] = "warn"
    SUBSYSTEM: ClassVar[str] = "node"
    seconds: float

    def text(self) -> str:
        return f"stood still for {self.seconds:.0f} s; looking where the peers are"


@dataclass(slots=True, frozen=True)
class ConfigurationReloaded(Event):
    """The configuration was read again. Keys that took effect, and keys that will at the next start."""

    KIND: ClassVar[str] = "reloaded"
    SUBSYSTEM: ClassVar[str] = "config"
    applied: list[str]
    needs_restart: list[str]

    def text(self) -> str:
        applied = f"applied {', '.join(self.applied)}" if self.applied else "nothing to apply"
        waiting = f"; only a restart applies {', '.join(self.needs_restart)}" if self.needs_restart else ""
        return f"configuration read again: {applied}{waiting}"


@dataclass(slots=True, frozen=True)
class ConfigurationRefused(Event):
    """The configuration was to be read again and cannot be used; nothing changed."""

    KIND: ClassVar[str] = "reload_refused"
    LEVEL: ClassVar[str] = "error"
    SUBSYSTEM: ClassVar[str] = "config"
    reason: str

    def text(self) -> str:
        return f"configuration not read again, nothing changed: {self.reason}"


EVENTS: Final[tuple[type[Event], ...]] = (
    PeerConnected,
    PeerRemoved,
    PeerMoved,
    PeerSilent,
    PeerHeard,
    DialFailure,
    PeerRefused,
    KeysRenewed,
    ParentSwitched,
    RelayGivenUp,
    RelayRestored,
    PathBroken,
    PathMtuFound,
    SessionOpened,
    SessionEnded,
    NameResolved,
    LimitReached,
    TransportState,
    StoodStill,
    ConfigurationReloaded,
    ConfigurationRefused,
)
"""Every kind there is, in the order of the reference page."""

KINDS: Final = tuple(event.KIND for event in EVENTS)


@dataclass(slots=True, frozen=True)
class Record:
    """An event that happened: its number, which only grows, and Unix time in seconds."""

    number: int
    when: float
    event: Event

    def as_dict(self) -> dict[str, Any]:
        """What a client reads."""
        return {
            "number": self.number,
            "time_ms": int(self.when * 1000),
            "event": self.event.KIND,
            "level": self.event.level,
            "subsystem": self.event.SUBSYSTEM,
            "text": self.event.text(),
            **self.event.values(),
        }


Listener = Callable[[Record], None]


class EventHub:
    """Tells every listener of every event, and keeps the last `KEPT`.

    `wall` is Unix time; `write(level, text, subsystem)` takes the log lines, which by default go to `log(level, text)`.
    """

    def __init__(self, wall: Callable[[], float], log: Callable[[str, str], None]) -> None:
        self._wall = wall
        self.write: Callable[[str, str, str], None] = lambda level, text, subsystem: log(level, text)
        self._listeners: list[Listener] = []
        self._kept: deque[Record] = deque(maxlen=KEPT)
        self._number = 0

    def publish(self, event: Event) -> None:
        """Let it be known that `event` happened."""
        self._number += 1
        record = Record(self._number, self._wall(), event)
        self._kept.append(record)
        self.write(event.level, event.text(), event.SUBSYSTEM)
        for listener in list(self._listeners):
            listener(record)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` of everything from now on; returns what ends that."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    @property
    def last_number(self) -> int:
        return self._number

    def since(self, number: int) -> Iterator[Record]:
        """The events after that number which are still kept, oldest first."""
        return (record for record in list(self._kept) if record.number > number)
