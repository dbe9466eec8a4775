"""Starts the transports that a configuration asks for, our own and those of plug-ins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from meshnode.config.errors import ConfigError, Place
from meshnode.config.keys import closest
from meshnode.config.plain import plain_instances
from meshnode.config.schema import Config, OwnTorSection
from meshnode.config.transport_sections import KINDS, TorSection, instance_path
from meshnode.config.validate import where
from meshnode.config.yaml12 import clip
from meshnode.node.core import Node
from meshnode.transports.interfaces import ITransport, TransportError
from meshnode.transports.registry import factories, factory

RETRY_SECS = 10.0
"""How often a transport that could not start is tried again: an address may come later, a port become free."""

_TAKEN_AWAY = "its transport is no longer in the configuration as it was"

Instance = tuple[str, str | None, Any]
"""Kind, name, and section of one transport."""


@dataclass(slots=True)
class _Waiting:
    """A transport that could not start, the number it is to have, and what was last said of it."""

    section: Any
    number: int
    said: str


class Carriers:
    """The transports of one node. `degrade(line)` hears of every one that does not start, `warn(line)` of advice.

    `directory` is where files lie that the configuration does not name with their whole path. `came_late()` is called
    when some started after the node did.
    """

    def __init__(
        self,
        node: Node,
        config: Config,
        places: Mapping[str, Place],
        reactor: Any,
        directory: Path,
        degrade: Callable[[str], None],
        warn: Callable[[str], None],
        came_late: Callable[[], None] = lambda: None,
    ) -> None:
        self._node = node
        self._config = config
        self._places = places
        self._reactor = reactor
        self._directory = directory
        self._degrade = degrade
        self._warn = warn
        self._came_late = came_late
        self.from_plugins = plugin_kinds(config)
        self._running: dict[tuple[str, str | None], tuple[Any, ITransport]] = {}
        self._waiting: dict[tuple[str, str | None], _Waiting] = {}
        self._gave_up = False
        self._retry: IDelayedCall | None = None
        self._last_number = 0

    @property
    def kinds(self) -> list[str]:
        """Every kind that is configured and that somebody can make, by name."""
        configured = {kind for kind, _name, _section in self._config.transports.each()}
        return sorted(configured | set(self.from_plugins))

    @property
    def missing(self) -> bool:
        """Whether any transport that is configured is not there."""
        return bool(self._waiting) or self._gave_up

    def would_run(self, config: Config, deaf: int = 0) -> bool:
        """Whether any transport would be left with another configuration, of which `deaf` cannot start."""
        return sum(1 for _ in config.transports.each()) > deaf or bool(self.from_plugins)

    def start(self) -> None:
        """Start all of them; those that cannot start leave the others alone."""
        self._config.transports.inherit(self._config.node.limits.max_connections)
        for instance in self._instances():
            self._start(*instance)

    def stop(self) -> None:
        """Wait no longer for those that could not start."""
        self._waiting.clear()
        if self._retry is not None and self._retry.active():
            self._retry.cancel()

    def follow(self) -> Deferred[None]:
        """The configuration changed: stop what it has no longer or has otherwise, then start what does not run yet.

        Peers of a transport that goes are told, and looked for elsewhere. Fires when all is done.
        """
        wanted = {(kind, name): section for kind, name, section in self._config.transports.each()}
        self._waiting = {instance: w for instance, w in self._waiting.items() if instance[0] in self.from_plugins}
        gone = [
            instance
            for instance, (section, _) in self._running.items()
            if instance[0] not in self.from_plugins and wanted.get(instance) != section
        ]
        stopped = gatherResults([self._stop(*self._running.pop(instance)) for instance in gone], consumeErrors=True)
        return stopped.addCallback(lambda _: self._start_missing(wanted))

    def _stop(self, section: Any, transport: ITransport) -> Deferred[Any]:
        node = self._node
        node.run(lambda now: node.links.leave_transport(transport.transport_id, _TAKEN_AWAY, now))
        node.transports.remove(transport)
        return maybeDeferred(transport.stop)

    def _start_missing(self, wanted: dict[tuple[str, str | None], Any]) -> None:
        for (kind, name), section in wanted.items():
            if (kind, name) not in self._running:
                self._start(kind, name, section)
        self._node.run(self._node.peering.surroundings_changed)
        self._came_late()

    def _instances(self) -> Iterator[Instance]:
        """Our own first, in the order of the specification, then those of plug-ins in the order of the file."""
        yield from self._config.transports.each()
        for kind, at in self._config.transports.others.items():
            if kind not in self.from_plugins:
                self._warn(f"transports.{_unknown(kind)}{where(f'transports.{kind}', self._places)}")
                continue
            try:
                instances = plain_instances(at)
            except ConfigError as error:
                self._degrade(str(error))
                continue
            for name, section in instances.items():
                yield kind, name, section

    def _start(self, kind: str, name: str | None, section: Any) -> None:
        number = self._new_number()
        problem = self._attempt(kind, name, section, number)
        if problem is not None:
            self._degrade(problem)
            self._waiting[kind, name] = _Waiting(section, number, problem)
            self._wait()

    def _attempt(self, kind: str, name: str | None, section: Any, number: int) -> str | None:
        """Start one; the line about it if it does not."""
        path = instance_path(kind, name)
        if isinstance(section, TorSection):
            section.own = self._own_tor()
        try:
            transport = factory(kind).create(number, name, section, self._node, self._reactor)
            started = transport.start()
        except TransportError as error:
            return str(error) + where(path, self._places)
        if isinstance(started, Deferred):
            started.addErrback(self._started_late, path)
        self._node.transports.add(transport)
        self._running[kind, name] = (section, transport)
        return None

    def _wait(self) -> None:
        if self._waiting and (self._retry is None or not self._retry.active()):
            self._retry = self._reactor.callLater(RETRY_SECS, self._try_again)

    def _try_again(self) -> None:
        missing = len(self._waiting)
        for (kind, name), waiting in list(self._waiting.items()):
            problem = self._attempt(kind, name, waiting.section, waiting.number)
            if problem is None:
                del self._waiting[kind, name]
            elif problem != waiting.said:
                waiting.said = problem
                self._degrade(problem)
        self._wait()
        if len(self._waiting) < missing:
            self._node.run(self._node.peering.surroundings_changed)
            self._came_late()

    def _own_tor(self) -> OwnTorSection:
        """`meshnode.tor` with its files in their places."""
        section, directory = self._config.meshnode.tor, self._directory.absolute()
        values = {name: getattr(section, name) for name in OwnTorSection.KEYS}
        values["data_directory"] = str(directory / (section.data_directory or "tor"))
        values["onion_key_file"] = str(directory / (section.onion_key_file or "fips.onion.key"))
        values["torrc"] = None if section.torrc is None else str(directory / section.torrc)
        return OwnTorSection(**values)

    def _new_number(self) -> int:
        """A number that no transport has or had."""
        numbers = [transport.transport_id for transport in self._node.transports]
        self._last_number = max([self._last_number, *numbers]) + 1
        return self._last_number

    def _started_late(self, reason: Failure, path: str) -> None:
        """A transport that took its time did not come up."""
        reason.trap(TransportError)
        self._gave_up = True
        self._degrade(reason.getErrorMessage() + where(path, self._places))


def plugin_kinds(config: Config) -> list[str]:
    """Kinds that the file asks for and a plug-in brings; nobody is looked for when all kinds are ours."""
    others = config.transports.others
    if not others:
        return []
    available = factories()
    return [kind for kind in others if kind in available]


def _unknown(kind: str) -> str:
    suggestion = closest(kind, dict.fromkeys(KINDS))
    advice = f"did you mean `{suggestion}`?" if suggestion else "is the plug-in that brings it installed here?"
    return f"{clip(kind)} is ignored: there is no such transport; {advice}"
