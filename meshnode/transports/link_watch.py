"""Follows one network interface: there or not, up or not, its MTU and its address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshnode.transports.netlink import Interface, LinkFeed, Removed, news_were_lost

_log = Logger()
_telling = _log.failureHandler("news of an interface upset its transport")


@implementer(IReadDescriptor)
class LinkWatch:
    """Calls `changed(before)` whenever `interface` became another; None stands for an interface that is not there.

    `reactor` provides `IReactorFDSet`. The first look happens in the constructor and calls nothing; it raises OSError.
    """

    def __init__(self, name: str, feed: LinkFeed, reactor: Any, changed: Callable[[Interface | None], None]) -> None:
        self.name = name
        self._feed = feed
        self._reactor = reactor
        self._changed = changed
        self.interface = feed.look_up(name)
        reactor.addReader(self)

    def close(self) -> None:
        self._reactor.removeReader(self)
        self._feed.close()

    def fileno(self) -> int:
        return self._feed.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        return f"interface {self.name}"

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Note that the reactor gave the descriptor up: what is known now stays."""
        _log.error(
            "changes of interface {name} are no longer seen: {why}", name=self.name, why=reason.getErrorMessage()
        )

    def doRead(self) -> None:  # noqa: N802
        """Take the news, however many there are, as one change."""
        try:
            events = self._feed.read()
        except OSError as error:
            if news_were_lost(error):
                self._become(self._feed.look_up(self.name))
            return
        interface = self.interface
        for event in events:
            if isinstance(event, Removed):
                if interface is not None and event.index == interface.index:
                    interface = None
            elif event.name == self.name:
                interface = event
            elif interface is not None and event.index == interface.index:
                interface = None  # it has another name now
        self._become(interface)

    def _become(self, interface: Interface | None) -> None:
        before, self.interface = self.interface, interface
        if interface != before:
            with _telling:
                self._changed(before)
