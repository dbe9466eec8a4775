"""What a hostile peer may say: link messages that are authentic, mostly well formed, and lie in every field.

A `Liar` draws everything from the dice it is given, so that the same dice tell the same lies. It serves dishonest nodes
of the simulator, the fuzzers, and the attacker of the namespace tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from coincurve import PublicKey

from meshnode.identity import Identity
from meshnode.wire.bloom import FilterAnnounce
from meshnode.wire.datagram import SessionDatagram
from meshnode.wire.link import Heartbeat
from meshnode.wire.lookup import LookupRequest, LookupResponse
from meshnode.wire.reports import ReceiverReport, SenderReport
from meshnode.wire.session import (
    CP,
    EncryptedHeader,
    EncryptedMessage,
    SessionAck,
    SessionMessage3,
    SessionSetup,
)
from meshnode.wire.signals import CoordinatesRequired, MtuExceeded, PathBroken
from meshnode.wire.tree import AncestryEntry, TreeAnnounce, declaration_bytes

_LONGEST_PATH = 40
_TAG = 16


class Liar:
    """Makes messages in the name of `identity`; `addresses` are those of the nodes it lies about."""

    def __init__(self, identity: Identity, addresses: Sequence[bytes], dice: Random) -> None:
        self.identity = identity
        self.addresses = [*addresses, identity.node_addr, bytes(16), b"\xff" * 16]
        self.dice = dice
        self._makers: list[Callable[[], bytes]] = [
            self.announce,
            self.announce,
            self.filter,
            self.request,
            self.response,
            self.report,
            self.datagram,
            self.datagram,
            self.datagram,
            self.heartbeat,
            self.noise,
        ]

    def message(self) -> bytes:
        """One link message, type byte first; now and then cut short, made longer or damaged."""
        message = self.dice.choice(self._makers)()
        fate = self.dice.randrange(16)
        if fate == 0:
            return message[: self.dice.randrange(len(message)) + 1]
        if fate == 1:
            return message + self.dice.randbytes(self.dice.randrange(1, 64))
        if fate == 2:
            at = self.dice.randrange(len(message))
            return message[:at] + bytes((self.dice.randrange(256),)) + message[at + 1 :]
        return message

    # -- values

    def number(self, bits: int) -> int:
        """An unsigned number of that many bits, more often than not an awkward one."""
        top = (1 << bits) - 1
        awkward = (
            0,
            1,
            2,
            top,
            top - 1,
            top >> 1,
            (top >> 1) + 1,
            self.dice.getrandbits(8),
            self.dice.getrandbits(bits),
        )
        return self.dice.choice(awkward)

    def address(self) -> bytes:
        return self.dice.choice(self.addresses) if self.dice.randrange(4) else self.dice.randbytes(16)

    def path(self, first: bytes | None = None) -> list[bytes]:
        """Coordinates: with a first address, those of a node that may exist."""
        length = self.dice.choice((0, 1, 2, 3, _LONGEST_PATH))
        return [first or self.address(), *(self.address() for _ in range(length))]

    def point(self) -> bytes:
        """A compressed key, not always one."""
        if self.dice.randrange(4):
            return PublicKey.from_secret(self.dice.getrandbits(248).to_bytes(31, "big") + b"\1").format()
        return self.dice.randbytes(33)

    # -- messages between neighbours

    def announce(self) -> bytes:
        """A TreeAnnounce with a good signature, as a rule, below ancestors as one likes."""
        me, dice = self.identity.node_addr, self.dice
        sequence, timestamp = self.number(64), self.number(64)
        ancestors = [self.address() for _ in range(dice.choice((0, 1, 1, 2, 5, 34, _LONGEST_PATH)))]
        if ancestors and dice.randrange(2):
            ancestors[-1] = bytes(15) + bytes((dice.randrange(4),))
        parent = ancestors[0] if ancestors else me
        signature = self.identity.sign(declaration_bytes(me, parent, sequence, timestamp), bytes(32))
        own = AncestryEntry(me if dice.randrange(8) else self.address(), sequence, timestamp)
        path = [own, *(AncestryEntry(address, self.number(64), self.number(64)) for address in ancestors)]
        return TreeAnnounce(sequence, timestamp, parent, path, signature).encode()

    def filter(self) -> bytes:
        """A FilterAnnounce: nothing, everything, or just as much as is believed."""
        share = self.dice.choice((0.0, 0.1, 0.7, 1.0))
        bits = bytes(0xFF if self.dice.random() < share else 0 for _ in range(1024))
        return FilterAnnounce(self.number(64), self.dice.choice((5, 5, 5, 1, 255)), 1, bits).encode()

    def request(self) -> bytes:
        return LookupRequest(
            self.number(64), self.address(), self.address(), self.number(8), self.number(16), self.path()
        ).encode()

    def response(self) -> bytes:
        """A LookupResponse; the proof is ours, whomever it speaks for."""
        target = self.address()
        response = LookupResponse(self.number(64), target, self.number(16), self.path(target), b"")
        response.proof = self.identity.sign(response.proof_bytes(), bytes(32))
        return response.encode()

    def report(self) -> bytes:
        if self.dice.randrange(2):
            number = self.number
            sent = SenderReport(number(64), number(64), number(32), number(32), number(32), number(64), number(64))
            return sent.encode_link()
        return self.receiver_report().encode_link()

    def receiver_report(self) -> ReceiverReport:
        number = self.number
        return ReceiverReport(
            number(64),
            number(64),
            number(64),
            number(32),
            number(16),
            number(16),
            number(16),
            number(32),
            number(32),
            number(32) - (1 << 31),
            number(32),
            number(32),
            number(32),
            number(32),
        )

    def heartbeat(self) -> bytes:
        return Heartbeat().encode() + bytes(self.dice.choice((0, 0, 1, 1200)))

    def noise(self) -> bytes:
        kind = self.dice.choice((0x00, 0x01, 0x02, 0x10, 0x20, 0x30, 0x31, 0x42, 0xFF))
        return bytes((kind,)) + self.dice.randbytes(self.dice.choice((0, 1, 10, 35, 45, 66, 100, 1034)))

    # -- datagrams between any two nodes

    def datagram(self) -> bytes:
        return SessionDatagram(
            self.number(8), self.number(16), self.address(), self.address(), self.session_message()
        ).encode()

    def session_message(self) -> bytes:
        """A message of any phase: handshakes with good or bad points, sealed noise, signals, poisonous stubs."""
        makers = (self.setup, self.ack, self.message3, self.sealed, self.signal, self.signal, self.stub)
        return self.dice.choice(makers)()

    def setup(self) -> bytes:
        return SessionSetup(self.path(), self.path(), self.point()).encode()

    def ack(self) -> bytes:
        return SessionAck(self.path(), self.path(), self.point() + self.dice.randbytes(24)).encode()

    def message3(self) -> bytes:
        return SessionMessage3(self.dice.randbytes(73)).encode()

    def sealed(self) -> bytes:
        """An encrypted message whose keys nobody has, with coordinates in the clear."""
        with_coordinates = self.dice.randrange(2)
        ciphertext = self.dice.randbytes(_TAG + self.dice.choice((0, 6, 10, 600)))
        header = EncryptedHeader(
            self.number(8) & ~5 | (CP if with_coordinates else 0), self.number(16), self.number(64)
        )
        paths = (self.path(), self.path()) if with_coordinates else ([], [])
        return EncryptedMessage(header, *paths, ciphertext).encode()

    def signal(self) -> bytes:
        kind, about, reporter = self.dice.randrange(3), self.address(), self.address()
        if kind == 0:
            return CoordinatesRequired(about, reporter).encode()
        if kind == 1:
            return PathBroken(about, reporter, self.path()).encode()
        return MtuExceeded(about, reporter, self.dice.choice((0, 1, 255, 256, 300, 1280, 1400, 65535))).encode()

    def stub(self) -> bytes:
        """What is too short for what it claims to be; some of it ends a v0.4.1 process (spec 03 section 6.3)."""
        return bytes((self.dice.randrange(5), self.number(8))) + self.dice.randbytes(self.dice.randrange(12))
