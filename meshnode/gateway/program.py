"""`meshnode-gateway`: a gateway beside a node, as a process of its own (spec 07 section 1)."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from twisted.internet.defer import ensureDeferred
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, globalLogBeginner, textFileLogObserver
from zope.interface import provider

from meshnode import __version__
from meshnode.config.errors import ConfigError
from meshnode.config.load import load
from meshnode.imports import leave_out_tls

from .assembly import LocalNetwork
from .clean import clean
from .gateway import is_running
from .plan import GatewayError

_HANDED_OVER = "MESHNODE_GATEWAY_HANDED_OVER"
"""In the environment of a program that follows itself: the kernel is as the run before left it."""
_ORDERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_LEVELS = {"trace": 0, "debug": 1, "info": 2, "warn": 3, "error": 4}


def arguments() -> argparse.ArgumentParser:
    """The command line (spec 07 section 1.1)."""
    parser = argparse.ArgumentParser(
        prog="meshnode-gateway",
        description="Lead a local network into the mesh: its hosts reach NAME.fips without any software of their own.",
    )
    parser.add_argument("-c", "--config", metavar="FILE", type=Path, help="read exactly this file, not the search list")
    parser.add_argument(
        "-l", "--log-level", metavar="LEVEL", default="info", help="trace, debug, info (as it is), warn or error"
    )
    parser.add_argument(
        "--clean", action="store_true", help="remove what a gateway that was killed left in the kernel, then end"
    )
    parser.add_argument("-V", "--version", action="version", version=f"meshnode-gateway {__version__}")
    return parser


def main() -> None:
    """Run until SIGTERM or SIGINT; exit status 0 then, 1 with one line when there can be no gateway.

    SIGHUP starts the program anew in the same process: connections through the gateway go on. So they do after SIGUSR1,
    which ends it, but leaves the kernel to a process that is to follow.
    """
    if sys.platform != "linux":
        _fail("the gateway needs Linux: it works with the kernel's nftables")
    options = arguments().parse_args()
    handed_over = os.environ.pop(_HANDED_OVER, "") == "1"
    if options.clean:
        if is_running():
            _fail("a gateway runs; stop that one first")
        raise SystemExit(_clean())
    try:
        network = assemble(options.config, _level_log(options.log_level))
    except (ConfigError, GatewayError) as error:
        if handed_over:
            _clean()
        _fail(str(error))
    from twisted.internet import reactor

    process = Process(network, reactor)
    status = process.run()
    if process.starts_anew and not status:
        os.execve(sys.executable, sys.orig_argv, {**os.environ, _HANDED_OVER: "1"})
    if status and handed_over:
        _clean()
    raise SystemExit(status)


def _clean() -> int:
    """Take back what another run left behind; returns the exit status."""
    problems = clean()
    for problem in problems:
        print(f"meshnode-gateway: {problem}", file=sys.stderr)
    return 1 if problems else 0


def assemble(path: Path | None, log: Callable[[str, str], None]) -> LocalNetwork:
    """Read the configuration as the node does, and build what it asks for. Raises `ConfigError` and `GatewayError`."""
    leave_out_tls()
    from twisted.internet import reactor

    loaded = load(path, os.environ, Path.cwd())
    try:
        return LocalNetwork(loaded.config, loaded.places, reactor, log)
    except GatewayError as error:
        files = ", ".join(map(str, loaded.paths)) or "no configuration file"
        raise GatewayError(f"{files}: {error}") from None


class Process:
    """The life of one gateway process on `reactor`."""

    def __init__(self, network: LocalNetwork, reactor: Any) -> None:
        self._reactor = reactor
        self._network = network
        self._status = 0
        self._started = self._stopping = self._keeps = False
        self.starts_anew = False
        """Whether the end of `run` is meant to be the beginning of another."""

    def run(self) -> int:
        """Return the exit status."""
        self._reactor.callWhenRunning(lambda: ensureDeferred(self._start()))
        self._reactor.run()
        return self._status

    async def _start(self) -> None:
        self._listen()
        try:
            await self._network.start()
        except GatewayError as error:
            print(f"meshnode-gateway: {error}", file=sys.stderr)
            self._status = 1
            self._reactor.stop()
            return
        self._started = True
        if self._stopping:
            await self._finish()

    def _listen(self) -> None:
        # Who runs in a terminal ends with it; for a service the same signal is the order to begin anew.
        hung_up = self._stop if os.isatty(0) else self._start_anew
        for number, obey in zip(_ORDERS, (self._stop, self._stop, hung_up, self._make_way), strict=True):
            signal.signal(number, lambda *_, obey=obey: self._reactor.callFromThread(obey))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ORDERS)

    def _start_anew(self) -> None:
        """Stop for a run that follows; orders that come meanwhile wait until that one listens, and do not end it."""
        if not self._stopping:
            signal.pthread_sigmask(signal.SIG_BLOCK, _ORDERS)
            self.starts_anew = self._keeps = True
            self._stop()

    def _make_way(self) -> None:
        """Stop for another process that follows."""
        if not self._stopping:
            self._keeps = True
            self._stop()

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            if self._started:
                ensureDeferred(self._finish())

    async def _finish(self) -> None:
        try:
            await self._network.stop(keep=self._keeps)
        finally:
            self._reactor.stop()


def _level_log(level: str) -> Callable[[str, str], None]:
    write = textFileLogObserver(sys.stdout)

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        """Leave out what Twisted tells of every socket."""
        trouble = event.get("log_level") in (LogLevel.warn, LogLevel.error, LogLevel.critical)
        if trouble or str(event.get("log_namespace")).startswith("meshnode"):
            write(event)

    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False)
    threshold = _LEVELS.get(level.lower(), _LEVELS["info"])
    logger = Logger(namespace="meshnode.gateway")
    emit: dict[str, Callable[..., None]] = {"warn": logger.warn, "error": logger.error}

    def log(level: str, text: str) -> None:
        if _LEVELS[level] >= threshold:
            emit.get(level, logger.info)("{text}", text=text)

    return log


def _fail(line: str) -> NoReturn:
    print(f"meshnode-gateway: {line}", file=sys.stderr)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
