"""Nodes linked over TCP: traffic, both dialling, a lost peer, a narrow path, a peer that does not read."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.net import reference
from tests.rigs import traffic
from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import Program
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net

PORT = 8443
ROLES = ["we dial", "they dial"]


def tcp_pair(lab: Lab, dialling: str, right: Program | None = None, **tcp: Any) -> Pair:
    """A pair that has TCP alone; both listen."""
    pair = Pair(lab, right=right)
    for node in (pair.left, pair.right):
        node.carries(tcp={"bind_addr": f"0.0.0.0:{PORT}", **tcp})
    if dialling in ("we dial", "both dial"):
        pair.left.dials(pair.right, pair.right_address, PORT, "tcp")
    if dialling in ("they dial", "both dial"):
        pair.right.dials(pair.left, pair.left_address, PORT, "tcp")
    return pair


def pool(pair: Pair) -> list[int]:
    """How many connections each side holds."""
    rows = [node.transport("tcp")["stats"] for node in (pair.left, pair.right)]
    return [row["pool_inbound"] + row["pool_outbound"] for row in rows]


def check_traffic(pair: Pair, size: int, measured: Callable[[str], None]) -> None:
    left, right = pair.left, pair.right
    assert len(traffic.ping(left.host, right.address)) == 3
    there = traffic.transfer(left.host, right.host, right.address, size)
    back = traffic.transfer(right.host, left.host, left.address, size)
    measured(f"{size / 1e6:g} MB there in {there.seconds:.2f} s, back in {back.seconds:.2f} s")
    assert there.intact
    assert back.intact


def test_traffic_passes_both_ways_over_one_connection(lab: Lab, measured: Callable[[str], None]) -> None:
    pair = tcp_pair(lab, "we dial")
    started = time.monotonic()
    pair.start()
    measured(f"linked {time.monotonic() - started:.2f} s after the first start")
    check_traffic(pair, 20_000_000, measured)
    assert pool(pair) == [1, 1]
    assert pair.left.transport("tcp")["stats"]["connections_established"] == 1
    assert pair.right.transport("tcp")["local_addr"] == f"0.0.0.0:{PORT}"


def test_after_a_mutual_dial_one_connection_stays(lab: Lab) -> None:
    pair = tcp_pair(lab, "both dial")
    pair.left.start()
    pair.right.start()
    pair.left.wait_ready()
    pair.right.wait_ready()
    pair.wait_connected()
    # A handshake may be waited for on it for 30 s; it is idle for five seconds then.
    wait_until(lambda: pool(pair) == [1, 1], 45, "the duplicate is closed")
    assert len(traffic.ping(pair.left.host, pair.right.address)) == 3


def test_a_restarted_listener_is_met_again(lab: Lab, measured: Callable[[str], None]) -> None:
    pair = tcp_pair(lab, "we dial").start()
    with traffic.pinging(pair.left.host, pair.right.address) as echoes:
        echoes.first(5)
        pair.right.kill()
        killed = time.time()
        pair.right.start()
        pair.right.wait_ready()
        up = time.time()
        seconds = max(echoes.reply_after(killed, 15).at - up, 0)
    measured(f"{seconds:.2f} s after the listener is up again")
    assert seconds <= 4
    assert "connection of right" in pair.left.log()


def test_an_interface_with_a_small_mtu_does_not_kill_the_connection(lab: Lab, measured: Callable[[str], None]) -> None:
    pair = tcp_pair(lab, "we dial")
    pair.right.host.ip("link set eth0 mtu 1300")
    pair.start()
    check_traffic(pair, 3_000_000, measured)
    assert pair.left.transport("tcp")["stats"]["connections_established"] == 1
    assert "lost" not in pair.left.log()


def test_a_listener_that_refuses_is_named_with_its_cause(lab: Lab) -> None:
    pair = tcp_pair(lab, "we dial")
    pair.left.start()
    pair.left.wait_ready()
    wait_until(lambda: "connection refused" in pair.left.log(), 5, "the cause is logged")
    (line,) = {line.split("dial of ")[1] for line in pair.left.log().splitlines() if "dial of " in line}
    assert line == f"right at {pair.right_address}:{PORT} failed: connection refused"


def test_visitors_that_speak_no_frames_are_cut_off_and_cost_nothing(lab: Lab) -> None:
    pair = tcp_pair(lab, "we dial").start()
    target = (pair.right_address, PORT)
    for greeting in (b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", bytes(range(3, 200))):
        with pair.left.host.socket(socket.AF_INET) as visitor:
            visitor.settimeout(5)
            visitor.connect(target)
            visitor.sendall(greeting)
            try:
                assert visitor.recv(1) == b""
            except ConnectionResetError:
                pass
    assert len(traffic.ping(pair.left.host, pair.right.address)) == 3
    assert pool(pair) == [1, 1]


def test_several_instances_and_both_families_serve_side_by_side(lab: Lab) -> None:
    pair = tcp_pair(lab, "nobody")
    for host, last in ((pair.left.host, 1), (pair.right.host, 2)):
        host.ip(f"addr add fd99::{last}/64 dev eth0 nodad")
    pair.right.carries(tcp={"four": {"bind_addr": f"0.0.0.0:{PORT}"}, "six": {"bind_addr": "[fd99::2]:8444"}})
    pair.left.carries(tcp={"main": {}})
    pair.left.dials(pair.right, "[fd99::2]", 8444, "tcp")
    pair.start()
    assert len(traffic.ping(pair.left.host, pair.right.address)) == 3
    (row,) = pair.left.peers().values()
    assert row["transport_addr"] == "[fd99::2]:8444"


@pytest.mark.interop
@pytest.mark.parametrize("dialling", ["we dial", "they dial", "both dial"])
def test_traffic_passes_to_and_from_the_reference(lab: Lab, dialling: str, measured: Callable[[str], None]) -> None:
    pair = tcp_pair(lab, dialling, reference.program())
    started = time.monotonic()
    pair.start()
    measured(f"linked {time.monotonic() - started:.2f} s after the first start")
    check_traffic(pair, 20_000_000, measured)
    if dialling == "both dial":
        wait_until(lambda: pool(pair)[0] == 1, 40, "our side closes the duplicate")
        assert len(traffic.ping(pair.left.host, pair.right.address)) == 3


@pytest.mark.interop
@pytest.mark.parametrize("dialling", ROLES)
def test_a_small_mtu_at_the_reference_is_kept_to(lab: Lab, dialling: str, measured: Callable[[str], None]) -> None:
    """Their own frames may exceed it, and we take them; ours may not."""
    pair = tcp_pair(lab, dialling, reference.program())
    pair.right.host.ip("link set eth0 mtu 1300")
    pair.start()
    check_traffic(pair, 3_000_000, measured)
    stats = pair.left.transport("tcp")["stats"]
    assert stats["connections_established"] + stats["connections_accepted"] == 1
