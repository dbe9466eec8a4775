"""What the control socket can be asked: the table of commands (spec 06 section 2)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from meshnode.config.errors import ConfigError
from meshnode.config.validate import CONTEXT
from meshnode.node.core import Node
from meshnode.noise import LIBRARY

from .actions import Actions
from .capture import Captures
from .commands import Command, CommandError, Stream
from .encoding import Answer
from .events import show_events
from .history import History
from .inspection import Inspection, InThread
from .known import DialFailures, PeerActions, show_known_peers
from .lines import RecentLines
from .links import show_connections, show_links, show_peers, show_transports
from .listening import show_listening_sockets
from .probe import Probes
from .quality import show_mmp
from .routing import show_bloom, show_cache, show_metrics, show_native_flows, show_routing, show_tree
from .sessions import show_identity_cache, show_sessions
from .stats import Stats
from .status import LOG_LEVELS, Daemon, show_acl, show_status
from .view import View
from .watch import Watchers
from .why import why

QUERIES: Mapping[str, Callable[[View], Answer]] = {
    "show_acl": show_acl,
    "show_bloom": show_bloom,
    "show_cache": show_cache,
    "show_connections": show_connections,
    "show_identity_cache": show_identity_cache,
    "show_links": show_links,
    "show_metrics": show_metrics,
    "show_mmp": show_mmp,
    "show_native_flows": show_native_flows,
    "show_peers": show_peers,
    "show_routing": show_routing,
    "show_sessions": show_sessions,
    "show_transports": show_transports,
    "show_tree": show_tree,
}
"""Commands that only look at the node and take no parameters."""


class NodeState:
    """Answers for one running node, always from its live state.

    `reactor` provides IReactorTime, IReactorPluggableNameResolver and, unless `in_thread` is given, IReactorThreads.
    """

    def __init__(self, node: Node, daemon: Daemon, reactor: Any, in_thread: InThread | None = None) -> None:
        self._node = node
        self._daemon = daemon
        in_thread = in_thread or (lambda call: deferToThreadPool(reactor, reactor.getThreadPool(), call))
        address = node.identity.peer.ipv6_text

        def inspect() -> Answer:
            return show_listening_sockets(address)

        self.history = History()
        self.lines = RecentLines()
        peers, failures = PeerActions(node), DialFailures(node.events)
        actions = Actions(node, lambda: reactor.nameResolver, reactor.callLater)
        stats = Stats(node, self.history)
        probes = Probes(node, reactor.callLater)
        self._commands: dict[str, Command] = {
            "show_status": self._status,
            "show_listening_sockets": Inspection(inspect, in_thread, node.world.clock.seconds).show,
            "show_stats_list": stats.metrics,
            "show_stats_history": stats.one,
            "show_stats_all_history": stats.all,
            "show_stats_history_all_peers": stats.all_peers,
            "show_stats_peers": stats.peers,
            "connect": actions.connect,
            "disconnect": actions.disconnect,
            "why": lambda params: why(View.of(node), params),
            "show_known_peers": lambda params: {
                **show_known_peers(View.of(node), failures),
                "passed_over": daemon.passed_over(),
            },
            "show_log": self.lines.show,
            "show_events": lambda params: show_events(node.events, params),
            "peer_add": peers.add,
            "peer_remove": peers.remove,
            "log_level": self._log_level,
            "probe_start": probes.start,
            "probe_poll": probes.poll,
            "probe_cancel": probes.cancel,
            "reload": self._reload,
            "show_config": self._show_config,
            "watch": Watchers(node.events).watch,
            "capture": Captures(node, lambda: bool(daemon.settings().get("meshnode.capture.decrypt"))).capture,
        }

    @property
    def commands(self) -> list[str]:
        """Every command there is."""
        return sorted({*QUERIES, *self._commands})

    def answer(self, command: str, params: Any) -> Answer | Stream | Deferred[Answer]:
        """Carry out `command`. Raises or fails with `CommandError`."""
        query = QUERIES.get(command)
        if query is not None:
            return _limited(query(View.of(self._node)), params)
        action = self._commands.get(command)
        if action is None:
            raise CommandError(f"unknown command: {command}")
        return action(params)

    def every_second(self) -> None:
        """Take one sample of what is shown over time."""
        self.history.sample(self._node, self._node.world.clock.seconds())

    def _status(self, params: Any) -> Answer:
        return show_status(View.of(self._node), self._daemon, self.history)

    def _show_config(self, params: Any) -> Answer:
        """What the node runs with: the file, the settings in force, the library that encrypts."""
        daemon = self._daemon
        return {"file": daemon.config_file, "settings": daemon.settings(), "aead_library": LIBRARY.name}

    def _log_level(self, params: Any) -> Answer:
        """Tell the level of the log, or set it."""
        level = params.get("level") if isinstance(params, dict) else None
        if level is None:
            return {"level": self._daemon.log.level}
        if level not in LOG_LEVELS:
            raise CommandError(f"unknown log level: {level} (expected {', '.join(LOG_LEVELS)})")
        self._daemon.log.level = level
        return {"level": level}

    def _reload(self, params: Any) -> Answer:
        """Read the configuration again."""
        if self._daemon.reload is None:
            raise CommandError("this node has no configuration to read again")
        try:
            return self._daemon.reload()
        except ConfigError as error:
            raise CommandError(f"nothing changed: {str(error).removeprefix(CONTEXT)}") from None


def _limited(answer: Answer, params: Any) -> Answer:
    """The answer with at most `limit` rows in each list, where that is given: screens cannot show tens of thousands."""
    limit = params.get("limit") if isinstance(params, dict) else None
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 <= limit <= sys.maxsize:
        return answer
    return {key: islice(value, limit) if isinstance(value, Iterator) else value for key, value in answer.items()}
