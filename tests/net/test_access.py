"""The access control list on real nodes: doors that close and open under way, and somebody who hammers at one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import pytest

from meshnode.mesh.link import LinkLayer
from meshnode.mesh.settings import MeshSettings
from tests.net import reference
from tests.rigs import traffic
from tests.rigs.control import ControlError
from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import Node, environment
from tests.rigs.waiting import pause, wait_until

pytestmark = pytest.mark.net


def _settings(lab: Lab) -> Mapping[str, Any]:
    files = {f"{verb}_file": str(lab.directory / f"peers.{verb}") for verb in ("allow", "deny")}
    return {"meshnode": {"access": files}}


def _guarded(lab: Lab, pair: Pair) -> Pair:
    """Give the left node lists of its own."""
    pair.left.settings.update(_settings(lab))
    return pair


def _meshctl(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "meshnode.cli", "-s", str(node.control_socket), *arguments]
    return node.host.run(command, environment=environment())


@pytest.mark.parametrize("dialling", ["we dial", "they dial"])
def test_a_peer_is_dropped_when_denied_and_back_when_allowed(
    lab: Lab, dialling: str, measured: Callable[[str], None]
) -> None:
    pair = _guarded(lab, Pair(lab))
    pair.left_dials() if dialling == "we dial" else pair.right_dials()
    pair.start()
    denied = _meshctl(pair.left, "acl", "deny", "right" if dialling == "we dial" else pair.right.npub)
    assert denied.returncode == 0, denied.stderr
    assert pair.right.npub in (lab.directory / "peers.deny").read_text()
    begin = time.monotonic()
    wait_until(lambda: not pair.left.peers() and not pair.right.peers(), 4, "the link ends on both sides")
    measured(f"gone after {time.monotonic() - begin:.2f} s")
    assert "disconnected by peer (security_violation)" in pair.right.log()
    with pytest.raises(ControlError, match="denied by the access control list"):
        pair.left.ask("connect", npub=pair.right.npub, address=f"{pair.right_address}:2121", transport="udp")
    assert _meshctl(pair.left, "acl", "allow", pair.right.npub).returncode == 0
    begin = time.monotonic()
    pair.wait_connected(30)
    measured(f"back after {time.monotonic() - begin:.2f} s")
    assert len(traffic.ping(pair.left.host, pair.right.address)) == 3


def test_the_operator_of_the_closed_door_reads_who_knocked(lab: Lab) -> None:
    pair = _guarded(lab, Pair(lab)).right_dials()
    (lab.directory / "peers.deny").write_text("ALL  # a private node\n")
    for node in (pair.left, pair.right):
        node.start()
        node.wait_ready()
    wait_until(lambda: pair.left.ask("show_acl")["refusals"], 5, "somebody was refused")
    (row,) = pair.left.ask("show_acl")["refusals"]
    assert row["npub"] == pair.right.npub
    assert row["remote_addr"] == f"{pair.right_address}:2121"
    assert "Rejected peer by ACL" in pair.left.log()
    assert f"npub={pair.right.npub}" in pair.left.log()
    shown = _meshctl(pair.left, "acl")
    assert "nobody is welcome" in shown.stdout
    assert "refused lately" in shown.stdout
    assert pair.left.ask("show_metrics")["link"]["acl_denied"] >= 1


def test_attack_a_denied_node_gets_nothing_back_and_costs_nothing(lab: Lab, measured: Callable[[str], None]) -> None:
    """5,000 valid first messages from a denied key: not a byte in return, no peer, no growth, and few lines."""
    pair = _guarded(lab, Pair(lab))
    (lab.directory / "peers.deny").write_text("ALL\n")
    pair.left.start()
    pair.left.wait_ready()
    attacker = pair.right.identity
    layer = LinkLayer(attacker, bytes(8), MeshSettings(), os.urandom, Random(1), 0.0)
    with pair.right.host.socket(traffic.socket.AF_INET, traffic.socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        before = pair.left.rss_kib()
        for number in range(5000):
            layer.dial(pair.left.identity.peer, (1, "there"), 0.0)
            for _, frame in layer.drain_outbound():
                sock.sendto(frame, (pair.left_address, 2121))
            layer.cancel_dials(pair.left.identity.peer)
            if number % 50 == 49:
                pause(0.01)
        with pytest.raises(TimeoutError):
            sock.recv(2048)
    grown = pair.left.rss_kib() - before
    measured(f"{grown} KiB more memory")
    status, counters = pair.left.status(), pair.left.ask("show_metrics")["link"]
    assert (status["peer_count"], status["link_count"], status["connection_count"]) == (0, 0, 0)
    assert counters["acl_denied"] > 0
    assert grown < 2048
    assert pair.left.log().count("Rejected peer by ACL") == 1


# -- with the reference daemon


def _mixed(lab: Lab, dialling: str) -> Pair:
    """Build a pair whose right node is the reference with lists of its own in lab/theirs/lists."""
    theirs = lab.directory / "theirs"
    (theirs / "lists").mkdir(parents=True)
    pair = _guarded(lab, Pair(lab, right=reference.program_with_lists(theirs)))
    return pair.left_dials() if dialling == "we dial" else pair.right_dials()


def _stay_apart(pair: Pair, seconds: float) -> None:
    pause(seconds)
    assert pair.left.peers() == {}
    assert pair.right.peers() == {}


@pytest.mark.interop
@pytest.mark.parametrize("dialling", ["we dial", "they dial"])
def test_the_reference_stays_outside_while_we_deny_it(lab: Lab, dialling: str) -> None:
    pair = _mixed(lab, dialling)
    (lab.directory / "peers.deny").write_text("ALL\n")
    for node in (pair.left, pair.right):
        node.start()
        node.wait_ready()
    _stay_apart(pair, 3)
    (lab.directory / "peers.allow").write_text(f"{pair.right.npub}\n")
    pair.wait_connected(40)
    (lab.directory / "peers.allow").write_text("# nobody\n")
    wait_until(lambda: not pair.left.peers() and not pair.right.peers(), 4, "the link ends on both sides")
    _stay_apart(pair, 3)


@pytest.mark.interop
@pytest.mark.parametrize("dialling", ["we dial", "they dial"])
def test_we_stay_outside_while_the_reference_denies_us(lab: Lab, dialling: str) -> None:
    pair = _mixed(lab, dialling)
    lists = lab.directory / "theirs" / "lists"
    (lists / "peers.deny").write_text("ALL\n")
    for node in (pair.left, pair.right):
        node.start()
        node.wait_ready()
    _stay_apart(pair, 3)
    (lists / "peers.allow").write_text(f"{pair.left.npub}\n")
    pair.wait_connected(40)
    assert len(traffic.ping(pair.left.host, pair.right.address)) == 3


@pytest.mark.interop
def test_their_control_program_reads_our_lists(lab: Lab) -> None:
    pair = _mixed(lab, "we dial")
    (lab.directory / "peers.allow").write_text("right\n")
    (lab.directory / "peers.deny").write_text("ALL\n")
    pair.start()
    done = reference.control(pair.left, "acl", "show")
    data = json.loads(done.stdout)
    assert data["effective_mode"] == "allow_then_deny_all"
    assert data["allow_file_entries"] == ["right"]
    assert data["allow_entries"] == [pair.right.npub]
