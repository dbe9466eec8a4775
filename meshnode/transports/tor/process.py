"""A Tor of our own: started with the node, started again when it ends, gone with the node."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshnode.transports.interfaces import TransportError

from .settings import OwnTor

RESTART_SECS = 5.0

_TORRC = """\
DataDirectory {data}
SocksPort unix:{socks} IsolateSOCKSAuth
ControlSocket {control}
CookieAuthentication 1
CookieAuthFile {cookie}
Log notice stdout
SafeLogging 1
ClientOnly 1
AvoidDiskWrites 1
"""

_log = Logger()


class TorProcess(ProcessProtocol):
    """Runs `tor` in a directory of its own. `trouble(text)` hears when it cannot be run, or ends."""

    def __init__(self, own: OwnTor, reactor: Any, trouble: Callable[[str], None]) -> None:
        self._own = own
        self._directory = Path(own.data_directory)
        self._reactor = reactor
        self._trouble = trouble
        self._process: Any = None
        self._timer: IDelayedCall | None = None
        self._last_line = ""
        self._stopping = False

    @property
    def socks_addr(self) -> str:
        return str(self._directory / "socks")

    @property
    def control_addr(self) -> str:
        return str(self._directory / "control")

    @property
    def cookie_path(self) -> str:
        return str(self._directory / "cookie")

    def start(self) -> None:
        """Write the configuration and run the program. Raises `TransportError`."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._directory.chmod(0o700)  # Tor refuses sockets that others might reach
            self._torrc().write_text(self._configuration())
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise TransportError(f"tor: {self._directory} cannot be used for a Tor of our own: {reason}") from error
        self._run()

    def stop(self) -> None:
        """Let Tor end."""
        self._stopping = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._process is not None:
            try:
                self._process.signalProcess("TERM")
            except ProcessExitedAlready:
                pass

    def _torrc(self) -> Path:
        return self._directory / "torrc"

    def _configuration(self) -> str:
        text = _TORRC.format(
            data=self._directory / "data", socks=self.socks_addr, control=self.control_addr, cookie=self.cookie_path
        )
        return text if self._own.torrc is None else f"{text}%include {self._own.torrc}\n"

    def _run(self) -> None:
        # A Tor whose owner is gone ends by itself, however the owner went.
        arguments = [self._own.program, "-f", str(self._torrc()), "__OwningControllerProcess", str(os.getpid())]
        self._process = self._reactor.spawnProcess(self, self._own.program, arguments, os.environ)

    def outReceived(self, data: bytes) -> None:  # noqa: N802
        for line in data.decode(errors="replace").splitlines():
            self._last_line = line.strip() or self._last_line
            _log.debug("tor: {line}", line=line)

    errReceived = outReceived  # noqa: N815

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        self._process = None
        if self._stopping:
            return
        status = getattr(reason.value, "exitCode", None)
        if status == 1 and not self._last_line:
            cause = f"{self._own.program} cannot be run; is it installed?"
        else:
            cause = f"it ended with status {status}: {self._last_line}"
        self._trouble(f"our own Tor: {cause}")
        self._timer = self._reactor.callLater(RESTART_SECS, self._run)
