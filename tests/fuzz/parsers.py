"""Targets that read what comes from outside: any bytes end well, or with the error the reader documents."""

from __future__ import annotations

import contextlib
import tempfile
from functools import cache
from pathlib import Path

from meshnode.config.access_list import parse as parse_access_list
from meshnode.config.access_list import with_entry, without_entries
from meshnode.config.errors import ConfigError
from meshnode.config.load import load
from meshnode.config.validate import validate
from meshnode.control.request import RequestError, parse_request
from meshnode.identity import Identity, IdentityError, PeerIdentity
from meshnode.ipv6.adapter import Ipv6Adapter
from meshnode.ipv6.dns import FipsZone
from meshnode.ipv6.dns_message import DnsFormatError, is_reply_to, parse_query, server_failure
from meshnode.ipv6.hosts import HostMap
from meshnode.noise import IkInitiator, IkResponder, NoiseError, XkInitiator, XkResponder
from meshnode.transports.framing import FrameReader
from meshnode.wire import WireError, parse_link_message, parse_session_message, parse_signal, stream_frame_length
from meshnode.wire.link import Msg1, Msg2
from tests.fuzz.tape import Target, pieces

_ME, _OTHER = Identity(bytes([7]) * 32), Identity(bytes([8]) * 32)
_MTU = 1472


def link_message(data: bytes) -> None:
    with contextlib.suppress(WireError):
        message = parse_link_message(data)
        assert parse_link_message(message.encode()) == message


def session_message(data: bytes) -> None:
    with contextlib.suppress(WireError):
        message = parse_session_message(data)
        assert parse_session_message(message.encode()) == message


def signal(data: bytes) -> None:
    with contextlib.suppress(WireError):
        parse_signal(data)


def frame(data: bytes) -> None:
    for parse in (Msg1.parse, Msg2.parse):
        with contextlib.suppress(WireError):
            parse(data)
    with contextlib.suppress(WireError):
        stream_frame_length(data, _MTU)


def handshake(data: bytes) -> None:
    """All five handshake messages, against parties that wait for them."""
    epoch, secret = bytes(8), bytes([3]) * 32
    with contextlib.suppress(NoiseError):
        IkResponder(_ME, epoch).read_message1(data)
    dialling = IkInitiator(_ME, _OTHER.peer, epoch, secret)
    dialling.message1()
    with contextlib.suppress(NoiseError):
        dialling.read_message2(data)
    with contextlib.suppress(NoiseError):
        XkResponder(_ME, epoch).read_message1(data)
    opening = XkInitiator(_ME, _OTHER.peer, epoch, secret)
    opening.message1()
    with contextlib.suppress(NoiseError):
        opening.read_message2(data)
    answering = XkResponder(_OTHER, epoch)
    answering.read_message1(opening_message())
    answering.write_message2(secret)
    with contextlib.suppress(NoiseError):
        answering.read_message3(data)


@cache
def opening_message() -> bytes:
    return XkInitiator(_ME, _OTHER.peer, bytes(8), bytes([4]) * 32).message1()


@cache
def _zone() -> FipsZone:
    names = HostMap(None, [("alpha", _OTHER.peer)])
    return FipsZone(names, 60, lambda _: None)


def dns(data: bytes) -> None:
    """A question, and the same bytes as the answer of a server behind us."""
    try:
        query = parse_query(data)
    except DnsFormatError:
        return
    zone = _zone()
    answer = zone.answer(query) if zone.concerns(query) else server_failure(data, query)
    assert answer[:2] == data[:2]
    is_reply_to(data, answer, query)


def control(data: bytes) -> None:
    with contextlib.suppress(RequestError):
        parse_request(data[:4096])


def config(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "fips.yaml")
        file.write_bytes(data)
        with contextlib.suppress(ConfigError):
            loaded = load(file, {}, Path(directory))
            validate(loaded.config, loaded.places)


def hosts(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        names = HostMap(file.name)
        assert all("\n" not in warning for warning in names.warnings)


def access_list(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    found = parse_access_list(text)
    assert parse_access_list(with_entry(text, "newcomer")).tokens.keys() >= found.tokens.keys()
    assert not parse_access_list(without_entries(text, lambda token: True)).tokens


def stream(data: bytes) -> None:
    """Bytes of a connection, in pieces: the same frames come out however they are cut."""
    whole, pieces = FrameReader(_MTU), FrameReader(_MTU)
    expected: list[bytes] = []
    with contextlib.suppress(WireError):
        expected = whole.feed(data)
    got: list[bytes] = []
    with contextlib.suppress(WireError):
        for at in range(0, len(data), 7):
            got += pieces.feed(data[at : at + 7])
    assert got[: len(expected)] == expected
    assert pieces.pending <= _MTU + 64


def keys(data: bytes) -> None:
    text = data.decode("latin-1")
    for read in (PeerIdentity.from_npub, Identity.parse):
        with contextlib.suppress(IdentityError):
            read(text)


class _Node:
    def send_ipv6(self, destination: bytes, packets: list[bytes]) -> None:
        assert all(len(packet) >= 40 for packet in packets)


class _Sink:
    def __init__(self, takes_frames: bool) -> None:
        self.takes_frames = self.takes_datagram_runs = takes_frames

    def write(self, packets: list[bytes]) -> None:
        assert all(packets)

    def write_frames(self, frames: list[bytes]) -> None:
        assert all(len(one) > 10 for one in frames)


def packets(data: bytes) -> None:
    """Packets from the host, and payloads from the mesh; pieces are told apart by a length byte."""
    payloads = list(pieces(data))
    for takes_frames in (False, True):
        adapter = Ipv6Adapter(_ME.ipv6, _Node(), _Sink(takes_frames), _MTU, lambda: 0.0)
        head = b"\x60\0\0\0\0\0\x06\x40" + _ME.ipv6 + _OTHER.ipv6
        adapter.packets_read(payloads)
        adapter.packets_read([head + payload for payload in payloads])
        adapter.receive(_OTHER.ipv6, payloads, 0, True)
        adapter.receive(_OTHER.ipv6, payloads, 0, False)
        adapter.flush()


PARSERS: dict[str, Target] = {
    "link-message": link_message,
    "session-message": session_message,
    "signal": signal,
    "frame": frame,
    "handshake": handshake,
    "dns": dns,
    "control": control,
    "config": config,
    "hosts": hosts,
    "access-list": access_list,
    "stream": stream,
    "keys": keys,
    "packets": packets,
}
