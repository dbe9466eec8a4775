"""What goes wrong on machines: sends that are refused, disks that are full, files of others, names that move."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.rigs import traffic
from tests.rigs.hosts import Host
from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import Program, our_program
from tests.rigs.waiting import pause, wait_until

pytestmark = pytest.mark.net

_NOBODY = 65534
_ALONE = {"tun": {"enabled": False}, "dns": {"enabled": False}}


def _do(host: Host, *command: str) -> None:
    done = host.run(command)
    assert done.returncode == 0, done.stderr


# -- sends that are refused


@contextmanager
def _refused_by_the_firewall(host: Host) -> Iterator[None]:
    _do(host, "nft", "table ip no { chain out { type filter hook output priority 0; udp sport 2121 drop; }; }")
    yield
    _do(host, "nft", "delete table ip no")


@contextmanager
def _without_a_route(host: Host) -> Iterator[None]:
    host.ip("route del 10.99.0.0/24")
    yield
    host.ip("route add 10.99.0.0/24 dev eth0 src 10.99.0.1")


@pytest.mark.parametrize(
    ("mishap", "told"),
    [(_refused_by_the_firewall, "Operation not permitted"), (_without_a_route, "Network is unreachable")],
    ids=["EPERM", "ENETUNREACH"],
)
def test_sends_that_are_refused_are_told_once_and_traffic_goes_on_afterwards(
    lab: Lab, mishap: Callable[[Host], AbstractContextManager[None]], told: str, measured: Callable[[str], None]
) -> None:
    pair = Pair(lab).left_dials().start()
    with traffic.pinging(pair.right.host, pair.left.address, 0.05) as echoes:
        echoes.first(5)
        with mishap(pair.left.host):
            pause(5)
        over = time.time()
        seconds = echoes.reply_after(over, 10).at - over
    measured(f"echo {seconds:.2f} s after it was over")
    assert seconds < 2
    complaints = [line for line in pair.left.log().splitlines() if "cannot send to" in line]
    assert len(complaints) == 1
    assert told in complaints[0]
    assert "Traceback" not in pair.left.log()
    assert " removed:" not in pair.left.log() + pair.right.log()


def test_transfers_go_on_over_an_interface_whose_mtu_shrank(lab: Lab, measured: Callable[[str], None]) -> None:
    """EMSGSIZE: the kernel refuses datagrams that are too long for the interface now."""
    pair = Pair(lab, settings={"tun": {"mtu": 1395}}).left_dials().start()
    traffic.ping(pair.left.host, pair.right.address, count=3)
    stream = traffic.Streaming(pair.left.host, pair.right.host, pair.right.address, 5)
    pause(2)
    for host in (pair.left.host, pair.right.host):
        host.ip("link set eth0 mtu 1400")
    pause(5)
    done = stream.finish()
    measured(f"longest pause of TCP {done.longest_pause:.2f} s")
    assert done.intact
    assert done.longest_pause < 10
    assert "Traceback" not in pair.left.log() + pair.right.log()
    again = traffic.transfer(pair.left.host, pair.right.host, pair.right.address, 1_000_000, timeout=20)
    assert again.intact


# -- disks and files


@pytest.mark.parametrize("disk", ["full", "read-only"])
def test_a_key_that_cannot_be_saved_is_used_and_told(lab: Lab, disk: str) -> None:
    host = lab.host("host")
    node = lab.node("node", host, None, _ALONE)
    node.settings["node"]["identity"] = {"persistent": True}
    disk_directory, plain = node.directory / "disk", node.directory / "plain.yaml"
    disk_directory.mkdir()
    node.config_file = disk_directory / "meshnode.yaml"
    plain.write_text(json.dumps(node.settings))
    _do(host, "mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(disk_directory))  # no room beside one small file
    _do(host, "cp", str(plain), str(node.config_file))
    if disk == "read-only":
        _do(host, "mount", "-o", "remount,ro", str(disk_directory))
    node.start()
    node.wait_ready()
    complaint = "No space left on device" if disk == "full" else "Read-only file system"
    lines = [line for line in node.log().splitlines() if complaint in line]
    assert lines, node.log_tail()
    assert "fips.key" in lines[0]
    assert "Traceback" not in node.log()
    assert node.stop() == 0


def test_a_socket_that_somebody_else_left_is_told_in_one_line(lab: Lab) -> None:
    """An ordinary user cannot take the place of root's dead socket; the node runs without one."""
    host = lab.host("host")
    command = f"setpriv --reuid {_NOBODY} --regid {_NOBODY} --clear-groups {our_program().template}"
    node = lab.node("node", host, Program("meshnode", command), _ALONE)
    for directory in (lab.directory, host.directory, node.directory):
        directory.chmod(0o755)
    leave = f"import socket; socket.socket(socket.AF_UNIX).bind({str(node.control_socket)!r})"
    _do(host, "python3", "-c", leave)
    assert node.control_socket.stat().st_uid == 0
    node.start()
    words = "the node runs without it"
    wait_until(lambda: words in node.log(), 15, words)
    (line,) = [line for line in node.log().splitlines() if words in line]
    assert str(node.control_socket) in line
    assert "Permission denied" in line
    wait_until(lambda: "FIPS running" in node.log(), 15, "it runs, and answers signals")
    assert "Traceback" not in node.log()
    assert node.stop() == 0
    assert node.control_socket.exists()


# -- names


def test_a_peer_that_comes_back_at_another_address_is_found_by_its_name(
    lab: Lab, measured: Callable[[str], None]
) -> None:
    pair = Pair(lab)
    names = pair.left.host.directory / "names"
    names.write_text("10.99.0.2 peer.example\n")
    _do(pair.left.host, "mount", "--bind", str(names), "/etc/hosts")
    pair.left.dials(pair.right, "peer.example")
    pair.start()
    with traffic.pinging(pair.left.host, pair.right.address, 0.05) as echoes:
        echoes.first(5)
        pair.right.kill()
        pair.right.host.ip("addr del 10.99.0.2/24 dev eth0")
        pair.right.host.ip("addr add 10.99.0.9/24 dev eth0")
        with names.open("w") as file:
            file.write("10.99.0.9 peer.example\n")
        pair.right.start()
        begin = time.time()
        seconds = echoes.reply_after(begin, 30).at - begin
    measured(f"echo {seconds:.2f} s after it was started at its new address")
    assert seconds < 12


def test_an_address_where_nobody_is_costs_a_moment(lab: Lab, measured: Callable[[str], None]) -> None:
    pair = Pair(lab).left_dials()
    (peer,) = pair.left.settings["peers"]
    dead = {"transport": "udp", "addr": "10.99.0.77:2121", "priority": 1}
    peer["addresses"] = [{**peer["addresses"][0], "priority": 2}, dead]
    pair.right.start()
    pair.right.wait_ready()
    pair.left.start()
    pair.left.wait_ready(30)
    ready = time.monotonic()
    pair.wait_connected()
    measured(f"connected {time.monotonic() - ready:.2f} s after the node was ready")
    assert pair.left.peers()[pair.right.npub]["transport_addr"] == "10.99.0.2:2121"


def test_an_address_to_listen_at_that_comes_later_is_used_from_then_on(lab: Lab) -> None:
    """Spec 04, section 1.3: for the reference the transport is lost until somebody starts the daemon anew."""
    pair = Pair(lab)
    pair.right.settings["transports"]["tcp"] = {"bind_addr": "10.99.0.77:8443"}
    pair.left.settings["transports"] = {"tcp": {}}
    pair.left.dials(pair.right, "10.99.0.77", 8443, "tcp")
    pair.right.start()
    pair.right.wait_ready()
    assert pair.right.status()["state"] == "degraded"
    assert "no interface of this machine has that address" in pair.right.log()
    pair.right.host.ip("address add 10.99.0.77/24 dev eth0")
    wait_until(lambda: "tcp 10.99.0.77:8443 up" in pair.right.log(), 15, "the address is listened at")
    pair.left.start()
    pair.left.wait_ready()
    pair.wait_connected()
    assert [peer["transport_type"] for peer in pair.right.peers().values()] == ["tcp"]
    assert pair.right.status()["state"] == "running"
