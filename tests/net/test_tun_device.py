"""The TUN device, the adapter above it and the interface setup against a real kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from meshnode.ipv6.tun import TunDevice, TunError
from tests.net.tun_rig import Silence, ip, namespaces, within

pytestmark = pytest.mark.net

REACTORS = ["epoll", "asyncio"]

SERVE = """
import hashlib, socket
with socket.create_server(("fd00::b", 9), family=socket.AF_INET6) as server:
    print("ready", flush=True)
    connection, _ = server.accept()
    digest = hashlib.sha256()
    while data := connection.recv(1 << 20):
        digest.update(data)
    connection.sendall(digest.digest())
"""
SEND = """
import hashlib, random, socket, sys
data = random.Random(1).randbytes(1 << 20) * 20
with socket.create_connection(("fd00::b", 9), timeout=30) as connection:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    received = b"".join(iter(lambda: connection.recv(64), b""))
sys.exit(received != hashlib.sha256(data).digest())
"""
TRANSFER = """
import subprocess, sys
a, b, serve, send = sys.argv[1:]
server = subprocess.Popen(["ip", "netns", "exec", b, sys.executable, "-c", serve], stdout=subprocess.PIPE)
server.stdout.readline()
status = subprocess.run(["ip", "netns", "exec", a, sys.executable, "-c", send]).returncode
server.wait()
subprocess.run(["ip", "netns", "exec", b, "cat", "/proc/net/snmp"])
sys.exit(status)
"""


def rig(*arguments: str, prefix: tuple[str, ...] = ()) -> dict[str, Any]:
    command = [*prefix, sys.executable, "-m", "tests.net.tun_rig", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert ended.returncode == 0, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout)
    return result


DATAGRAMS = """
import socket, subprocess, sys
a, b, receive, send = sys.argv[1:]
receiver = subprocess.Popen(["ip", "netns", "exec", b, sys.executable, "-c", receive], stdout=subprocess.PIPE)
receiver.stdout.readline()
sys.exit(subprocess.run(["ip", "netns", "exec", a, sys.executable, "-c", send]).returncode or receiver.wait())
"""
RECEIVE = """
import socket, sys
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver:
    receiver.bind(("fd00::b", 9))
    receiver.settimeout(20)
    print("ready", flush=True)
    expected = [number.to_bytes(2, "big") * (25 if number % 50 == 49 else 50) for number in range(200)]
    sys.exit([receiver.recv(2000) for _ in expected] != expected)
"""
BURST = """
import socket
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
    for number in range(200):
        sender.sendto(number.to_bytes(2, "big") * (25 if number % 50 == 49 else 50), ("fd00::b", 9))
"""


def tcp_statistics(output: str) -> dict[str, int]:
    """The TCP line of /proc/net/snmp."""
    names, values = (line.split()[1:] for line in output.splitlines() if line.startswith("Tcp:"))
    return dict(zip(names, map(int, values), strict=True))


@pytest.mark.parametrize("reactor", REACTORS)
def test_pings_go_through(reactor: str) -> None:
    result = rig("pair", reactor, "ip", "netns", "exec", "{a}", "ping", "-c", "3", "-i", "0.1", "fd00::b")
    assert result["status"] == 0, result["output"]
    assert (result["a"]["adapter"]["sent"], result["b"]["adapter"]["delivered"]) == (3, 3)


@pytest.mark.parametrize("reactor", REACTORS)
def test_a_tcp_transfer_arrives_whole_and_mostly_merged(reactor: str) -> None:
    result = rig("pair", reactor, sys.executable, "-c", TRANSFER, "{a}", "{b}", SERVE, SEND)
    assert result["status"] == 0, result["output"]
    sender, receiver = result["a"], result["b"]
    statistics = tcp_statistics(result["output"])
    assert (statistics["InErrs"], statistics["InCsumErrors"]) == (0, 0)
    assert receiver["takes_frames"]
    assert receiver["tun"]["packets_written"] < sender["tun"]["packets_read"] / 4
    for side in (sender, receiver):
        assert (side["tun"]["write_errors"], side["tun"]["write_dropped"], side["lost"]) == (0, 0, [])
        assert side["adapter"]["mss_clamped"] == 1
    assert sender["tun"]["bytes_read"] / sender["tun"]["packets_read"] <= 1203


def test_datagrams_arrive_one_by_one_and_are_handed_over_merged() -> None:
    result = rig("pair", "epoll", sys.executable, "-c", DATAGRAMS, "{a}", "{b}", RECEIVE, BURST)
    assert result["status"] == 0, result["output"]
    sender, receiver = result["a"], result["b"]
    assert receiver["adapter"]["delivered"] >= 200
    assert receiver["tun"]["packets_written"] < sender["tun"]["packets_read"] / 2
    assert (receiver["tun"]["write_errors"], receiver["tun"]["write_dropped"]) == (0, 0)


def test_the_host_learns_that_an_address_is_not_there() -> None:
    result = rig("pair", "epoll", "ip", "netns", "exec", "{a}", "ping", "-c", "1", "-W", "2", "fd00::c")
    assert "Destination unreachable: No route" in result["output"]


def test_deleting_the_interface_is_told_once() -> None:
    result = rig("pair", "epoll", "bash", "-c", "ip -n {a} link delete fips0; sleep 0.2")
    assert len(result["a"]["lost"]) == 1
    assert result["b"]["lost"] == []


def test_setup_gives_address_mtu_routes_and_rule_and_takes_them_back() -> None:
    result = rig("setup", "fips7", "1300", prefix=("unshare", "--net"))
    assert result["error"] is None
    before, between, after = result["states"]
    assert before == after
    assert "fips7: <POINTOPOINT,MULTICAST,NOARP,UP,LOWER_UP> mtu 1300" in between
    assert "qlen 1000" in between
    assert "inet6 fd00::a/128 scope global" in between
    assert "fd00::/8 dev fips7" in between
    assert "5265:\tfrom all to fd00::/8 lookup main" in between


def test_a_rule_that_was_there_stays() -> None:
    script = (
        f"ip -6 rule add to fd00::/8 lookup main priority 5265; exec {sys.executable} -m tests.net.tun_rig setup t 1280"
    )
    ended = subprocess.run(["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, check=True)
    before, between, after = json.loads(ended.stdout)["states"]
    assert all("5265:" in state for state in (before, between, after))


def test_without_the_capability_the_error_says_what_to_do() -> None:
    result = rig("setup", "t", "1280", prefix=("unshare", "--net", "setpriv", "--bounding-set", "-net_admin"))
    assert "cannot create TUN interface t: CAP_NET_ADMIN is missing: run as root" in result["error"]


def test_an_impossible_mtu_is_named() -> None:
    result = rig("setup", "t", "70000", prefix=("unshare", "--net"))
    assert "cannot set the MTU of t to 70000" in result["error"]
    assert "change tun.mtu" in result["error"]


@pytest.mark.parametrize(
    ("switch", "expected"),
    [
        ("all", "IPv6 is disabled: sysctl net.ipv6.conf.all.disable_ipv6=0"),
        ("default", "IPv6 is disabled on new interfaces: sysctl net.ipv6.conf.default.disable_ipv6=0"),
    ],
)
def test_disabled_ipv6_is_named(switch: str, expected: str) -> None:
    prepare = f"echo 1 > /proc/sys/net/ipv6/conf/{switch}/disable_ipv6"
    result = rig("setup", "t", "1280", prefix=("unshare", "--net", "sh", "-c", f'{prepare}; exec "$@"', "sh"))
    assert expected in result["error"]


class TestNames:
    @pytest.fixture
    def namespace(self) -> Iterator[str]:
        with namespaces() as names:
            yield names["a"]

    def device(self) -> TunDevice:
        return TunDevice(MemoryReactorClock(), "fips0", 1280, Silence())

    def test_a_stale_persistent_tun_is_replaced(self, namespace: str) -> None:
        ip("-n", namespace, "tuntap", "add", "dev", "fips0", "mode", "tun")
        ip("-n", namespace, "addr", "add", "fd00::dead/128", "dev", "fips0")
        device = self.device()
        within(namespace, device.open)
        assert "fd00::dead" not in ip("-n", namespace, "addr", "show", "dev", "fips0")
        device.close()
        assert "fips0" not in ip("-n", namespace, "link")

    def test_an_interface_in_use_is_left_alone(self, namespace: str) -> None:
        first = self.device()
        within(namespace, first.open)
        with pytest.raises(TunError, match="in use by another process"):
            within(namespace, self.device().open)
        assert "fips0" in ip("-n", namespace, "link")
        first.close()

    def test_an_interface_of_another_kind_is_left_alone(self, namespace: str) -> None:
        ip("-n", namespace, "link", "add", "fips0", "type", "veth", "peer", "name", "other")
        with pytest.raises(TunError, match="is no TUN"):
            within(namespace, self.device().open)
        assert "fips0" in ip("-n", namespace, "link")
