"""connect and disconnect: what is refused and in which words, what begins, what stays away."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from meshnode.control.actions import RESOLVE_SECS, Actions
from meshnode.control.commands import CommandError
from meshnode.identity import Identity
from meshnode.mesh.settings import LimitSettings, MeshSettings
from meshnode.transports.memory import MemoryTransport
from tests.unit.node_rig import MeshHost, MeshNet
from tests.unit.vectors import load, names

STRANGER = "npub1p4exqj0zntdfjfhluv99m6grmw7j6c4wn246j7cazdmvqu03h2pqplu2d3"
OWN_SECRET = "27557d279660fe89336a9d72ff88a59fd0bb912277b3c21b74677e2e13b8c478"
NOWHERE = "no transport available for type: no operational transport for any of {}'s addresses"
REFUSED = [
    case
    for case in load("control/connect")["cases"] + load("control/disconnect")["cases"]
    if case["answer"]["status"] == "error" and "ACL" not in case["case"]
]


class Resolver:
    """A name server that is told what to answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.receiver: Any = None

    def resolveHostName(self, receiver: Any, hostName: str, portNumber: int = 0) -> None:  # noqa: N803
        self.asked.append((hostName, portNumber))
        self.receiver = receiver

    def answer(self, *addresses: str) -> None:
        for address in addresses:
            self.receiver.addressResolved(IPv4Address("TCP", address, 2121))
        self.receiver.resolutionComplete()


class Rig:
    """Two nodes on a medium where `memory` has any address and `udp` has Internet addresses."""

    def __init__(self, settings: MeshSettings | None = None) -> None:
        self.net = MeshNet(settings)
        self.a = self.net.host("a", identity=Identity.parse(OWN_SECRET))
        self.b = self.net.host("b")
        self.udp = MemoryTransport(self.net.medium, "192.0.2.1:2121", 2, self.a.node, kind="udp")
        self.udp.start()
        self.a.node.transports.add(self.udp)
        self.a.start()
        self.b.start()
        self.resolver = Resolver()
        self.clock = Clock()
        self.actions = Actions(self.a.node, lambda: self.resolver, self.clock.callLater)  # type: ignore[arg-type,return-value]

    def connect(self, peer: MeshHost | str, address: str = "b", transport: str = "memory") -> Any:
        npub = peer if isinstance(peer, str) else peer.identity.npub
        return result(self.actions.connect({"npub": npub, "address": address, "transport": transport}))

    def refusal(self, peer: MeshHost | str, address: str = "b", transport: str = "memory") -> str:
        with pytest.raises(CommandError) as caught:
            self.connect(peer, address, transport)
        return str(caught.value)

    def peers(self, host: MeshHost) -> list[bytes]:
        self.net.run(2)
        return list(host.node.links.peers)

    @property
    def dials(self) -> int:
        return len(self.a.node.links.handshakes)


def result(answer: Any) -> Any:
    """What was answered, now; an unfinished answer is handed back."""
    if not isinstance(answer, Deferred) or not answer.called:
        return answer
    results: list[Any] = []
    answer.addBoth(results.append)
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize("case", REFUSED, ids=names(REFUSED, "case"))
def test_what_live_daemons_refuse_is_refused_in_their_words(rig: Rig, case: dict[str, Any]) -> None:
    command = getattr(rig.actions, case["request"]["command"])
    with pytest.raises(CommandError) as caught:
        result(command(case["request"].get("params")))
    expected = case["answer"]["message"]
    if expected.startswith("invalid"):
        # The library's reason after the quoted text differs.
        assert str(caught.value).startswith(expected.partition("': ")[0] + "': ")
    else:
        assert str(caught.value).startswith(expected)


def test_a_dial_begins_and_the_peer_appears(rig: Rig) -> None:
    answer = rig.connect(rig.b)
    assert answer == {"npub": rig.b.identity.npub, "address": "b", "transport": "memory", "refreshed": False}
    assert rig.peers(rig.a) == [rig.b.identity.node_addr]


def test_a_dial_in_progress_is_left_to_go_on(rig: Rig) -> None:
    rig.connect(STRANGER, "nowhere")
    assert rig.connect(STRANGER, "!!", "quic")["refreshed"] is False
    assert rig.dials == 1


def test_a_connected_peer_is_left_as_it_is(rig: Rig) -> None:
    rig.connect(rig.b)
    rig.net.run(1)
    assert rig.connect(rig.b, "elsewhere")["refreshed"] is False
    assert rig.dials == 0


def test_a_dial_by_command_is_not_repeated(rig: Rig) -> None:
    rig.connect(STRANGER, "nowhere")
    rig.net.run(60)
    assert rig.dials == 0
    assert rig.a.node.peering.retries == {}


def test_the_identity_of_a_dialled_peer_is_remembered_by_its_short_npub(rig: Rig) -> None:
    rig.connect(STRANGER, "nowhere")
    identity = rig.a.node.links.handshakes[0].remote
    assert rig.a.node.identities.peek_exact(identity.node_addr) == identity
    assert rig.a.node.names.display(identity.node_addr) == "npub1p4ex...u2d3"


def test_a_known_alias_survives_a_connect(rig: Rig) -> None:
    rig.a.knows(rig.b)
    rig.connect(rig.b)
    assert rig.a.node.names.display(rig.b.identity.node_addr) == "b"


def test_a_node_does_not_dial_itself(rig: Rig) -> None:
    assert "this node itself" in rig.refusal(rig.a.identity.npub)


@pytest.mark.parametrize("address", ["!!", "", "192.0.2.9", "192.0.2.9:70000", "[::1", "a b:1"])
def test_a_malformed_internet_address_is_named(rig: Rig, address: str) -> None:
    assert repr(address) in rig.refusal(STRANGER, address, "udp")
    assert rig.dials == 0


def test_a_transport_that_cannot_reach_the_address_is_named(rig: Rig) -> None:
    rig.udp.stop()
    text = rig.refusal(STRANGER, "192.0.2.9:2121", "udp")
    assert text.startswith(NOWHERE.format(STRANGER))
    assert "'192.0.2.9:2121'" in text


def test_limits_are_told_as_the_reason() -> None:
    rig = Rig(MeshSettings(limits=LimitSettings(max_links=1)))
    rig.connect(rig.b)
    rig.net.run(1)
    assert rig.refusal(STRANGER, "nowhere").startswith(NOWHERE.format(STRANGER) + ": ")


def test_a_host_name_is_looked_up_first(rig: Rig) -> None:
    waiting = rig.connect(STRANGER, "peer.example:2121", "udp")
    assert isinstance(waiting, Deferred)
    assert rig.resolver.asked == [("peer.example", 2121)]
    assert rig.dials == 0
    rig.resolver.answer("192.0.2.9")
    assert result(waiting)["address"] == "peer.example:2121"
    assert rig.dials == 1
    assert rig.clock.getDelayedCalls() == []


def test_a_host_name_without_an_address_is_named(rig: Rig) -> None:
    waiting = rig.connect(STRANGER, "peer.example:2121", "udp")
    rig.resolver.answer()
    with pytest.raises(CommandError, match=r"'peer\.example:2121'"):
        result(waiting)
    assert rig.dials == 0


def test_a_name_server_that_is_silent_does_not_keep_the_tool_waiting(rig: Rig) -> None:
    waiting = rig.connect(STRANGER, "peer.example:2121", "udp")
    rig.clock.advance(RESOLVE_SECS)
    with pytest.raises(CommandError, match="no address was found"):
        result(waiting)
    rig.resolver.answer("192.0.2.9")
    assert rig.dials == 0


def test_disconnect_tells_the_peer_and_stays_away(rig: Rig) -> None:
    rig.a.node.peering.start([], rig.net.clock.seconds())
    rig.connect(rig.b)
    rig.net.run(1)
    npub = rig.b.identity.npub
    assert rig.actions.disconnect({"npub": npub}) == {"npub": npub, "disconnected": True}
    assert rig.peers(rig.a) == rig.peers(rig.b) == []


def test_a_configured_peer_is_not_redialled_after_a_disconnect() -> None:
    net = MeshNet()
    a, b = net.host("a"), net.host("b")
    b.start()
    a.start(b)
    net.run(1)
    actions = Actions(a.node, Resolver, Clock().callLater)  # type: ignore[arg-type]
    actions.disconnect({"npub": b.identity.npub})
    net.run(120, step=0.5)
    assert a.node.links.peers == {}
    with pytest.raises(CommandError, match=f"^peer not found: {b.identity.npub}$"):
        actions.disconnect({"npub": b.identity.npub})
