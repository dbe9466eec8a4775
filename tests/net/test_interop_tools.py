"""The reference's own tools, unmodified, look at a mesh of ours: every subcommand answers, every screen fills."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from meshnode.cli.views import VIEWS
from tests.net import reference
from tests.rigs import traffic
from tests.rigs.labs import Lab, Pair, chain
from tests.rigs.meshctl import meshctl
from tests.rigs.nodes import Node
from tests.rigs.screens import Screen
from tests.rigs.waiting import wait_until

pytestmark = [pytest.mark.net, pytest.mark.interop, pytest.mark.program("tmux")]

SHOWN = (
    "status", "peers", "links", "tree", "sessions", "bloom", "mmp", "cache", "connections", "transports", "routing",
    "identity-cache",
)  # fmt: skip
OTHERS = {"acl show": "show_acl", "stats list": "show_stats_list", "stats metrics": "show_metrics"}
TABS = (
    ("Runtime", "approx. mesh estimate"),
    ("Peers (2)", "STP Children"),
    ("Transports (1)", "udp 0.0.0.0:2121"),
    ("Sessions (1)", "establis"),
    ("Tree Position", "Tree Peers (2)"),
    ("Bloom Filter State", "Peer Filters (2)"),
    ("Link MMP (2 peers)", "Session MMP (1 sessions)"),
    ("Routing State", "Coordinate Cache"),
    ("Graphs", "mesh_size  [nodes]"),
    ("Gateway", "Gateway not running"),
)


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Node]]:
    with Lab() as lab:
        row = chain(lab, "abc")
        for node in row:
            node.start()
        for node in row:
            node.wait_ready(60)
        row[1].wait_connected(row[0], row[2], deadline=30)
        traffic.ping(row[0].host, row[2].address, count=3)
        traffic.ping(row[1].host, row[2].address, count=3)
        yield row


def ask(node: Node, *arguments: str) -> Any:
    done = reference.control(node, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def names(value: Any) -> Any:
    """The keys of an answer, down through objects and the first row of lists."""
    if isinstance(value, dict):
        return {key: names(inner) for key, inner in value.items()}
    return [names(value[0])] if isinstance(value, list) and value else type(value).__name__


@pytest.mark.parametrize("what", SHOWN)
def test_every_show_command_prints_our_answer(nodes: list[Node], what: str) -> None:
    printed = ask(nodes[1], "show", what)
    assert printed.keys() == nodes[1].ask(f"show_{what.replace('-', '_')}").keys()


@pytest.mark.parametrize("command", OTHERS)
def test_so_do_the_others(nodes: list[Node], command: str) -> None:
    assert names(ask(nodes[1], *command.split())) == names(nodes[1].ask(OTHERS[command]))


def test_histories_are_printed_and_plotted(nodes: list[Node]) -> None:
    peer = nodes[0].npub
    assert [row["npub"] for row in ask(nodes[1], "stats", "peers")["peers"]].count(peer) == 1
    values = ask(nodes[1], "stats", "history", "peer_count", "--window", "20s")["values"]
    assert len(values) == 20
    assert len(ask(nodes[1], "stats", "history", "bytes_in", "--window", "1h", "--granularity", "1m")["values"]) == 60
    plot = reference.control(nodes[1], "stats", "history", "loss_rate", "--peer", peer, "--plot")
    assert plot.stdout.startswith("loss_rate (fraction)")
    assert len(plot.stdout.splitlines()) == 3


def test_mistakes_get_their_words_and_status(nodes: list[Node]) -> None:
    wrong = reference.control(nodes[1], "stats", "history", "srtt_ms")
    assert (wrong.returncode, wrong.stderr.splitlines()[0]) == (1, "error: unknown metric: srtt_ms")
    absent = reference.control(nodes[0], "disconnect", nodes[2].npub)
    assert (absent.returncode, absent.stderr.splitlines()[0]) == (1, f"error: peer not found: {nodes[2].npub}")


def test_a_peer_is_dropped_and_dialled_again(nodes: list[Node]) -> None:
    a, b = nodes[0], nodes[1]
    assert ask(a, "disconnect", b.npub) == {"disconnected": True, "npub": b.npub}
    assert not a.is_connected_to([b])
    answer = ask(a, "connect", b.npub, "10.99.0.2:2121", "udp")
    assert answer == {"address": "10.99.0.2:2121", "npub": b.npub, "refreshed": False, "transport": "udp"}
    a.wait_connected(b)


@pytest.mark.parametrize("size", [(80, 24), (150, 40)])
def test_every_screen_of_their_monitor_fills(nodes: list[Node], size: tuple[int, int]) -> None:
    node = nodes[1]
    command = [str(reference.binary().with_name("fipstop")), "-s", str(node.control_socket), "-r", "1"]
    traffic.ping(node.host, nodes[2].address, count=2)
    with Screen(command, node.directory, size) as screen:
        for title, content in TABS:
            screen.wait_for(title)
            assert "Connected" in screen.wait_for(content)
            screen.press("Tab")
        screen.press("q")
        wait_until(screen.has_ended, 10, "it quits")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """One of ours and a reference daemon, peers of each other that have talked."""
    with Lab() as lab:
        pair = Pair(lab, right=reference.program()).left_dials()
        for node in (pair.right, pair.left):
            node.start()
            node.wait_ready(60)
        pair.wait_connected(deadline=30)
        traffic.first_echo(pair.left.host, pair.right.address)
        traffic.ping(pair.left.host, pair.right.address, count=3)
        wait_until(lambda: _is_measured(pair), 20, "both have measured link and session", interval=0.2)
        yield pair


def _is_measured(pair: Pair) -> bool:
    """Whether every optional figure of both is there; the reference shows what was so at its last tick."""
    for node in (pair.left, pair.right):
        quality = node.ask("show_mmp")
        (link,), sessions = quality["peers"], quality["sessions"]
        if "srtt_ms" not in link["link_layer"] or not sessions or "smoothed_loss" not in sessions[0]["session_layer"]:
            return False
    return True


@pytest.fixture(scope="module")
def theirs(pair: Pair) -> Node:
    return pair.right


def missing(theirs: Any, ours: Any, place: str) -> Iterator[str]:
    """Where ours has not what theirs has: a key, a row, or a value of the same kind."""
    if isinstance(theirs, dict):
        for key, value in theirs.items():
            if not isinstance(ours, dict) or key not in ours:
                yield f"{place}.{key}"
            else:
                yield from missing(value, ours[key], f"{place}.{key}")
    elif isinstance(theirs, list) and theirs:
        if not isinstance(ours, list) or not ours:
            yield f"{place}[]"
        else:
            yield from missing(theirs[0], ours[0], f"{place}[]")
    elif not _alike(theirs, ours):
        yield f"{place}: {theirs!r} and {ours!r}"


def _alike(theirs: Any, ours: Any) -> bool:
    """Whether the tools read both in the same way; where a fraction is possible a whole number is fine, not else."""
    if theirs is None or ours is None:
        return True
    return type(theirs) is type(ours) or (isinstance(theirs, float) and type(ours) is int)


@pytest.mark.parametrize("what", [*SHOWN, *OTHERS])
def test_their_tool_prints_of_ours_what_it_prints_of_theirs(pair: Pair, what: str) -> None:
    words = what.split() if what in OTHERS else ["show", what]
    wanted, got = ask(pair.right, *words), ask(pair.left, *words)
    assert list(missing(wanted, got, "")) == []


@pytest.mark.parametrize("what", [what for what in VIEWS if what != "native-flows"])
def test_our_tool_shows_every_side_of_their_daemon(theirs: Node, what: str) -> None:
    done = meshctl(theirs, "show", what)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize(
    "words", [("status",), ("peers",), ("stats", "list"), ("stats", "peers"), ("stats", "history", "peer_count")]
)
def test_our_judgement_and_histories_work_on_their_daemon(theirs: Node, words: tuple[str, ...]) -> None:
    done = meshctl(theirs, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_what_their_daemon_does_not_have_is_one_line(theirs: Node) -> None:
    done = meshctl(theirs, "why", theirs.npub)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: unknown command: why"]
