"""Targets for those who use a node from outside the mesh: web page, control socket, the gateway's hosts, Tor."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from meshnode.config.operator_sections import Endpoint
from meshnode.control.commands import CommandError, Stream
from meshnode.control.encoding import success
from meshnode.control.http import QuietSite
from meshnode.control.metrics.site import site as metrics
from meshnode.control.web.guard import Guard
from meshnode.control.web.site import site
from meshnode.gateway.names import GatewayNames
from meshnode.gateway.proxy_requests import Conversation, Page, RequestRefused, Wanted
from meshnode.identity import Identity
from meshnode.ipv6.dns_message import DnsFormatError, Query, parse_query
from meshnode.transports.tor.control import _progress, _Session
from tests.fuzz.tape import Tape, Target, pieces
from tests.unit.test_control_state import Chain

_TOKEN = "correct horse"
_OTHER = Identity(bytes([8]) * 32)
_SLOW = frozenset(("show_listening_sockets",))  # looks at the machine, in a thread


@cache
def _mesh() -> Chain:
    return Chain()


@contextlib.contextmanager
def _nothing_logged() -> Iterator[None]:
    """Fail when something was caught by a server and written to its log as a traceback."""
    failures: list[LogEvent] = []

    def note(event: LogEvent) -> None:
        if "log_failure" in event:
            failures.append(event)

    globalLogPublisher.addObserver(note)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(note)
    assert not failures, failures[0]["log_failure"].getTraceback()


def web(data: bytes) -> None:
    """A whole connection of a browser, or of whatever else speaks on that port."""
    chain = _mesh()
    guard = Guard(Endpoint("/run/page", "", 0), chain.hosts[0].identity.peer, (), _TOKEN)
    for root in (site(chain.operators[0].state, guard), metrics(chain.hosts[0].node)):
        channel = QuietSite(root, None, None).buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        transport = StringTransport()
        with _nothing_logged():
            channel.makeConnection(transport)
            channel.dataReceived(data)
            channel.connectionLost(Failure(ConnectionDone()))
        assert transport.value()[:5] in (b"", b"HTTP/")


_WORDS: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**63, 1e300, float("nan"), "", "x", "1s", "1m", "10m", "2h", "9" * 30 + "s", "5µ", "s",
    "info", "debug", "udp", "tcp/main", "memory", "nat", "192.0.2.1:2121", "[fe80::1%9]:1", "c", "host.example:1",
    "srtt_ms", "peer_count", "peer_up", "npub1", "npub1" + "q" * 58, _OTHER.npub, [], {}, ["peer_up"], [[]], {"a": 1},
)  # fmt: skip
_NAMES = (
    "npub", "address", "transport", "alias", "window", "granularity", "metric", "peer", "since", "events", "limit",
    "level", "probe_id", "decrypt", "count",
)  # fmt: skip


def commands(data: bytes) -> None:
    """Any command with any parameters gets an answer that is JSON, or says why not."""
    dice = Tape(data)
    operator = _mesh().operators[0].state
    everybody = [host.identity.npub for host in _mesh().hosts]
    while not dice.over:
        name = dice.choice([one for one in operator.commands if one not in _SLOW])
        given: Any = {dice.choice(_NAMES): dice.choice((*_WORDS, *everybody)) for _ in range(dice.randrange(5))}
        try:
            answer: Any = operator.answer(name, dice.choice((given, given, given, dice.choice(_WORDS))))
        except CommandError:
            continue
        if isinstance(answer, Deferred):
            answer.addErrback(lambda failure: failure.trap(CommandError))
            continue
        if isinstance(answer, Stream):
            answer.close()
            answer = answer.head
        assert json.loads(b"".join(success(answer)), parse_constant=_refused)["status"] == "ok"


def _refused(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def proxy(data: bytes) -> None:
    """A client of the gateway's proxy, whole and cut up: it wants the same, and only what lies in the mesh."""
    assert _wanted(data, len(data) or 1) == _wanted(data, 7)


def _wanted(data: bytes, size: int) -> object:
    conversation = Conversation()
    try:
        for at in range(0, len(data), size):
            found = conversation.feed(data[at : at + size])
            if isinstance(found, Page):
                return found.answer()
            if isinstance(found, Wanted):
                assert found.name.endswith(".fips")
                return found
    except RequestRefused as refusal:
        return refusal.trouble
    return None


class _Node:
    """The node's responder, which says anything."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def ask(self, message: bytes, query: Query, reply: Callable[[bytes], None]) -> bool:
        reply(self._answer)
        return bool(self._answer)


def gateway_names(data: bytes) -> None:
    """A question of a host of the local network, and what the node behind the gateway makes of it."""
    question, answer = (*pieces(data), b"", b"")[:2]

    async def lend(mesh: bytes, name: str, client: str) -> bytes | None:
        return mesh if name else None

    names = GatewayNames(_Node(answer), lend, 60, lambda: 0.0, lambda text: None)  # type: ignore[arg-type]
    said: list[bytes | None] = []
    ensureDeferred(names.answer(question, "fd02::20")).addCallback(said.append)
    try:
        parse_query(question)
    except DnsFormatError:
        assert said == [None]
    else:
        assert said[0] is None or said[0][:2] == question[:2]


def tor(data: bytes) -> None:
    """Whoever has the control port says anything: the conversation ends, with a cause."""
    session = _Session()
    session.makeConnection(StringTransport())
    asked = session.queue_command("GETINFO version")
    asked.addErrback(lambda failure: None)
    session.dataReceived(data)
    _progress(data.decode("utf-8", "replace"))


OPERATORS: dict[str, Target] = {
    "web": web,
    "commands": commands,
    "proxy": proxy,
    "gateway-names": gateway_names,
    "tor": tor,
}
