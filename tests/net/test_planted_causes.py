"""Why does that peer not connect, or connect and not do? Every planted cause is named by a tool.

Wrong key, wrong port, a firewall, an access list, a clock, a narrow path.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.rigs import traffic
from tests.rigs.hosts import cable
from tests.rigs.labs import Lab, Pair
from tests.rigs.meshctl import answer, meshctl
from tests.rigs.nodes import Node, Program, our_program
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net

_NO_TUN = {"tun": {"enabled": False}}
_IMPATIENT = {**_NO_TUN, "node": {"rate_limit": {"handshake_timeout_secs": 3}}}
_DROP = "add table inet wall; add chain inet wall in { type filter hook input priority 0; }; "
_DROP += "add rule inet wall in udp dport 2121 drop"
_NO_FRAGMENTS = "add table ip whole; add chain ip whole in { type filter hook prerouting priority -450; }; "
_NO_FRAGMENTS += "add rule ip whole in ip frag-off & 0x3fff != 0 drop"
_UDP_HEADERS = 28
_SILENT = "add table inet mute; add chain inet mute out { type filter hook output priority 0; }; "
_SILENT += "add rule inet mute out icmp type destination-unreachable drop"


def verdicts(node: Node, subject: str) -> list[dict[str, Any]]:
    """What `meshctl doctor` has to say about one subject, but for what is well."""
    found = answer(node, "doctor")["verdicts"]
    return [verdict for verdict in found if verdict["subject"] == subject and verdict["level"] != "ok"]


def test_a_peer_that_does_not_connect_is_told_with_the_reason(lab: Lab) -> None:
    node = lab.node("here", lab.host("here"), None, _IMPATIENT)
    there = lab.node("there", lab.host("there"), None, _NO_TUN)
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


def test_planted_causes_of_a_missing_link_are_told_apart(lab: Lab) -> None:
    """Wrong port, wrong key and firewall, one after the other, from a machine without a node."""
    pair = Pair(lab, settings=_NO_TUN)
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
    (dialled,) = verdicts(right, "keys")
    assert "for another key than this node's came in" in dialled["text"]
    assert right.host.run(["nft", _DROP]).returncode == 0
    assert "a firewall on the way" in knock(address, right.npub)
    (closed,) = verdicts(right, "firewall")
    assert closed["text"] == "a rule of chain inet wall in keeps out what comes to udp port 2121"
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


@pytest.mark.program("faketime")
def test_a_clock_that_is_off_is_named_and_keeps_nobody_apart(lab: Lab) -> None:
    """Nothing of a link needs a clock; who dates an announce tomorrow has a wrong one, which other things mind."""
    pair = Pair(lab, right=_tomorrow(), settings=_NO_TUN).left_dials().start()
    left = pair.left

    def said() -> list[str]:
        return [verdict["text"] for verdict in verdicts(left, "clock") if verdict["text"].startswith("the clock of")]

    (text,) = wait_until(said, 20, "the clock is named", interval=0.5)
    assert re.fullmatch(r"the clock of right is (at least )?(23h59m|1d00h) ahead of this one", text)


def _tomorrow() -> Program:
    """Our node with a wall clock a day ahead. The program faketime would fork, and leave it behind."""
    asked = ["faketime", "-f", "+0s", "printenv", "LD_PRELOAD"]
    library = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    preload = f"env LD_PRELOAD={library} FAKETIME=+86400s DONT_FAKE_MONOTONIC=1"
    return Program("tomorrow", f"{preload} {our_program().template}")


def test_a_path_that_swallows_long_frames_is_named(lab: Lab, measured: Callable[[str], None]) -> None:
    """Behind a narrow router sits a packet filter that wants no fragments: links come up, long frames vanish."""
    left, right = _through_a_narrow_router(lab, mtu=1380, settings=_NO_TUN)
    assert right.host.run(["nft", _NO_FRAGMENTS]).returncode == 0
    _start(left, right)
    begin = time.monotonic()
    (verdict,) = wait_until(lambda: verdicts(left, "packet sizes"), 60, "the path is named", interval=0.5)
    measured(f"named after {time.monotonic() - begin:.1f} s: {verdict['text']}")
    assert verdict["text"].startswith("the path to right swallows frames of more than ")
    assert "though its udp promises 1472" in verdict["text"]
    assert "tracepath 10.98.1.2" in verdict["fix"]
    assert 1380 - _UDP_HEADERS - 16 <= left.peers()[right.npub]["link_mtu"] <= 1380 - _UDP_HEADERS
    assert answer(left, "trace", "right")["reached"]


def test_a_narrow_router_that_says_nothing_costs_nothing(lab: Lab) -> None:
    """No datagram forbids its fragmentation, so nobody has to be told that it was too long."""
    left, right = _through_a_narrow_router(lab, mtu=1300, settings={})
    _start(left, right)
    assert traffic.ping(left.host, right.address, count=1)
    assert traffic.ping(left.host, right.address, count=3, size=1200)
    there = traffic.transfer(left.host, right.host, right.address, 1_000_000)
    assert there.intact
    assert there.seconds < 5


def _start(left: Node, right: Node) -> None:
    for node in (right, left):
        node.start()
        node.wait_ready(30)
    left.wait_connected(right, deadline=30)


def _through_a_narrow_router(lab: Lab, mtu: int, settings: Mapping[str, Any]) -> tuple[Node, Node]:
    """Two nodes, of which the left one dials, and a router between them, narrow on its far side, that never complains.

    The kernel must not hand over what it wants segmented as one piece, else that passes the router unmeasured.
    """
    router = lab.host("router")
    left, right = (lab.node(name, lab.host(f"host-{name}"), None, settings) for name in ("left", "right"))
    _, gateway = cable(left.host, router, "10.98.0", "eth0", "eth0")
    far_gateway, address = cable(router, right.host, "10.98.1", "eth1", "eth0")
    for host, interface in ((router, "eth1"), (right.host, "eth0")):
        host.ip(f"link set {interface} mtu {mtu}")
    for node, via in ((left, gateway), (right, far_gateway)):
        node.host.ip("link set eth0 gso_max_segs 1")
        node.host.ip(f"route add default via {via}")
    for command in (["sysctl", "-qw", "net.ipv4.ip_forward=1"], ["nft", _SILENT]):
        assert router.run(command).returncode == 0
    left.dials(right, address)
    return left, right
