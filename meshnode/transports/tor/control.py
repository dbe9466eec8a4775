"""The control port: authentication, what Tor says about itself, and onion services (spec 04 section 7.5).

A session ends when Tor restarts; the supervisor then begins another one, for ever, and offers the same onion again.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from twisted.internet.defer import AlreadyCalledError, CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from txtorcon.torcontrolprotocol import TorControlProtocol, TorDisconnectError, TorProtocolError

from meshnode.transports.causes import describe
from meshnode.transports.endpoints import local_endpoint

from .onion import OnionKey
from .settings import TorSettings

POLL_SECS = 10.0
EAGER_POLL_SECS = 1.0
COMMAND_SECS = 10.0
PAUSES = (1.0, 2.0, 5.0, 10.0)
COOKIE_BYTES = 32

_SERVER_HASH = b"Tor safe cookie authentication server-to-controller hash"
_CLIENT_HASH = b"Tor safe cookie authentication controller-to-server hash"
_CHALLENGE = re.compile(r"SERVERHASH=([0-9A-Fa-f]{64}) SERVERNONCE=([0-9A-Fa-f]{64})")
_SERVICE_ID = re.compile(r"^ServiceID=([a-z2-7]{56})$", re.MULTILINE)
_PRIVATE_KEY = re.compile(r"^PrivateKey=(ED25519-V3:[A-Za-z0-9+/=]+)$", re.MULTILINE)
_PROGRESS = re.compile(r"PROGRESS=(\d+)")


class ControlError(Exception):
    """The control port cannot be used; the text is for the operator."""


@dataclass(slots=True)
class Monitoring:
    """What Tor last said about itself, under the names operators know (spec 06 section 3.11)."""

    bootstrap: int = 0
    circuit_established: bool = False
    traffic_read: int = 0
    traffic_written: int = 0
    network_liveness: str = "unknown"
    version: str = "unknown"
    dormant: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class _Session(TorControlProtocol):  # type: ignore[misc]
    """txtorcon's protocol with an authentication of our own, which lets no wrong Tor see the cookie or the password."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: Deferred[_Session] = Deferred()

    def connectionMade(self) -> None:  # noqa: N802
        """Leave the conversation to the supervisor."""
        self.opened.callback(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Take what Tor says; the session ends with what is no reply, at which txtorcon raises whatever comes up."""
        try:
            super().dataReceived(data)
        except (ValueError, RuntimeError, LookupError, AttributeError, TypeError, AlreadyCalledError):
            self.transport.abortConnection()


class _SessionFactory(Factory):
    protocol = _Session
    noisy = False


class TorControl:
    """Supervises one control port. `changed()` is called when `monitoring`, `onion_address` or `published` is another.

    `trouble(text)` takes a line for the operator, once per cause. `onion_target` is the local port of the onion
    service, if one is to be offered.
    """

    def __init__(
        self,
        settings: TorSettings,
        reactor: Any,
        changed: Callable[[], None],
        trouble: Callable[[str], None],
        onion_target: int | None = None,
        onion_key: OnionKey | None = None,
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._changed = changed
        self._trouble = trouble
        self._target = onion_target
        self._key = onion_key
        self._running: Deferred[None] | None = None
        self._said = ""
        self.monitoring: Monitoring | None = None
        self.onion_address: str | None = None
        self.published = False

    def start(self) -> None:
        """Begin to supervise."""
        self._running = Deferred.fromCoroutine(self._supervise())
        self._running.addErrback(_stopped)

    def stop(self) -> None:
        """End the session, and the onion service with it."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    # -- sessions

    async def _supervise(self) -> None:
        pauses = iter(PAUSES)
        while True:
            try:
                await self._session()
            except ControlError as error:
                self._complain(str(error))
            if self.monitoring is not None:
                pauses = iter(PAUSES)
            self.monitoring, self.published = None, False
            self._changed()
            await self._sleep(next(pauses, PAUSES[-1]))

    def _complain(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._trouble(text)

    async def _session(self) -> None:
        """One conversation, to its end. Raises `ControlError`."""
        session = await self._connect()
        try:
            await self._authenticate(session)
            if self._target is not None:
                await self._offer(session, self._target)
            while True:
                self.monitoring = await self._ask(session)
                self._said = ""
                self._changed()
                settled = self.monitoring.circuit_established and (self.published or self._target is None)
                await self._sleep(POLL_SECS if settled else EAGER_POLL_SECS)
        finally:
            session.transport.abortConnection()

    async def _connect(self) -> _Session:
        address = self._settings.control_addr
        endpoint = local_endpoint(self._reactor, address, COMMAND_SECS)
        try:
            session = await endpoint.connect(_SessionFactory())
            return await session.opened  # type: ignore[no-any-return]
        except (OSError, ConnectError) as error:
            raise ControlError(f"no Tor control port at {address}: {describe(error)}") from error

    def _sleep(self, seconds: float) -> Deferred[None]:
        return deferLater(self._reactor, seconds)

    async def _command(self, session: _Session, line: str) -> str:
        """The reply to one command. Raises `ControlError`."""
        reply: Deferred[str] = session.queue_command(line)
        try:
            return await reply.addTimeout(COMMAND_SECS, self._reactor)
        except TorProtocolError as error:
            raise ControlError(f"Tor answers: {error.text}") from error
        except (TorDisconnectError, ConnectionClosed) as error:
            raise ControlError("Tor closed its control port") from error
        except TimeoutError as error:
            raise ControlError("Tor does not answer at its control port") from error

    # -- authentication

    async def _authenticate(self, session: _Session) -> None:
        kind, _, argument = self._settings.control_auth.partition(":")
        if kind == "password":
            proof = '"' + argument.replace("\\", "\\\\").replace('"', '\\"') + '"'
        elif kind == "cookie":
            proof = await self._prove_cookie(session, argument or self._settings.cookie_path)
        else:
            raise ControlError("control_auth is none of `cookie`, `cookie:/path`, `password:secret`")
        await self._command(session, f"AUTHENTICATE {proof}")

    async def _prove_cookie(self, session: _Session, path: str) -> str:
        """Show that we know the cookie to a Tor that has shown that it does, too."""
        cookie = _read_cookie(path)
        ours = os.urandom(32)
        reply = await self._command(session, f"AUTHCHALLENGE SAFECOOKIE {ours.hex()}")
        challenge = _CHALLENGE.search(reply)
        if challenge is None:
            raise ControlError("Tor does not know SAFECOOKIE authentication")
        message = cookie + ours + bytes.fromhex(challenge[2])
        if not hmac.compare_digest(hmac.digest(_SERVER_HASH, message, sha256), bytes.fromhex(challenge[1])):
            raise ControlError(f"whoever has the control port does not know the cookie in {path}")
        return hmac.digest(_CLIENT_HASH, message, sha256).hex()

    # -- questions

    async def _ask(self, session: _Session) -> Monitoring:
        monitoring = Monitoring(
            bootstrap=_progress(await self._info(session, "status/bootstrap-phase")),
            circuit_established=await self._info(session, "status/circuit-established") == "1",
            traffic_read=_number(await self._info(session, "traffic/read")),
            traffic_written=_number(await self._info(session, "traffic/written")),
            network_liveness=await self._info(session, "network-liveness") or "unknown",
            version=await self._info(session, "version") or "unknown",
            dormant=await self._info(session, "dormant") == "1",
        )
        if self.onion_address is not None and not self.published:
            name = self.onion_address.removesuffix(".onion")
            self.published = "hs-descriptor" in await self._info(session, f"hs/service/desc/id/{name}")
        return monitoring

    async def _info(self, session: _Session, key: str) -> str:
        """One value; empty when this Tor does not know it (yet)."""
        try:
            reply = await self._command(session, f"GETINFO {key}")
        except ControlError as error:
            if isinstance(error.__cause__, TorProtocolError):
                return ""
            raise
        return reply.partition("=")[2].strip()

    # -- the onion service

    async def _offer(self, session: _Session, target: int) -> None:
        """Have an onion service, under the name it had before if there is one."""
        key = self._key.load() if self._key is not None else None
        port = f"Port={self._settings.advertised_port},127.0.0.1:{target}"
        reply = await self._command(session, f"ADD_ONION {key or 'NEW:ED25519-V3'} {port}")
        service = _SERVICE_ID.search(reply)
        if service is None:
            raise ControlError("Tor made no onion service")
        made = _PRIVATE_KEY.search(reply)
        if made is not None and self._key is not None:
            self._key.save(made[1])
        self.onion_address = f"{service[1]}.onion"


def _stopped(reason: Failure) -> Failure | None:
    return None if isinstance(reason.value, CancelledError) else reason


def _read_cookie(path: str) -> bytes:
    try:
        cookie = Path(path).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ControlError(f"the control cookie {path} cannot be read: {reason}") from error
    if len(cookie) != COOKIE_BYTES:
        raise ControlError(f"the control cookie {path} has {len(cookie)} bytes and not {COOKIE_BYTES}")
    return cookie


def _progress(text: str) -> int:
    found = _PROGRESS.search(text)
    return 0 if found is None else int(found[1])


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
