"""Everything by which an operator reaches a node, as one part of the service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from meshnode.config.operator_sections import MESH, Endpoint
from meshnode.config.schema import MeshnodeSection
from meshnode.node.core import Node

from .history_keeper import HistoryKeeper
from .server import ControlServer
from .state import NodeState

SAMPLE_SECS = 1.0

_log = Logger(namespace="meshnode")


class OperatorSide:
    """The history of a node, and the servers that tell about it.

    `socket_path` is None where the control socket is turned off. `log(level, text)` takes lines for the operator. What
    cannot be served is a warning, and the node runs without it.
    """

    def __init__(
        self,
        node: Node,
        state: NodeState,
        socket_path: str | None,
        section: MeshnodeSection,
        reactor: Any,
        log: Callable[[str, str], None],
    ) -> None:
        self.state = state
        self._node = node
        self._section = section
        self._reactor = reactor
        self._log = log
        self._control = None if socket_path is None else ControlServer(socket_path, state, reactor)
        self._servers: list[Any] = []
        self._keeper = self._make_keeper() if section.history_file else None
        self._sampling = LoopingCall(self._every_second)
        self._sampling.clock = reactor

    def _make_keeper(self) -> HistoryKeeper:
        reactor, world = self._reactor, self._node.world
        return HistoryKeeper(
            self.state.history,
            Path(self._section.history_file),
            world.clock.seconds,
            world.wall,
            reactor.callLater,
            lambda call: deferToThreadPool(reactor, reactor.getThreadPool(), call),
            self._log,
        )

    def _every_second(self) -> None:
        self.state.every_second()
        if self._control is not None:
            self._control.restore()

    def start(self) -> None:
        """Begin to sample and to serve."""
        self.state.lines.start()
        if self._keeper is not None:
            self._keeper.start()
        running = self._sampling.start(SAMPLE_SECS, now=False)
        running.addErrback(lambda reason: _log.failure("the history of the node stops here", failure=reason))
        if self._control is not None:
            self._start_control(self._control)
        if self._section.metrics.enabled:
            self._start_metrics()
        if self._section.web.enabled and self._section.web.listen.host != MESH:
            self._start_web(self._section.web.listen)

    def interface_up(self) -> None:
        """The mesh address is there: serve at it what is to be served there."""
        web = self._section.web
        if web.enabled and web.listen.host == MESH:
            self._start_web(Endpoint(None, self._node.identity.peer.ipv6_text, web.listen.port))

    def _start_control(self, server: ControlServer) -> None:
        problem = server.start()
        for warning in server.warnings:
            self._log("warn", warning)
        if problem is not None:
            self._log("warn", f"{problem}; the node runs without it")
        else:
            self._log("info", f"Control socket at {server.path}")

    def _start_metrics(self) -> None:
        from .http import HttpServer, ServeError
        from .metrics.site import MetricsUnavailable, site

        try:
            server = HttpServer("metrics", self._section.metrics.listen, site(self._node), self._reactor)
            place = server.start()
        except (MetricsUnavailable, ServeError) as error:
            self._log("warn", f"{error}; the node runs without it")
            return
        self._servers.append(server)
        self._log("info", f"Metrics at {place}metrics" if place.startswith("http") else f"Metrics at {place}")

    def _start_web(self, endpoint: Endpoint) -> None:
        from .http import HttpServer, ServeError
        from .web.guard import Guard, TokenError, read_token
        from .web.site import site

        web = self._section.web
        try:
            token = read_token(Path(web.token_file)) if web.token_file else None
            guard = Guard(web.listen, self._node.identity.peer, web.allow, token)
            server = HttpServer("the web page", endpoint, site(self.state, guard), self._reactor)
            place = server.start()
        except (TokenError, ServeError) as error:
            self._log("warn", f"{error}; the node runs without it")
            return
        self._servers.append(server)
        self._log("info", f"Web page at {place}")

    async def stop(self) -> None:
        self.state.lines.stop()
        if self._sampling.running:
            self._sampling.stop()
        if self._keeper is not None:
            await self._keeper.stop()
        if self._control is not None:
            await self._control.stop()
        for server in self._servers:
            await server.stop()
