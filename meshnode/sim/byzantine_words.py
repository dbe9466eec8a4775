"""Dishonest nodes whose harm is in what they say to their neighbours, over links that are as good as any."""

from __future__ import annotations

from random import Random

from meshnode.mesh.router import FILTER_ANNOUNCE, TREE_ANNOUNCE
from meshnode.wire.datagram import SessionDatagram
from meshnode.wire.session import CP, EncryptedHeader, EncryptedMessage, SessionSetup
from meshnode.wire.signals import CoordinatesRequired, MtuExceeded, PathBroken

from .hostile import Liar
from .machine import Machine, SimNode
from .world import World

_TAG = 16
_POSITION = (TREE_ANNOUNCE, FILTER_ANNOUNCE)
_CLAIMED_MTU = 300


class Words:
    """What one dishonest machine says to every neighbour at each turn."""

    def __init__(self, world: World, machine: Machine, random: Random) -> None:
        self.machine = machine
        self.random = random
        self.addresses = [other.address for other in world.machines if other is not machine]

    def say(self, node: SimNode) -> None:
        """Send this turn's messages."""
        messages = self.messages(node)

        def send(now: float) -> None:
            for peer in list(node.links.peers.values()):
                for message in messages:
                    node.links.send(peer, message, now)

        node.run(send)

    def messages(self, node: SimNode) -> list[bytes]:
        """Link messages, type byte first."""
        raise NotImplementedError

    def datagram(self, source: bytes, destination: bytes, payload: bytes) -> bytes:
        return SessionDatagram(64, 65535, source, destination, payload).encode()


class Lies(Words):
    """Anything at all, in every field, but about its own place and who is behind it."""

    def messages(self, node: SimNode) -> list[bytes]:
        lies = Liar(self.machine.identity, self.addresses, self.random)
        messages = [lies.message() for _ in range(4)]
        return [message for message in messages if len(message) < 1400 and message[0] not in _POSITION]


class FalseSignals(Words):
    """Tells two others that their path is broken, too narrow, or unknown."""

    def messages(self, node: SimNode) -> list[bytes]:
        told, about = self.random.sample(self.addresses, 2)
        me = self.machine.address
        signals = (
            MtuExceeded(about, me, _CLAIMED_MTU).encode(),
            PathBroken(about, me, [about, me]).encode(),
            CoordinatesRequired(about, me).encode(),
        )
        return [self.datagram(me, told, signal) for signal in signals]


class FalsePlaces(Words):
    """Sends in others' names, with coordinates as if they lived behind it."""

    def messages(self, node: SimNode) -> list[bytes]:
        claimed, told = self.random.sample(self.addresses, 2)
        place = [claimed, *node.router.own_coordinates]
        noise = self.random.randbytes(40 + _TAG)
        sealed = EncryptedMessage(EncryptedHeader(CP, 40, self.random.getrandbits(32)), place, [told], noise)
        return [self.datagram(claimed, told, sealed.encode())]


class FalseSetups(Words):
    """Asks for sessions in others' names."""

    def messages(self, node: SimNode) -> list[bytes]:
        claimed, told = self.random.sample(self.addresses, 2)
        lies = Liar(self.machine.identity, self.addresses, self.random)
        setup = SessionSetup([claimed, *node.router.own_coordinates[-1:]], [told], lies.point())
        return [self.datagram(claimed, told, setup.encode())]


WORDS: dict[str, type[Words]] = {
    "lies": Lies,
    "false_signals": FalseSignals,
    "false_places": FalsePlaces,
    "false_setups": FalseSetups,
}
