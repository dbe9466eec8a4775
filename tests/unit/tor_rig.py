"""A Tor control port of the test's own: authentication, GETINFO, ADD_ONION."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from tests.unit.stream_rig import JumpingReactor

COOKIE = bytes(range(32))
NONCE = bytes(32)
SERVICE = "c" * 56
PRIVATE_KEY = "ED25519-V3:" + "A" * 86 + "=="
BOOTSTRAPPED = {
    "status/bootstrap-phase": 'NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY="Done"',
    "status/circuit-established": "1",
    "traffic/read": "1234",
    "traffic/written": "567",
    "network-liveness": "up",
    "version": "0.4.9.11",
    "dormant": "0",
}


@dataclass
class ControlPort:
    """`info` are the answers to GETINFO, `knows` the cookie it has, `password` what it takes instead."""

    reactor: JumpingReactor
    info: dict[str, str] = field(default_factory=lambda: dict(BOOTSTRAPPED))
    knows: bytes = COOKIE
    password: str = "secret"
    commands: list[str] = field(default_factory=list)
    sessions: list[_Session] = field(default_factory=list)
    port: int = 0
    listening: Any = None

    def start(self) -> None:
        factory = Factory.forProtocol(lambda: _Session(self))
        factory.noisy = False
        self.listening = self.reactor.listenTCP(self.port, factory, interface="127.0.0.1")
        self.port = self.listening.getHost().port

    def stop(self) -> None:
        """Be gone, as a Tor that is killed."""
        self.listening.stopListening()
        for session in list(self.sessions):
            session.transport.abortConnection()
        self.reactor.turn()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def asked(self, beginning: str) -> list[str]:
        return [command for command in self.commands if command.startswith(beginning)]


class _Session(LineOnlyReceiver):
    transport: Any

    def __init__(self, server: ControlPort) -> None:
        self.server = server
        self.expected = ""
        self.authenticated = False

    def connectionMade(self) -> None:
        self.server.sessions.append(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.server.sessions.remove(self)

    def lineReceived(self, line: bytes) -> None:
        text = line.decode()
        self.server.commands.append(text)
        name, _, argument = text.partition(" ")
        if name == "AUTHCHALLENGE":
            self._challenge(bytes.fromhex(argument.split()[1]))
        elif name == "AUTHENTICATE":
            self.authenticated = argument in (self.expected, f'"{self.server.password}"')
            self._say("250 OK" if self.authenticated else "515 Authentication failed: Password did not match")
        elif not self.authenticated:
            self._say("514 Authentication required")
        elif name == "GETINFO":
            value = self.server.info.get(argument)
            self._say("552 Unrecognized key" if value is None else f"250-{argument}={value}\r\n250 OK")
        elif name == "ADD_ONION":
            key = f"250-PrivateKey={PRIVATE_KEY}\r\n" if argument.startswith("NEW:") else ""
            self.server.info[f"hs/service/desc/id/{SERVICE}"] = "hs-descriptor 3"
            self._say(f"250-ServiceID={SERVICE}\r\n{key}250 OK")
        else:
            self._say("510 Unrecognized command")

    def _challenge(self, theirs: bytes) -> None:
        message = self.server.knows + theirs + NONCE
        ours = hmac.digest(b"Tor safe cookie authentication server-to-controller hash", message, sha256)
        proof = hmac.digest(b"Tor safe cookie authentication controller-to-server hash", message, sha256)
        self.expected = proof.hex()
        self._say(f"250 AUTHCHALLENGE SERVERHASH={ours.hex().upper()} SERVERNONCE={NONCE.hex().upper()}")

    def _say(self, text: str) -> None:
        self.sendLine(text.encode())
