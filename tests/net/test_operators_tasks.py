"""What an operator wants to find out, found out with the tools on real nodes."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from meshnode.cli import speed
from tests.rigs.labs import Lab, Pair, chain
from tests.rigs.meshctl import answer, knows_by_name, meshctl
from tests.rigs.meshes import Mesh, row
from tests.rigs.nodes import environment
from tests.rigs.relays import relayed
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net


def test_the_slow_hop_of_a_chain_is_named(lab: Lab, measured: Callable[[str], None]) -> None:
    mesh = Mesh(lab, row(5), settings={"tun": {"enabled": False}})
    n0, n1, n2, n3, n4 = mesh.nodes
    knows_by_name(n0, n2, n3, n4)
    with relayed(mesh.cables[2], delay=0.15) as relay:
        relay.both(delay=0.15, loss=0.03)  # far more than a busy machine adds to the other hops
        mesh.start()
        for left, right in ((n0, n1), (n1, n2), (n2, n3), (n3, n4)):
            left.wait_connected(right, deadline=30)
        wait_until(lambda: n0.status()["estimated_mesh_size"] == 5, 30, "n0 knows of five nodes")
        trace = answer(n0, "trace", "n4")
    assert trace["reached"]
    assert [hop["display_name"] for hop in trace["hops"]] == ["n1", "n2", "n3", "n4"]
    times = [hop["rtt_ms"] for hop in trace["hops"]]
    measured(f"round trips by hop {times} ms")
    assert times[2] - times[1] > 200
    assert trace["slow_step"].startswith("the slow step is n2 - n3")


def test_peers_come_and_go_without_a_restart_and_for_good_when_asked(lab: Lab) -> None:
    pair = Pair(lab, settings={"tun": {"enabled": False}})
    left, right = pair.left, pair.right
    for node in (left, right):
        node.start()
        node.wait_ready(30)
    added = meshctl(left, "peer", "add", right.npub, f"{pair.right_address}:2121", "udp", "--alias", "mate", "--save")
    assert added.stdout.splitlines()[-1] == f"written into {left.config_file}"
    left.wait_connected(right, deadline=20)
    assert left.stop() == 0
    left.settings = {**left.settings, "peers": []}
    text = left.config_file.read_text()
    assert right.npub in text
    with left.log_file.open("a") as log:
        left.process = left.host.start(left.program.command(left.config_file), output=log, environment=environment())
    left.wait_ready(30)
    left.wait_connected(right, deadline=20)
    assert meshctl(left, "peer", "remove", "mate", "--save").returncode == 0
    assert right.npub not in left.config_file.read_text()
    assert not left.is_connected_to([right])


def test_throughput_is_measured_through_a_mesh_of_three(lab: Lab, measured: Callable[[str], None]) -> None:
    a, b, c = chain(lab, "abc")
    knows_by_name(a, c)
    for node in (a, b, c):
        node.start()
    for node in (a, b, c):
        node.wait_ready(30)
    b.wait_connected(a, c, deadline=30)
    command = [sys.executable, "-m", "meshnode.cli", "--socket", str(c.control_socket), "bench", "--serve"]
    server = c.host.start(command, environment=environment())
    wait_until(lambda: c.host.run(["ss", "-Hltn", f"sport = :{speed.PORT}"]).stdout.strip(), 20, "the server listens")
    result = answer(a, "bench", "c", "--seconds", "1")
    server.terminate()
    assert result["npub"] == c.npub
    measured(
        f"{result['sent_bytes_per_second'] / 1e6:.1f} MB/s there, {result['received_bytes_per_second'] / 1e6:.1f} back"
    )
    assert result["sent_bytes_per_second"] > 100_000
    assert result["received_bytes_per_second"] > 100_000
    echo = result["round_trip_ms"]
    assert 0 < echo["least"] <= echo["median"] <= echo["most"]
    assert b.status()["forwarding"]["forwarded_bytes"] > 200_000
