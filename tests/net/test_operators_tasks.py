"""What an operator wants to find out, found out with the tools on real nodes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.rigs.labs import Lab, Pair
from tests.rigs.meshctl import answer, knows_by_name, meshctl
from tests.rigs.meshes import Mesh, row
from tests.rigs.nodes import environment
from tests.rigs.relays import relayed
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net


_IMPATIENT = {"tun": {"enabled": False}, "node": {"rate_limit": {"handshake_timeout_secs": 3}}}


def test_the_slow_hop_of_a_chain_is_named(lab: Lab, measured: Callable[[str], None]) -> None:
    mesh = Mesh(lab, row(5), settings={"tun": {"enabled": False}})
    n0, n1, n2, n3, n4 = mesh.nodes
    knows_by_name(n0, n2, n3, n4)
    with relayed(mesh.cables[2], delay=0.04) as relay:
        relay.both(delay=0.04, loss=0.03)
        mesh.start()
        for left, right in ((n0, n1), (n1, n2), (n2, n3), (n3, n4)):
            left.wait_connected(right, deadline=30)
        wait_until(lambda: n0.status()["estimated_mesh_size"] == 5, 30, "n0 knows of five nodes")
        trace = answer(n0, "trace", "n4")
    assert trace["reached"]
    assert [hop["display_name"] for hop in trace["hops"]] == ["n1", "n2", "n3", "n4"]
    times = [hop["rtt_ms"] for hop in trace["hops"]]
    measured(f"round trips by hop {times} ms")
    assert times[2] - times[1] > 60
    assert trace["slow_step"].startswith("the slow step is n2 - n3")


def test_a_peer_that_does_not_connect_is_told_with_the_reason(lab: Lab) -> None:
    node = lab.node("here", lab.host("here"), None, _IMPATIENT)
    there = lab.node("there", lab.host("there"), None, {"tun": {"enabled": False}})
    node.dials(there, "127.0.0.1", port=9)
    node.start()
    node.wait_ready(30)
    wait_until(lambda: "in vain" in meshctl(node, "status").stdout, 60, "the attempt has failed", interval=0.5)
    status = meshctl(node, "status")
    assert status.returncode == 1
    assert "! peer there (udp 127.0.0.1:9) is not connected: " in status.stdout
    assert "no answer to the handshake (nobody is there, the key is another one" in status.stdout
    trace = answer(node, "trace", "there")
    assert trace["failing_stage"] == "filter"
    assert "no answer to the handshake" in trace["missing_link"]


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


_DROP = "add table inet wall; add chain inet wall in { type filter hook input priority 0; }; "
_DROP += "add rule inet wall in udp dport 2121 drop"


def test_planted_causes_of_a_missing_link_are_told_apart(lab: Lab) -> None:
    """Wrong port, wrong key, firewall and access list, one after the other, from a machine without a node."""
    pair = Pair(lab, settings={"tun": {"enabled": False}})
    left, right = pair.left, pair.right
    right.start()
    right.wait_ready(30)
    address = f"{pair.right_address}:2121"

    def knock(where: str, npub: str) -> str:
        return meshctl(left, "probe", where, npub).stdout

    assert f"answer     {right.npub} speaks link protocol" in knock(address, right.npub)
    wrong_port = knock(f"{pair.right_address}:2122", right.npub)
    assert "nothing listens at udp port 2122" in wrong_port
    stranger = knock(address, left.npub)
    assert "nothing came back" in stranger
    assert "another key" in stranger
    assert right.host.run(["nft", _DROP]).returncode == 0
    assert "a firewall on the way" in knock(address, right.npub)
    assert right.host.run(["nft", "delete table inet wall"]).returncode == 0
    assert f"answer     {right.npub}" in knock(address, right.npub)


def test_a_closed_door_is_named_on_the_side_that_closed_it(lab: Lab) -> None:
    lists = {"deny_file": str(lab.directory / "peers.deny"), "allow_file": str(lab.directory / "peers.allow")}
    pair = Pair(lab, settings=_IMPATIENT)
    left, right = pair.left_dials().left, pair.right
    right.settings["meshnode"] = {"access": lists}
    (lab.directory / "peers.deny").write_text(f"{left.npub}\n")
    for node in (right, left):
        node.start()
        node.wait_ready(30)
    wait_until(lambda: left.npub in meshctl(right, "acl", "--json").stdout, 30, "the refusal is shown", interval=0.5)
    wait_until(lambda: "in vain" in meshctl(left, "status").stdout, 60, "the attempt has failed", interval=0.5)
    assert "this node is not welcome there" in meshctl(left, "status").stdout
