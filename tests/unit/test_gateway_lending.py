"""From a host's question to an address that works, with the node and the kernel played by the test."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from ipaddress import IPv6Address
from pathlib import Path
from select import select

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.testing import MemoryReactorClock

from meshnode.config.load import load
from meshnode.gateway.gateway import NEW_NAMES_AT_ONCE, NEW_NAMES_PER_SECOND, Gateway
from meshnode.gateway.plan import plan
from meshnode.ipv6.commands import Finished
from meshnode.ipv6.dns_message import TYPE_AAAA, Rcode, encode_answer, encode_query, parse_query

MESH = "fd97:1::1"
A = 1
QUESTIONS = [encode_query(number, (b"printer", b"fips"), kind) for number, kind in enumerate((A, TYPE_AAAA))]


def mesh_address(label: bytes) -> bytes:
    """Node 7 has the name n7.fips, and every other name is that of the printer."""
    return IPv6Address(f"fd97:2::{label[1:].decode()}" if label[:1] == b"n" else MESH).packed


class Rig:
    """A gateway that asks `node`, a socket of the test; commands wait for `obey`."""

    def __init__(self, directory: Path, node: socket.socket) -> None:
        file = directory / "fips.yaml"
        upstream = f"[::1]:{node.getsockname()[1]}"
        section = {"enabled": True, "pool": "fd01::/112", "lan_interface": "lan", "dns": {"upstream": upstream}}
        file.write_text(json.dumps({"gateway": section}))
        loaded = load(file, {}, directory)
        self.node, self.reactor = node, MemoryReactorClock()
        self.said: list[str] = []
        self.commands: list[Deferred[Finished]] = []
        self.answers: list[bytes | None] = []
        self.gateway = Gateway(
            plan(loaded.config, loaded.places),
            self.reactor,
            lambda level, text: self.said.append(text),
            run=self._run,
            record=directory / "gateway.json",
            now=self.reactor.seconds,
        )

    def _run(self, arguments: Sequence[str], *, text: str = "") -> Deferred[Finished]:
        self.commands.append(Deferred())
        return self.commands[-1]

    def ask(self, *questions: bytes, client: str = "fd02::20") -> None:
        for question in questions:
            ensureDeferred(self.gateway.names.answer(question, client)).addCallback(self.answers.append)

    def let_the_node_answer(self) -> None:
        """It says who has every name that it was asked for so far."""
        readers = self.reactor.getReaders()
        for _ in readers:
            message, client = self.node.recvfrom(512)
            query = parse_query(message)
            self.node.sendto(
                encode_answer(query, Rcode.NOERROR, mesh_address(query.questions[0].labels[0]), 300), client
            )
        for reader in readers:
            select([reader], [], [], 5)
            reader.doRead()

    def resolve(self, client: str, numbers: range) -> int:
        """`client` asks for the names of nodes by number, and everybody obeys; how many addresses it gets."""
        self.answers.clear()
        for some in (numbers[at : at + 100] for at in range(0, len(numbers), 100)):
            self.ask(
                *(encode_query(number, (f"n{number}".encode(), b"fips"), TYPE_AAAA) for number in some), client=client
            )
            self.let_the_node_answer()
            self.let_the_kernel_obey()
        assert len(self.answers) == len(numbers)
        return sum(answer is not None and answer[3] & 15 == Rcode.NOERROR for answer in self.answers)

    def let_the_kernel_obey(self) -> None:
        while self.commands:
            self.commands.pop(0).callback(Finished(0, b"", b""))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as node:
        node.settimeout(5)
        node.bind(("::1", 0))
        yield Rig(tmp_path, node)


def test_a_host_that_asks_for_both_kinds_of_addresses_is_one_line_in_the_log(rig: Rig) -> None:
    rig.ask(*QUESTIONS)
    rig.let_the_node_answer()
    assert rig.answers == [], "nothing is translated yet"
    rig.let_the_kernel_obey()
    assert len(rig.answers) == 2
    assert rig.said == [f"fd01::1 stands for printer.fips, {MESH}"]


def test_a_host_that_asks_for_all_names_there_are_leaves_the_others_their_share(rig: Rig) -> None:
    greedy, honest = "fd02::20", "fd02::21"
    assert rig.resolve(greedy, range(1000)) == NEW_NAMES_AT_ONCE
    assert rig.resolve(honest, range(1000, 1020)) == 20
    assert rig.resolve(greedy, range(500)) == 500, "known names cost nothing new"
    told = [line for line in rig.said if "stands for" not in line]
    assert told == [f"{greedy} asks for more than 32 new names a second, and must wait"]
    rig.reactor.advance(2.0)
    assert rig.resolve(greedy, range(2000, 2100)) == 2 * NEW_NAMES_PER_SECOND
