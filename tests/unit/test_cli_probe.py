# ruff: noqa: F811  (fixtures come from a neighbour)
"""`meshctl probe`: what is at an address, told by knocking at real loopback sockets."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from meshnode.cli import knocking
from meshnode.identity import Identity
from meshnode.noise import NONCE, IkResponder, aead
from meshnode.wire.link import EstablishedHeader, EstablishedPlaintext, Heartbeat, Msg1, Msg2
from meshnode.wire.messages import Disconnect, parse_link_message
from tests.unit.test_cli_main import Daemon, daemon, run  # noqa: F401

Run = Callable[..., tuple[int, str, str]]
THERE = Identity(b"\x01" * 32)
NOBODY = Identity(b"\x02" * 32)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knocking, "TRY_SECS", 0.1)
    monkeypatch.setattr(knocking, "_GOODBYE_SECS", 0.1)


class Listener:
    """Something that listens on loopback and does `behave(data, reply)` for each message."""

    def __init__(self, kind: int, behave: Callable[[bytes, Callable[[bytes], object]], None]) -> None:
        self.got: list[bytes] = []
        self.kind = kind
        self._behave = behave
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(5)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        if kind == socket.SOCK_STREAM:
            self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            if self.kind == socket.SOCK_DGRAM:
                while True:
                    data, source = self._socket.recvfrom(2048)
                    if data == b"end":
                        return
                    self.got.append(data)
                    self._behave(data, lambda answer, source=source: self._socket.sendto(answer, source))  # type: ignore[misc]
            connection, _ = self._socket.accept()
            with connection:
                connection.settimeout(2)
                while data := connection.recv(2048):
                    self.got.append(data)
                    self._behave(data, connection.sendall)
        except OSError:
            return

    def close(self) -> None:
        if self._socket.fileno() == -1:
            return
        if self.kind == socket.SOCK_DGRAM:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"end", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()


class NodeThere:
    """Answers the handshake as a node does; `eager` ones send a frame at once and note what comes back."""

    def __init__(self, *, eager: bool = False) -> None:
        self.eager = eager
        self.goodbyes: list[object] = []
        self._receive = b""

    def __call__(self, data: bytes, reply: Callable[[bytes], object]) -> None:
        if data[0] == 0:
            header = EstablishedHeader.parse(data)
            plaintext = aead(self._receive).decrypt(NONCE.pack(header.counter), data[16:], data[:16])
            self.goodbyes.append(parse_link_message(EstablishedPlaintext.parse(plaintext).message))
            return
        msg1 = Msg1.parse(data)
        noise = IkResponder(THERE, bytes(8))
        noise.read_message1(msg1.noise)
        reply(Msg2(7, msg1.sender_index, noise.write_message2(b"\x05" * 32)).encode())
        self._receive = noise.keys.receive
        if self.eager:
            plaintext = EstablishedPlaintext(0, Heartbeat().encode()).encode()
            header = EstablishedHeader(0, len(plaintext), msg1.sender_index, 0).encode()
            reply(header + aead(noise.keys.send).encrypt(NONCE.pack(0), plaintext, header))


@pytest.fixture
def listening() -> Iterator[Callable[..., Listener]]:
    made: list[Listener] = []

    def make(kind: int, behave: Callable[[bytes, Callable[[bytes], object]], None]) -> Listener:
        made.append(Listener(kind, behave))
        return made[-1]

    yield make
    for listener in made:
        listener.close()


Listening = Callable[..., Listener]
KINDS = [("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)]


@pytest.mark.parametrize(("carrier", "kind"), KINDS)
def test_a_node_that_is_there_answers(run: Run, listening: Listening, carrier: str, kind: int) -> None:
    listener = listening(kind, NodeThere())
    status, out, _err = run("probe", listener.address, THERE.npub, "--transport", carrier)
    assert status == 0
    assert f"answer     {THERE.npub} speaks link protocol version 0, handshake in " in out
    assert "address    127.0.0.1\n" in out
    assert ("connected  tcp, in " in out) == (carrier == "tcp")
    assert len(listener.got[0]) == 114


@pytest.mark.parametrize(("carrier", "kind"), KINDS)
def test_a_node_that_takes_us_for_a_peer_is_told_goodbye(
    run: Run, listening: Listening, carrier: str, kind: int
) -> None:
    there = NodeThere(eager=True)
    listener = listening(kind, there)
    assert run("probe", listener.address, THERE.npub, "--transport", carrier)[0] == 0
    listener.close()
    assert [type(message) for message in there.goodbyes] == [Disconnect]


def silent(data: bytes, reply: Callable[[bytes], object]) -> None:
    """Say nothing, as a node does to whom it does not know."""


def test_silence_is_told_with_its_causes(run: Run, listening: Listening) -> None:
    listener = listening(socket.SOCK_DGRAM, silent)
    status, out, _err = run("probe", listener.address, NOBODY.npub)
    assert status == 1
    assert "trouble    nothing came back" in out
    assert "a firewall on the way, another key than this, an access list there, or no node" in out
    assert len(listener.got) == knocking.TRIES
    assert len(set(listener.got)) == 1


@pytest.mark.parametrize(("carrier", "kind"), KINDS)
def test_a_port_where_nothing_listens_is_named(run: Run, carrier: str, kind: int) -> None:
    with socket.socket(socket.AF_INET, kind) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    status, out, _err = run("probe", f"127.0.0.1:{port}", THERE.npub, "--transport", carrier)
    assert status == 1
    assert f"nothing listens at {carrier} port {port}" in out


def test_another_program_is_told_from_a_node(run: Run, listening: Listening) -> None:
    listener = listening(socket.SOCK_DGRAM, lambda data, reply: reply(b"220 ready"))
    status, out, _err = run("probe", listener.address, THERE.npub)
    assert status == 1
    assert "something answers, but not this node" in out


def test_a_forged_answer_is_no_answer(run: Run, listening: Listening) -> None:
    def forge(data: bytes, reply: Callable[[bytes], object]) -> None:
        reply(Msg2(1, Msg1.parse(data).sender_index, bytes(57)).encode())

    status, out, _err = run("probe", listening(socket.SOCK_DGRAM, forge).address, THERE.npub)
    assert status == 1
    assert "something answers, but not this node" in out


def test_a_stream_that_closes_at_once_is_told(run: Run, listening: Listening) -> None:
    def close(data: bytes, reply: Callable[[bytes], object]) -> None:
        raise ConnectionResetError

    status, out, _err = run("probe", listening(socket.SOCK_STREAM, close).address, THERE.npub, "--transport", "tcp")
    assert status == 1
    assert "the other side closed the connection" in out


def test_without_a_peer_only_the_way_can_be_tried(run: Run, listening: Listening) -> None:
    assert run("probe", listening(socket.SOCK_STREAM, silent).address, "--transport", "tcp")[0] == 0
    status, out, _err = run("probe", listening(socket.SOCK_DGRAM, silent).address)
    assert status == 1
    assert "name the node as well: meshctl probe ADDRESS PEER" in out


def test_a_name_without_address_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_more: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    status, out, _err = run("probe", "nowhere.example:2121", THERE.npub)
    assert status == 1
    assert "nowhere.example has no address: Name or service not known" in out


@pytest.mark.parametrize("address", ["", "host", "host:0", "host:65536", "host:port", "::1:2121"])
def test_what_is_no_address_is_refused_in_one_line(run: Run, address: str) -> None:
    status, _out, err = run("probe", address, THERE.npub)
    assert status == 1
    assert err == f"error: {address!r} is no address: write host:port, or [ipv6]:port\n"


def test_an_npub_that_is_none_is_refused_in_one_line(run: Run) -> None:
    status, _out, err = run("probe", "127.0.0.1:1", "npub1wrong")
    assert status == 1
    assert err.startswith("error: npub1wrong: ")


def test_programs_get_json(run: Run, listening: Listening) -> None:
    _status, out, _err = run("probe", listening(socket.SOCK_DGRAM, NodeThere()).address, THERE.npub, "--json")
    told = json.loads(out)
    assert told["reached"] is True
    assert told["answered_ms"] >= 0
    assert told["trouble"] is None
