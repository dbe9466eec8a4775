"""Knocking at a transport address from here: does a packet get there, does a node answer, and as whom?

The handshake is made with a key of the moment, so it says nothing about what the own node may do, and the other side
learns nothing about it. A node that takes us for a peer at once is told goodbye.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass

from meshnode.identity import Identity, PeerIdentity
from meshnode.noise import NONCE, IkInitiator, NoiseError, TransportKeys, aead
from meshnode.wire import WireError
from meshnode.wire.link import (
    ESTABLISHED,
    MSG2_SIZE,
    PHASE_ESTABLISHED,
    Disconnect,
    DisconnectReason,
    EstablishedHeader,
    EstablishedPlaintext,
    Msg1,
    Msg2,
)

TRIES = 3
TRY_SECS = 1.0
CONNECT_SECS = 5.0
_GOODBYE_SECS = 0.3
_PACKET = 65536


@dataclass(frozen=True, slots=True)
class Knock:
    """How far it went: each step that was taken, and the one that failed. Times are in milliseconds."""

    numeric: str | None = None
    connected_ms: float | None = None
    answered_ms: float | None = None
    trouble: str | None = None
    hint: str | None = None


def knock(carrier: str, host: str, port: int, peer: PeerIdentity | None) -> Knock:
    """Try `carrier` (`udp` or `tcp`); without `peer` no handshake is possible, and only the way is tried."""
    kind = socket.SOCK_DGRAM if carrier == "udp" else socket.SOCK_STREAM
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=kind)[0]
    except socket.gaierror as error:
        return Knock(
            trouble=f"{host} has no address: {error.strerror}", hint="look at the spelling and at your resolver"
        )
    numeric = str(address[0])
    begin = time.monotonic()
    try:
        with socket.socket(family, kind) as sock:
            sock.settimeout(CONNECT_SECS)
            sock.connect(address)
            connected = None if carrier == "udp" else _since(begin)
            if peer is None:
                return _without_peer(sock, carrier, numeric, connected)
            return _greet(sock, carrier, peer, numeric, connected)
    except OSError as error:
        return Knock(numeric, trouble=_reason(carrier, port, error), hint=_remedy(carrier, error))


def _greet(sock: socket.socket, carrier: str, peer: PeerIdentity, numeric: str, connected: float | None) -> Knock:
    own = Identity.generate(os.urandom)
    noise = IkInitiator(own, peer, os.urandom(8), os.urandom(32))
    index = int.from_bytes(os.urandom(4), "little")
    message = Msg1(index, noise.message1()).encode()
    begin = time.monotonic()
    sock.settimeout(TRY_SECS)
    for attempt in range(TRIES):
        if attempt == 0 or carrier == "udp":
            sock.send(message)
        try:
            answer = _answer(sock, carrier)
            msg2 = Msg2.parse(answer)
            if msg2.receiver_index != index:
                raise WireError("it is for somebody else")
            keys = noise.read_message2(msg2.noise)
        except TimeoutError:
            continue
        except (NoiseError, WireError) as error:
            return Knock(numeric, connected, trouble=f"something answers, but not this node: {error}",
                         hint="another program or another node has this address")  # fmt: skip
        answered = _since(begin)
        _say_goodbye(sock, carrier, keys, msg2.sender_index)
        return Knock(numeric, connected, answered)
    return Knock(
        numeric,
        connected,
        trouble=f"nothing came back in {TRIES * TRY_SECS:.0f} s",
        hint="a firewall on the way, another key than this, an access list there, or no node: nobody says which",
    )


def _answer(sock: socket.socket, carrier: str) -> bytes:
    """One answer. Raises `TimeoutError`, and `ConnectionResetError` when a stream ends."""
    if carrier == "udp":
        return sock.recv(_PACKET)
    answer = b""
    while len(answer) < MSG2_SIZE:
        part = sock.recv(MSG2_SIZE - len(answer))
        if not part:
            raise ConnectionResetError
        answer += part
    return answer


def _say_goodbye(sock: socket.socket, carrier: str, keys: TransportKeys, index: int) -> None:
    """Let a node that already sends us frames forget us at once; one that waits for proof never took us for a peer."""
    sock.settimeout(_GOODBYE_SECS)
    try:
        if sock.recv(_PACKET)[:1] != bytes((PHASE_ESTABLISHED,)):
            return
        plaintext = EstablishedPlaintext(0, Disconnect(DisconnectReason.SHUTDOWN).encode()).encode()
        header = EstablishedHeader(0, len(plaintext), index, 0).encode()
        assert len(header) == ESTABLISHED.size
        sock.send(header + aead(keys.send).encrypt(NONCE.pack(0), plaintext, header))
    except OSError:
        return


def _without_peer(sock: socket.socket, carrier: str, numeric: str, connected: float | None) -> Knock:
    if carrier == "tcp":
        return Knock(numeric, connected)
    sock.send(b"\x00")
    sock.settimeout(TRY_SECS)
    try:
        sock.recv(_PACKET)
    except TimeoutError:
        pass
    return Knock(numeric, trouble="nobody refuses, but only a handshake shows who is there",
                 hint="name the node as well: meshctl probe ADDRESS PEER")  # fmt: skip


def _since(begin: float) -> float:
    return round((time.monotonic() - begin) * 1000, 1)


def _reason(carrier: str, port: int, error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {carrier} port {port}"
    if isinstance(error, ConnectionResetError):
        return "the other side closed the connection"
    if isinstance(error, TimeoutError):
        return f"no connection in {CONNECT_SECS:.0f} s"
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def _remedy(carrier: str, error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "is the node running there, with this transport and this port?"
    if isinstance(error, ConnectionResetError):
        return "no node, or one that turns away whom it does not know"
    if isinstance(error, TimeoutError):
        return f"a firewall on the way drops {carrier}, or the machine is off"
    return "is this machine on a network that leads there? see: ip route get ADDRESS"
