"""What the control socket can be asked: the table of commands (spec 06 section 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from meshnode.node.core import Node

from .actions import Actions
from .commands import Command, CommandError
from .encoding import Answer
from .links import show_connections, show_links, show_peers, show_transports
from .quality import show_mmp
from .routing import show_bloom, show_cache, show_metrics, show_native_flows, show_routing, show_tree
from .sessions import show_identity_cache, show_sessions
from .status import Daemon, Sparklines, show_acl, show_status
from .view import View

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

    `reactor` provides IReactorTime and IReactorPluggableNameResolver.
    """

    def __init__(self, node: Node, daemon: Daemon, reactor: Any) -> None:
        self._node = node
        self._daemon = daemon
        self._sparklines = Sparklines()
        actions = Actions(node, lambda: reactor.nameResolver, reactor.callLater)
        self._commands: dict[str, Command] = {
            "show_status": self._status,
            "connect": actions.connect,
            "disconnect": actions.disconnect,
        }

    def answer(self, command: str, params: Any) -> Answer | Deferred[Answer]:
        """Carry out `command`. Raises or fails with `CommandError`."""
        query = QUERIES.get(command)
        if query is not None:
            return query(View.of(self._node))
        action = self._commands.get(command)
        if action is None:
            raise CommandError(f"unknown command: {command}")
        return action(params)

    def every_second(self) -> None:
        """Take one sample of what `show_status` draws over time."""
        self._sparklines.sample(self._node)

    def _status(self, params: Any) -> Answer:
        return show_status(View.of(self._node), self._daemon, self._sparklines)
