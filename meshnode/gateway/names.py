"""What a host of the local network is answered when it asks for a name (spec 07 section 4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from ipaddress import IPv6Address

from twisted.internet.defer import Deferred

from meshnode.ipv6.dns_forward import Forwarder
from meshnode.ipv6.dns_message import (
    TYPE_AAAA,
    TYPE_ANY,
    DnsFormatError,
    Query,
    Rcode,
    encode_query,
    encode_relayed,
    find_address,
    parse_query,
)

_ZONE = b".fips"

Lend = Callable[[bytes, str, str], Awaitable[bytes | None]]
"""`await lend(mesh_address, name, client)` is the address that stands for the node, once it works; None when there is
none to be had for the host `client`.
"""


@dataclass(slots=True)
class NameCounters:
    """Questions by what became of them."""

    answered: int = 0
    refused: int = 0
    failed: int = 0
    not_found: int = 0
    malformed: int = 0


class GatewayNames:
    """Answers questions under `.fips` with lent addresses.

    `node` leads to the node's own responder, which thereby learns whom the gateway will send to. `clock` is Unix time.
    """

    def __init__(
        self, node: Forwarder, lend: Lend, ttl: int, clock: Callable[[], float], warn: Callable[[str], None]
    ) -> None:
        self.counters = NameCounters()
        self._node = node
        self._lend = lend
        self._ttl = ttl
        self._clock = clock
        self._warn = warn

    async def answer(self, message: bytes, client: str) -> bytes | None:
        """The answer to a question as it arrived from the host `client`; None for what is no question."""
        try:
            query = parse_query(message)
        except DnsFormatError:
            self.counters.malformed += 1
            return None
        if query.opcode:
            return encode_relayed(query, Rcode.NOTIMP)
        if not query.questions[0].name.lower().removesuffix(b".").endswith(_ZONE):
            self.counters.refused += 1
            return encode_relayed(query, Rcode.REFUSED)
        return await self._resolve(query, client)

    async def ask_node(self, name: str) -> bytes | None:
        """Ask the node for a name again, so that it knows whom its address belongs to.

        Returns the mesh address, None where there is none, as for what can be no name at all.
        """
        labels = tuple(label.encode() for label in name.split("."))
        try:
            query = parse_query(encode_query(0, labels, TYPE_AAAA))
        except DnsFormatError:
            return None
        _rcode, address = await self._ask(query)
        return address

    async def _resolve(self, query: Query, client: str) -> bytes:
        rcode, mesh = await self._ask(query)
        if rcode != Rcode.NOERROR:
            self.counters.not_found += rcode == Rcode.NXDOMAIN
            self.counters.failed += rcode != Rcode.NXDOMAIN
            return encode_relayed(query, rcode)
        if mesh is None or mesh[0] != 0xFD:
            if mesh is not None:
                self._warn(f"the node answered with {IPv6Address(mesh)}, which is no mesh address")
            self.counters.failed += 1
            return encode_relayed(query, Rcode.SERVFAIL)
        name = query.questions[0].name.lower().decode("ascii", "replace").removesuffix(".")
        virtual = await self._lend(mesh, name, client)
        if virtual is None:
            self.counters.failed += 1
            return encode_relayed(query, Rcode.SERVFAIL)
        self.counters.answered += 1
        if query.questions[0].qtype in (TYPE_AAAA, TYPE_ANY):
            return encode_relayed(query, Rcode.NOERROR, virtual, self._ttl)
        return encode_relayed(query, Rcode.NOERROR, None, self._ttl, serial=int(self._clock()))

    async def _ask(self, query: Query) -> tuple[int, bytes | None]:
        """Ask the node for the AAAA record of the first question."""
        question = replace(query.questions[0], qtype=TYPE_AAAA)
        message = encode_query(0, question.labels, TYPE_AAAA, question.qclass)
        asked = parse_query(message)
        arrived: Deferred[bytes] = Deferred()
        if not self._node.ask(message, asked, arrived.callback):
            return Rcode.SERVFAIL, None
        return find_address(await arrived, asked)
