"""Targets that feed whole machines: an authentic peer that says anything, in any order, at any time.

The input steers what is said and when. After every run the node must be alive: it keeps its tables within their bounds
and carries a packet between two honest neighbours of the liar.
"""

from __future__ import annotations

from meshnode.identity import Identity
from meshnode.mesh.coordinates import MAX_LENGTH
from meshnode.mesh.link import PeerLink
from meshnode.mesh.settings import MeshSettings
from meshnode.sim.bounds import oversized
from meshnode.sim.hostile import Liar
from meshnode.wire.link import FLAG_CE, DisconnectReason
from tests.fuzz.tape import Tape
from tests.unit import mesh_rig
from tests.unit.node_rig import MeshHost, MeshNet
from tests.unit.session_rig import pair

_MOST_STEPS = 60
_PAUSES = (0.0, 0.0, 0.01, 0.3, 1.0, 5.0)
_JUMPS = (0, 0, 0, 1, 3, 2047, 2048, 2049, 1 << 32, (1 << 64) - 100_000)


class Scene:
    """A liar with links to two honest nodes that also have one to each other."""

    def __init__(self, dice: Tape) -> None:
        self.net = MeshNet(MeshSettings())
        self.victim, self.bystander, self.liar = (self.net.host(name) for name in ("victim", "bystander", "liar"))
        hosts = self.net.hosts
        for host in hosts:
            host.knows(*(other for other in hosts if other is not host))
        self.victim.start()
        self.bystander.start(self.victim)
        self.liar.start(self.victim, self.bystander)
        self.net.run(1.0)
        self.dice = dice
        self.lies = Liar(self.liar.identity, [host.identity.node_addr for host in hosts], dice)

    def link(self, host: MeshHost) -> PeerLink | None:
        return self.liar.node.links.peers.get(host.identity.node_addr)

    def run(self) -> None:
        for _ in range(_MOST_STEPS):
            if self.dice.over:
                break
            self.act()
        self.judge()

    def act(self) -> None:
        dice = self.dice
        kind, host = dice.randrange(16), dice.choice((self.victim, self.bystander))
        link = self.link(host)
        if kind == 0:
            self.net.run(dice.choice(_PAUSES), step=0.05)
        elif kind == 1:
            self.raw(host)
        elif link is None:
            self.net.run(0.5)
        elif kind == 2:
            link.current.send_counter = min(link.current.send_counter + dice.choice(_JUMPS), (1 << 64) - 50_000)
        elif kind == 3:
            self.inner(host)
        elif kind == 4 and not dice.randrange(8):
            self.liar.node.run(
                lambda now: self.liar.node.links.disconnect(link, dice.choice(list(DisconnectReason)), now)
            )
        elif kind == 5:
            self.liar.send(host, dice.randbytes(dice.choice((0, 1, 100, 1300))))
        else:
            self.say(link)

    def say(self, link: PeerLink) -> None:
        """Messages in one burst, sealed with good keys."""
        messages = [self.lies.message() for _ in range(self.dice.randrange(1, 4))]

        def send(now: float) -> None:
            layer = self.liar.node.links
            if link.current.send_counter < (1 << 64) - 10:
                frames = layer.seal(link, b"", messages, 0, self.dice.choice((0, FLAG_CE)), now)
                copies = frames * self.dice.choice((1, 1, 2))
                self.liar.transport.send(link.path[1], copies[:: self.dice.choice((1, -1))])

        self.liar.node.run(send)

    def raw(self, host: MeshHost) -> None:
        """A frame that is no frame, from the liar's address or from nowhere."""
        dice = self.dice
        body = dice.randbytes(dice.choice((0, 3, 12, 28, 65, 110, 300)))
        phase = bytes((dice.randrange(4), self.lies.number(8)))
        one = phase + len(body).to_bytes(2, "little") + body if dice.randrange(2) else body
        host.node.frames_received(host.transport, dice.choice(("liar", "nowhere")), [one])

    def inner(self, host: MeshHost) -> None:
        """A session message with good keys and any content."""
        session = self.liar.node.sessions.sessions.get(host.identity.node_addr)
        if session is None or session.current is None:
            self.liar.send(host, b"open")
            return
        kind = self.dice.choice((0x10, 0x11, 0x12, 0x13, 0x14, 0x99))
        size = self.dice.choice((0, 1, 2, 4, 70, 1000))
        body = (
            bytes(2) + self.lies.receiver_report().encode_session()[2:] if kind == 0x12 else self.dice.randbytes(size)
        )
        core = self.liar.node.sessions._core
        self.liar.node.run(lambda now: core.send_inner(session, kind, body, now))

    def judge(self) -> None:
        """Whatever was said: tables are bounded, and the two honest nodes reach each other."""
        self.net.run(0.5)
        for host in (self.victim, self.bystander):
            assert not oversized(host.node), oversized(host.node)
        packet = self.victim.send(self.bystander, b"still here")
        for _ in range(20):
            self.net.run(0.5)
            if packet[8:] in [got[8:] for got in self.bystander.stack.packets]:
                return
            packet = self.victim.send(self.bystander, b"still here")
        raise AssertionError("the honest nodes do not reach each other any more")


def hostile_peer(data: bytes) -> None:
    Scene(Tape(data)).run()


def sessions(data: bytes) -> None:
    """Two session layers that talk, and somebody who sends to both in either's name; afterwards they still talk."""
    dice = Tape(data)
    net, a, b = pair()
    forger = Identity(bytes([9]) * 32)
    lies = Liar(forger, [a.address, b.address], dice)
    for _ in range(_MOST_STEPS):
        if dice.over:
            break
        source, target = (a, b) if dice.randrange(2) else (b, a)
        kind = dice.randrange(6)
        if kind == 0:
            net.run(dice.choice((0.1, 1.0, 3.0)))
        elif kind == 1:
            source.send(target, dice.randbytes(20))
        else:
            target.receive(dice.choice((source.address, forger.node_addr)), lies.session_message())
    for _ in range(40):
        a.send(b, b"still here")
        b.send(a, b"still here")
        net.run(1.0)
        if b"still here" in a.received and b"still here" in b.received:
            return
    raise AssertionError("the two do not reach each other any more")


def routers(data: bytes) -> None:
    """A relay between two honest neighbours and a liar, who says anything about tree, filters and lookups."""
    dice = Tape(data)
    net = mesh_rig.MeshNet(4)
    liar = dice.choice((0, 3))
    honest = [n for n in range(4) if n not in (liar, 1)]
    for n in (*honest, liar):
        net.link(1, n)
    net.run(3.0)
    lies = Liar(net.identities[liar], [i.node_addr for i in net.identities], dice)
    relay = net.routers[1]
    for _ in range(2 * _MOST_STEPS):
        if dice.over:
            break
        if dice.randrange(4):
            message = dice.choice((lies.announce, lies.filter, lies.request, lies.response))()
            relay.message(net.address(liar), message[0], message[1:], net.now, net.wall)
        else:
            net.run(dice.choice((0.0, 0.1, 1.0)))
    net.run(2.0)
    first, second = honest
    assert net.route(1, first) == [1, first]
    assert net.route(1, second) == [1, second]
    assert len(relay.own_coordinates) <= MAX_LENGTH


MACHINES = {"hostile-peer": hostile_peer, "sessions": sessions, "routers": routers}
