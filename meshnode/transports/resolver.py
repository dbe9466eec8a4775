"""Host names among peer addresses: looked up off the reactor thread, remembered for a minute (spec 04 section 1.10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from meshnode.transports.addresses import HostName, SocketAddress

ANSWER_LIFETIME = 60.0
FAILURE_LIFETIME = 5.0
HELD_FRAMES = 16
MAX_NAMES = 64

Chooser: TypeAlias = Callable[[list[SocketAddress]], SocketAddress | None]
Answered: TypeAlias = Callable[[str, SocketAddress | None, list[bytes]], None]


@dataclass(slots=True)
class _Entry:
    address: SocketAddress | None = None
    expires: float = 0.0
    asking: bool = False
    doubtful: bool = False
    held: list[bytes] = field(default_factory=list)


@implementer(IResolutionReceiver)
class _Answers:
    """Collects the addresses of one look-up and hands them on when it is complete."""

    def __init__(self, complete: Callable[[list[SocketAddress]], None]) -> None:
        self._complete = complete
        self._addresses: list[SocketAddress] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:  # noqa: N802, N803
        """Nothing to note: a look-up is never cancelled, its answer may only come too late."""

    def addressResolved(self, address: IAddress) -> None:  # noqa: N802
        if isinstance(address, IPv4Address):
            self._addresses.append((address.host, address.port))
        elif isinstance(address, IPv6Address):
            self._addresses.append((address.host, address.port, address.flowInfo, int(address.scopeID)))

    def resolutionComplete(self) -> None:  # noqa: N802
        self._complete(self._addresses)


class NameCache:
    """Numeric addresses of host names.

    `choose` picks one of the addresses found. `answered(text, address, frames)` is called at the end of every look-up
    with the frames held for it; its address is None when nothing usable is known. An answer that has grown old serves
    on while it is looked up again, so that a slow name server never interrupts a link; one that is `doubted` serves
    again only if nothing newer is found.
    """

    def __init__(
        self,
        resolver: Callable[[], IHostnameResolver],
        seconds: Callable[[], float],
        choose: Chooser,
        answered: Answered,
    ) -> None:
        self._resolver = resolver
        self._seconds = seconds
        self._choose = choose
        self._answered = answered
        self._entries: dict[str, _Entry] = {}

    def address_of(self, text: str, name: HostName) -> SocketAddress | None:
        """Return the known address of `name`, or None; starts a look-up where one is due."""
        entry = self._entries.get(text)
        if entry is None:
            if not self._make_room():
                return None
            entry = self._entries[text] = _Entry()
        if not entry.asking and self._seconds() >= entry.expires:
            self._ask(text, name, entry)
        return None if entry.doubtful else entry.address

    def doubt(self, text: str) -> None:
        """Ask for `text` anew before its answer is used again."""
        entry = self._entries.get(text)
        if entry is not None and not entry.asking:
            entry.expires = 0.0
            entry.doubtful = True

    def hold(self, text: str, frames: list[bytes]) -> int:
        """Keep `frames` until the look-up of `text` ends; returns how many were not kept."""
        entry = self._entries.get(text)
        if entry is None or not entry.asking:
            return len(frames)
        room = HELD_FRAMES - len(entry.held)
        entry.held += frames[:room]
        return max(0, len(frames) - room)

    def clear(self) -> None:
        """Forget everything; answers still on their way are ignored."""
        self._entries.clear()

    def _ask(self, text: str, name: HostName, entry: _Entry) -> None:
        entry.asking = True

        def complete(addresses: list[SocketAddress]) -> None:
            if self._entries.get(text) is entry:
                self._finish(text, entry, addresses)

        self._resolver().resolveHostName(_Answers(complete), name.host, name.port, transportSemantics="UDP")

    def _finish(self, text: str, entry: _Entry, addresses: list[SocketAddress]) -> None:
        chosen = self._choose(addresses)
        entry.asking = entry.doubtful = False
        entry.expires = self._seconds() + (FAILURE_LIFETIME if chosen is None else ANSWER_LIFETIME)
        if chosen is not None:
            entry.address = chosen
        held, entry.held = entry.held, []
        self._answered(text, entry.address, held)

    def _make_room(self) -> bool:
        if len(self._entries) < MAX_NAMES:
            return True
        idle = next((text for text, entry in self._entries.items() if not entry.asking), None)
        if idle is not None:
            del self._entries[idle]
        return idle is not None
