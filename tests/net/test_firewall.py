"""The firewall of the mesh interface on real nodes: what gets in, what does not, and what is left behind."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.rigs import traffic
from tests.rigs.hosts import Host
from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import Node
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net

TABLE = ["nft", "list", "table", "inet", "fips"]


@contextlib.contextmanager
def _listening(host: Host, port: int) -> Iterator[None]:
    with host.socket() as listener:
        listener.bind(("::", port))
        listener.listen()
        yield


def _gets_in(node: Node, other: Node, port: int) -> bool:
    """Tell whether `other` can open a connection to a port of `node`."""
    with other.host.socket() as client:
        client.settimeout(1.5)
        try:
            client.connect((node.address, port))
        except TimeoutError:
            return False
    return True


def _guarded(lab: Lab, **more: Any) -> Pair:
    """Build a pair whose left node has a firewall and dials."""
    pair = Pair(lab).left_dials()
    drop_ins = lab.directory / "fips.d"
    drop_ins.mkdir()
    (drop_ins / "ssh.nft").write_text("tcp dport 2222 accept\n")
    section = {"enabled": True, "allow_tcp": [8080], "rules_dir": str(drop_ins), **more}
    pair.left.settings["meshnode"] = {"firewall": section}
    return pair


def test_only_what_is_allowed_gets_in_and_the_rules_go_with_the_node(lab: Lab) -> None:
    pair = _guarded(lab).start()
    left, right = pair.left, pair.right
    with _listening(left.host, 8080), _listening(left.host, 2222), _listening(left.host, 2223):
        assert _gets_in(left, right, 8080)
        assert _gets_in(left, right, 2222)
        assert not _gets_in(left, right, 2223)
        rows = left.ask("show_listening_sockets")
        assert rows["firewall_active"]
        verdicts = {row["port"]: row["filter"] for row in rows["sockets"]}
        assert (verdicts[8080], verdicts[2222], verdicts[2223]) == ("accept", "accept", "drop")
    assert len(traffic.ping(right.host, left.address)) == 3
    with traffic.web_page(right.host, "answers come in\n"):
        assert traffic.fetch(left.host, f"http://[{right.address}]/").stdout == "answers come in\n"
    assert "counter packets 0" not in left.host.run(TABLE).stdout
    assert left.stop() == 0
    assert left.host.run(TABLE).returncode != 0


def test_a_datagram_in_fragments_gets_in_where_a_whole_one_does(lab: Lab) -> None:
    """All but the first have no port to be told by; the kernel puts them together before it looks."""
    pair = _guarded(lab, allow_udp=[8080])
    for node in (pair.left, pair.right):
        node.settings["transports"] = {"udp": {"mtu": 1280}}
    pair.start()
    left, right = pair.left, pair.right
    with (
        left.host.socket(kind=socket.SOCK_DGRAM) as open_port,
        left.host.socket(kind=socket.SOCK_DGRAM) as closed_port,
        right.host.socket(kind=socket.SOCK_DGRAM) as client,
    ):
        open_port.bind(("::", 8080))
        closed_port.bind(("::", 8081))
        open_port.settimeout(5)
        for size in (100, 1232, 4000):
            for port in (8081, 8080):
                client.sendto(bytes(size), (left.address, port))
            assert len(open_port.recv(65535)) == size
        closed_port.setblocking(False)
        with pytest.raises(BlockingIOError):
            closed_port.recv(65535)
    assert "counter packets 0" not in left.host.run(TABLE).stdout


def test_other_interfaces_are_not_touched(lab: Lab) -> None:
    pair = _guarded(lab).start()
    with pair.left.host.socket(socket.AF_INET) as listener:
        listener.bind(("0.0.0.0", 2223))
        listener.listen()
        with pair.right.host.socket(socket.AF_INET) as client:
            client.settimeout(3)
            client.connect((pair.left_address, 2223))


def test_what_a_killed_node_left_is_replaced_by_the_next(lab: Lab) -> None:
    pair = _guarded(lab).start()
    pair.left.kill()
    assert pair.left.host.run(TABLE).returncode == 0
    pair.left.settings["meshnode"]["firewall"]["allow_tcp"] = [9090]
    pair.left.start()
    pair.left.wait_ready()
    wait_until(lambda: "9090" in pair.left.host.run(TABLE).stdout, 5, "the new rules are there")
    assert "8080" not in pair.left.host.run(TABLE).stdout


def test_without_its_firewall_the_node_has_no_interface_and_says_why(lab: Lab) -> None:
    pair = _guarded(lab)
    (lab.directory / "fips.d" / "broken.nft").write_text("tcp dport accept accept\n")
    pair.left.start()
    wait_until(lambda: "no TUN interface" in pair.left.log(), 10, "it says that there is no interface")
    assert "the firewall cannot be set up" in pair.left.log()
    assert "broken.nft" in pair.left.log()
    assert not pair.left.host.has_interface("fips0")
    assert pair.left.status()["tun_state"] == "failed"
    assert pair.left.stop() == 0


def test_a_table_of_the_operator_is_respected(lab: Lab) -> None:
    pair = _guarded(lab)
    assert pair.left.host.run(["nft", "add", "table", "inet", "fips"]).returncode == 0
    pair.left.start()
    wait_until(lambda: "was not made by this program" in pair.left.log(), 10, "it says whose table is in the way")
    pair.left.stop()
    assert pair.left.host.run(TABLE).returncode == 0
