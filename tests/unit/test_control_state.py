"""What a small mesh answers has the shape of what live daemons answered: keys, types, null or absent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from meshnode import __version__
from meshnode.control.commands import CommandError
from meshnode.control.encoding import success
from meshnode.control.state import QUERIES, NodeState
from meshnode.control.status import SAMPLES, Daemon
from meshnode.identity import Identity
from meshnode.mesh.session import CloseReason
from meshnode.mesh.settings import MeshSettings, RekeySettings
from meshnode.node.peering import PeerAddress, PeerConfig
from meshnode.noise import LIBRARY, IkInitiator
from meshnode.transports.memory import LinkQuality
from meshnode.wire.link import Msg1
from tests.unit.node_rig import WALL_START, MeshHost, MeshNet
from tests.unit.vectors import load

GHOST_IDENTITY = Identity.parse("50098deaa6d9a8d0a78a3565bf32d7ba33bf5a9a20bd1bee9e184f739fdbae87")
GHOST = GHOST_IDENTITY.peer
FREE_FORM = {"transport_peer_counts", "stats of transports"}
COMMANDS = sorted({*QUERIES, "show_status", "show_stats_list", "show_stats_peers"})


@dataclass
class Shape:
    """Everything recorded at one place: types, and for objects which keys there were, and which always."""

    types: set[type] = field(default_factory=set)
    keys: dict[str, Shape] = field(default_factory=dict)
    always: set[str] | None = None
    items: Shape | None = None

    def add(self, value: Any) -> None:
        self.types.add(type(value))
        if isinstance(value, dict):
            self.always = set(value) if self.always is None else self.always & set(value)
            for key, inner in value.items():
                self.keys.setdefault(key, Shape()).add(inner)
        elif isinstance(value, list):
            self.items = self.items or Shape()
            for inner in value:
                self.items.add(inner)

    def differences(self, value: Any, place: str) -> Iterator[str]:
        if type(value) not in self.types:
            yield f"{place} is {type(value).__name__}, recorded were {sorted(t.__name__ for t in self.types)}"
        elif isinstance(value, dict) and self.always is not None:
            added = (f"{place}.{key}" for key in value.keys() - self.keys.keys())
            yield from (f"{path} was never recorded" for path in added if path not in OURS)
            yield from (f"{place}.{key} is missing" for key in self.always - value.keys())
            for key in value.keys() & self.keys.keys() - FREE_FORM:
                yield from self.keys[key].differences(value[key], f"{place}.{key}")
        elif isinstance(value, list) and self.items is not None and self.items.types:
            for inner in value:
                yield from self.items.differences(inner, f"{place}[]")


def recorded(command: str) -> Shape:
    shape = Shape()
    for case in load(f"control/{command}")["cases"]:
        if case["answer"]["status"] == "ok":
            shape.add(case["answer"]["data"])
    return shape


class Operator:
    """Asks one node of a mesh."""

    def __init__(self, host: MeshHost, net: MeshNet) -> None:
        self.state = NodeState(
            host.node, Daemon("/run/fips/control.sock", True, ("memory", "tcp"), lambda: ("-", "disabled")), net.clock
        )

    def ask(self, command: str, params: Any = None) -> Any:
        """The answer as it would be read from the socket."""
        answer: Any = self.state.answer(command, params)
        return json.loads(b"".join(success(answer)))["data"]


class Chain:
    """a - b - c, a's packets to c, and a peer of a that never answers."""

    def __init__(self) -> None:
        self.net = MeshNet(MeshSettings(rekey=RekeySettings(after_secs=25)))
        self.hosts = [self.net.host(name) for name in "abc"]
        self.operators = [Operator(host, self.net) for host in self.hosts]
        a, b, c = self.hosts
        c.start()
        b.start(c)
        ghost = PeerConfig(GHOST, [PeerAddress("memory", "nowhere")], "ghost")
        a.node.start([PeerConfig(b.identity.peer, [PeerAddress("memory", "b")], "bee"), ghost])
        self.net.run(3)
        a.knows(c)
        self.talk(4)

    def talk(self, seconds: int) -> None:
        a, _b, c = self.hosts
        for _ in range(seconds):
            a.send(c, b"x" * 100)
            c.send(a, b"y" * 100)
            self.net.run(1)


# What we tell beyond the recorded daemons, whose tools pass over keys they do not know.
OURS = frozenset(
    (
        "show_metrics.link",
        "show_metrics.refused",
        "show_metrics.interface",
        "show_metrics.session",
        "show_peers.peers[].clock_ahead_is_exact",
        "show_peers.peers[].clock_ahead_secs",
        "show_peers.peers[].link_mtu",
        "show_status.config_files",
    )
)


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_node_without_company_answers_in_the_recorded_shape(command: str) -> None:
    net = MeshNet()
    answer = Operator(net.host("alone"), net).ask(command)
    assert list(recorded(command).differences(answer, command)) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_node_of_a_chain_answers_in_the_recorded_shape(chain: Chain, command: str) -> None:
    shape = recorded(command)
    for operator in chain.operators:
        assert list(shape.differences(operator.ask(command), command)) == []


@pytest.mark.parametrize("command", ["show_status", "show_routing", "show_metrics", "show_native_flows"])
def test_counters_are_those_of_the_newest_daemon(chain: Chain, command: str) -> None:
    newest = next(c["answer"]["data"] for c in load(f"control/{command}")["cases"] if c["daemon"] != "0.4.1")
    ours = chain.operators[0].ask(command)
    assert {key for key in ours if f"{command}.{key}" not in OURS} == newest.keys()
    for key, value in newest.items():
        if isinstance(value, dict) and key not in FREE_FORM:
            assert value.keys() == ours[key].keys()


def test_the_status_counts_what_there_is(chain: Chain) -> None:
    status = chain.operators[0].ask("show_status")
    assert status["version"] == __version__
    assert status["peer_count"] == 1
    assert status["session_count"] == 1
    assert (status["link_count"], status["connection_count"]) == (2, 1)
    assert status["transport_peer_counts"] == {"memory": 1, "tcp": 0}
    assert status["estimated_mesh_size"] == 3
    assert status["effective_ipv6_mtu"] == 1472 - 77
    assert status["uptime_secs"] == int(chain.net.clock.seconds())
    assert status["state"] == "running"


def test_sparklines_hold_the_last_half_minute(chain: Chain) -> None:
    operator = Operator(chain.hosts[1], chain.net)
    assert operator.ask("show_status")["sparklines"]["mesh_size"] == []
    for _ in range(3):
        operator.state.every_second()
    lines = operator.ask("show_status")["sparklines"]
    assert lines["mesh_size"] == [3.0, 3.0, 3.0]
    assert lines["peer_count"] == [2.0, 2.0, 2.0]
    assert lines["bytes_in"] == [0.0, 0.0, 0.0]
    chain.talk(1)
    operator.state.every_second()
    assert operator.ask("show_status")["sparklines"]["bytes_in"][-1] > 0
    for _ in range(SAMPLES):
        operator.state.every_second()
    assert {len(line) for line in operator.ask("show_status")["sparklines"].values()} == {SAMPLES}


def test_both_ends_tell_the_same_about_a_link(chain: Chain) -> None:
    (a,) = chain.operators[0].ask("show_peers")["peers"]
    own = chain.hosts[0].identity.npub
    (b,) = (row for row in chain.operators[1].ask("show_peers")["peers"] if row["npub"] == own)
    assert (a["direction"], b["direction"]) == ("outbound", "inbound")
    assert a["display_name"] == "bee"
    assert a["transport_addr"] == "b"
    assert a["noise"]["send_counter"] == b["noise"]["highest_recv_counter"] + 1
    assert a["stats"]["packets_sent"] == b["stats"]["packets_recv"]
    assert a["is_parent"] == b["is_child"]
    assert int(a["our_session_index"], 16) < 2**32
    assert a["last_seen_ms"] >= a["authenticated_at_ms"] > WALL_START * 1000


def test_the_longest_frame_a_path_carries_is_told_and_what_was_promised() -> None:
    chain = Chain()
    (peer,) = chain.operators[0].ask("show_peers")["peers"]
    assert peer["link_mtu"] == 1472
    assert "promised_mtu" not in peer
    node = chain.hosts[0].node
    node.transports.limit(next(iter(node.links.peers.values())).path, 1300)
    (peer,) = chain.operators[0].ask("show_peers")["peers"]
    assert (peer["link_mtu"], peer["promised_mtu"]) == (1300, 1472)


def test_the_clocks_of_peers_are_told_as_far_as_they_are_known() -> None:
    chain = Chain()
    readings = [peer for operator in chain.operators for peer in operator.ask("show_peers")["peers"]]
    told = {(peer["clock_ahead_secs"], peer["clock_ahead_is_exact"]) for peer in readings if "clock_ahead_secs" in peer}
    assert told == {(0, True)}
    assert any("clock_ahead_secs" not in peer for peer in readings)  # a root that never moves never tells the time


def test_a_dial_without_an_answer_shows_as_a_link_and_as_a_connection(chain: Chain) -> None:
    operator = chain.operators[0]
    (connection,) = operator.ask("show_connections")["connections"]
    assert connection["expected_peer"] == GHOST.npub
    assert (connection["handshake_state"], connection["direction"]) == ("sent_msg1", "outbound")
    link = next(row for row in operator.ask("show_links")["links"] if row["link_id"] == connection["link_id"])
    assert (link["state"], link["remote_addr"]) == ("connecting", "nowhere")


def test_who_has_not_proved_to_be_alive_is_shown_nowhere() -> None:
    """A first message can be a recorded one: its sender is answered, and nobody is told that somebody is there."""
    net = MeshNet()
    host = net.host("alone")
    host.start()
    noise = IkInitiator(GHOST_IDENTITY, host.identity.peer, bytes(8), bytes([5]) * 32)
    host.node.frames_received(host.transport, "somewhere", [Msg1(7, noise.message1()).encode()])
    assert len(host.node.links.candidates) == 1
    operator = Operator(host, net)
    status = operator.ask("show_status")
    assert (status["peer_count"], status["link_count"], status["connection_count"]) == (0, 0, 0)
    for command, rows in (("show_peers", "peers"), ("show_links", "links"), ("show_connections", "connections")):
        assert list(operator.ask(command)[rows]) == []


def test_sessions_and_their_quality_are_shown(chain: Chain) -> None:
    (session,) = chain.operators[0].ask("show_sessions")["sessions"]
    assert session["state"] == "established"
    assert session["npub"] == chain.hosts[2].identity.npub
    assert session["stats"]["packets_sent"] >= 4
    assert session["mmp"]["path_mtu"] == 1472
    (row,) = chain.operators[0].ask("show_mmp")["sessions"]
    assert row["session_layer"]["path_mtu"] == 1472


def test_a_session_that_is_being_opened_has_no_quality_yet() -> None:
    net = MeshNet()
    a, b = net.host("a"), net.host("b")
    b.start()
    a.start(b)
    net.run(1)
    a.send(b, b"hello")
    (session,) = Operator(a, net).ask("show_sessions")["sessions"]
    assert session["state"] == "initiating"
    assert session["resend_count"] == 0
    assert not session.keys() & {"mmp", "session_start_ms", "current_k_bit"}


def test_the_tree_is_told_from_our_own_place_up_to_the_root(chain: Chain) -> None:
    trees = [operator.ask("show_tree") for operator in chain.operators]
    assert len({tree["root"] for tree in trees}) == 1
    assert sorted(tree["depth"] for tree in trees) in ([0, 1, 1], [0, 1, 2])
    for tree in trees:
        assert tree["my_coords"][0] == tree["my_node_addr"]
        assert tree["my_coords"][-1] == tree["root"]
        if tree["is_root"]:
            assert tree["parent"] == tree["my_node_addr"]
            assert tree["root_npub"] is not None


def test_only_who_has_a_parent_has_sent_a_filter_up(chain: Chain) -> None:
    for operator in chain.operators:
        is_root = operator.ask("show_tree")["is_root"]
        assert (operator.ask("show_bloom")["uptree_fill_ratio"] is None) == is_root


def test_a_peer_without_a_round_trip_has_no_effective_depth_beside_one_with() -> None:
    net = MeshNet()
    a, b, c = (net.host(name) for name in "abc")
    b.start()
    c.start()
    a.start(b)
    net.run(5)
    a.node.connect(PeerConfig(c.identity.peer, [PeerAddress("memory", "c")]))
    net.run(0.1)
    depths = {row["transport_addr"]: row["effective_depth"] for row in Operator(a, net).ask("show_peers")["peers"]}
    assert depths["b"] is not None
    assert depths["c"] is None


def test_a_rekey_shows_until_the_old_keys_are_gone() -> None:
    chain = Chain()
    operator = chain.operators[0]
    for _ in range(110):  # either side waits for the other to begin
        chain.talk(1)
        (peer,) = operator.ask("show_peers")["peers"]
        if "rekey_draining" in peer:
            break
    assert peer["rekey_draining"] is True
    assert peer["current_k_bit"] is True
    assert list(recorded("show_peers").differences({"peers": [peer]}, "show_peers")) in (
        [],
        ["show_peers.peers[].rekey_draining was never recorded"],
    )
    chain.talk(12)
    assert "rekey_draining" not in operator.ask("show_peers")["peers"][0]


def test_a_silent_peer_is_doubtful_then_distrusted_then_trusted_again() -> None:
    net = MeshNet()
    a, b = net.host("a"), net.host("b")
    b.start()
    a.start(b)
    net.run(15)
    operator, seen = Operator(a, net), []
    net.medium.set_quality("b", "a", LinkQuality(loss=1.0))
    for _ in range(10):
        net.run(1)
        (peer,) = operator.ask("show_peers")["peers"]
        seen.append((peer.get("trust"), peer["connectivity"]))
    assert list(dict.fromkeys(seen)) == [
        (None, "connected"),
        ("doubtful", "connected"),
        ("distrusted", "stale"),
    ]
    net.medium.set_quality("b", "a", None)
    net.run(5)
    (peer,) = operator.ask("show_peers")["peers"]
    assert ("trust" in peer, peer["connectivity"]) == (False, "connected")


def test_lookups_redials_and_waiting_packets_are_shown() -> None:
    chain = Chain()
    a, _b, c = chain.hosts
    c.transport.stop()
    a.node.sessions.remove(c.identity.node_addr, CloseReason.IDLE)
    a.node.router.forget_coordinates(c.identity.node_addr)
    a.send(c, b"anybody there?")
    routing = chain.operators[0].ask("show_routing")
    assert list(recorded("show_routing").differences(routing, "show_routing")) == []
    (lookup,) = routing["pending_lookups"]
    assert (lookup["target"], lookup["display_name"], lookup["attempt"]) == (c.identity.node_addr.hex(), "c", 1)
    assert (routing["pending_tun_destinations"], routing["pending_tun_packets"]) == (1, 1)
    chain.net.run(30)
    (retry,) = chain.operators[0].ask("show_routing")["retries"]
    assert retry["display_name"] == "ghost"
    assert retry["retry_after_ms"] > (WALL_START + chain.net.clock.seconds()) * 1000


def test_an_unknown_command_is_named(chain: Chain) -> None:
    with pytest.raises(CommandError, match=r"^unknown command: inject_config$"):
        chain.operators[0].ask("inject_config")


def test_a_limit_shortens_lists_and_nothing_else(chain: Chain) -> None:
    operator = chain.operators[1]
    assert len(operator.ask("show_peers")["peers"]) == 2
    assert len(operator.ask("show_peers", {"limit": 1})["peers"]) == 1
    assert operator.ask("show_tree", {"limit": 0})["peers"] == []
    assert len(operator.ask("show_peers", {"limit": "x"})["peers"]) == 2


def test_parameters_of_queries_are_ignored(chain: Chain) -> None:
    assert chain.operators[0].ask("show_transports", [1]) == chain.operators[0].ask("show_transports")


def test_the_configuration_comes_with_the_library_that_encrypts(chain: Chain) -> None:
    assert chain.operators[0].ask("show_config")["aead_library"] == LIBRARY.name
