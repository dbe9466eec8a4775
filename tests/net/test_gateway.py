"""The gateway for real: hosts without any mesh software, names, pages, forwards, faults (spec 07 sections 1 to 6)."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meshnode.identity import Identity
from tests.net import reference
from tests.rigs import control
from tests.rigs.gateways import RUNNING, GatewayRig
from tests.rigs.hosts import wire
from tests.rigs.labs import Lab
from tests.rigs.nodes import Program, environment
from tests.rigs.screens import Screen
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net

FORWARDS = [
    {"listen_port": 18080, "proto": "tcp", "target": "[fd02::20]:8080"},
    {"listen_port": 18081, "proto": "udp", "target": "[fd02::20]:8081"},
]
TRANSFER = 20_000_000
ECHO = """
import socket
sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sock.bind(("fd02::20", 8081))
sock.sendto(*sock.recvfrom(100))
"""


ADVICE = "from meshnode.gateway.plan import forwarding_command; print(forwarding_command())"
ADVERTISEMENT = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
FLOWS = """
from pathlib import Path
from meshnode.gateway.conntrack import read_flows
from meshnode.gateway.pool import Prefix
print(*[sorted(flow.destination.hex() for flow in read_flows(Prefix("fd01::/112"), Path(table)))
        for table in ("/proc/net/nf_conntrack", "/nowhere")], sep="\\n")
"""


def site(directory: Path, **files: str) -> Path:
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("_", ".")).write_text(text)
    return directory


def test_hosts_reach_the_mesh_and_are_reached_from_it(lab: Lab) -> None:
    rig = GatewayRig(lab, {"port_forwards": FORWARDS})
    rig.pair.start()
    before = rig.kernel_state()
    rig.start_gateway()
    rig.serve_pages(rig.far.host, rig.far.address, site(rig.far.directory / "www", index_html="far"))
    rig.serve_pages(rig.clients[0], "fd02::20", site(rig.clients[0].directory / "www", index_html="lan"), 8080)

    assert rig.resolve(f"{rig.far.npub}.fips") == ["fd01::1"]
    assert rig.resolve("right.fips", 1, "AAAA", "+tcp") == ["fd01::1"]
    assert rig.resolve("right.fips", 1, "A") == []
    assert rig.fetch("fd01::1", client=0) == rig.fetch("fd01::1", client=1) == "far"

    forwarded = rig.far.host.run(["curl", "-sg", "-m", "10", f"http://[{rig.near.address}]:18080/"])
    assert forwarded.stdout == "lan"
    rig.clients[0].start([sys.executable, "-c", ECHO])
    wait_until(lambda: rig.clients[0].run(["ss", "-Hlun", "sport = :8081"]).stdout, 10, "it listens for datagrams")
    with rig.far.host.socket(kind=socket.SOCK_DGRAM) as asking:
        asking.settimeout(10)
        asking.sendto(b"said over UDP", (rig.near.address, 18081))
        assert asking.recv(100) == b"said over UDP"

    unused = rig.clients[0].run(["ping", "-6", "-c", "1", "-W", "2", "fd01::77"]).stdout
    assert "Address unreachable" in unused

    shown = rig.ask("show_gateway")
    assert (shown["pool_total"], shown["nat_mappings"]) == (65535, 1)
    (mapping,) = rig.ask("show_mappings")["mappings"]
    assert (mapping["virtual_ip"], mapping["mesh_addr"]) == ("fd01::1", rig.far.address)

    assert rig.stop_gateway() == 0
    assert rig.kernel_state() == before
    assert "fips-gateway shutdown complete" in rig.log()


def test_two_local_networks_are_led_into_the_mesh(lab: Lab) -> None:
    rig = GatewayRig(lab, {"port_forwards": [{**FORWARDS[0], "target": "[fd03::20]:8080"}]}, clients=1)
    rig.near.settings["meshnode"] = {"gateway": {"lan_interfaces": ["guests"]}}
    guest = lab.host("guest")
    wire(guest, rig.near.host, "eth0", "guests")
    rig.near.host.ip("-6 addr add fd03::1/64 dev guests nodad")
    guest.ip("-6 addr add fd03::20/64 dev eth0 nodad")
    guest.ip("-6 route add default via fd03::1 dev eth0")
    rig.clients.append(guest)
    rig.start()
    rig.serve_pages(rig.far.host, rig.far.address, site(rig.far.directory / "www", index_html="far"))
    rig.serve_pages(guest, "fd03::20", site(guest.directory / "www", index_html="guest"), 8080)
    (address,) = rig.resolve("right.fips")
    assert rig.fetch(address, client=0) == rig.fetch(address, client=1) == "far"
    forwarded = rig.far.host.run(["curl", "-sg", "-m", "10", f"http://[{rig.near.address}]:18080/"])
    assert forwarded.stdout == "guest"
    assert rig.stop_gateway() == 0


def test_a_pool_within_the_network_s_own_prefix(lab: Lab) -> None:
    """Hosts need no route then: the gateway answers when they look for a lent address beside them."""
    rig = GatewayRig(lab, {"pool": "fd02::5:0/112"}, clients=1)
    rig.near.host.run(["sysctl", "-qw", "net.ipv6.conf.all.proxy_ndp=1"])
    rig.clients[0].ip("-6 route del default")
    rig.start()
    rig.serve_pages(rig.far.host, rig.far.address, site(rig.far.directory / "www", index_html="far"))
    (address,) = rig.resolve("right.fips")
    assert address == "fd02::5:1"
    assert rig.fetch(address) == "far"
    before = rig.kernel_state()
    assert f"{address} dev lan proxy" in rig.near.host.ip("-6 neigh show proxy")

    # What was set for an interface goes with it, and is back soon after it.
    rig.near.host.ip("link set lan down")
    rig.near.host.ip("link set lan up")
    rig.near.host.ip("-6 addr add fd02::1/64 dev lan nodad")
    rig.near.host.ip("-6 route del local fd02::5:0/112 dev lo")
    wait_until(lambda: rig.kernel_state() == before, 20, "it answers again")
    assert rig.fetch(address) == "far"
    assert "nobody answered on lan for lent addresses (was it down?); that is mended" in rig.log()
    assert rig.stop_gateway() == 0
    assert rig.near.host.ip("-6 neigh show proxy") == ""


def test_fifty_names_at_once_and_a_dead_one_among_them(lab: Lab) -> None:
    rig = GatewayRig(lab, clients=1).start()
    names = [f"{Identity(bytes([7] * 31 + [number])).npub}.fips" for number in range(1, 51)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(rig.resolve, [*names, "nobody-has-this-name.fips"]))
    assert answers.pop() == []
    assert [answer for answer in answers if len(answer) != 1] == []
    assert len({answer[0] for answer in answers}) == 50
    rules = rig.rules()
    assert all(f"ip6 daddr {answer[0]} dnat ip6 to" in rules for answer in answers)


def test_a_small_pool_is_shared_one_after_the_other(lab: Lab) -> None:
    rig = GatewayRig(lab, {"pool": "fd01::/126"}, clients=1).start()
    names = [f"{Identity(bytes([7] * 31 + [number])).npub}.fips" for number in range(1, 7)]
    with ThreadPoolExecutor(6) as pool:
        answers = dict(zip(names, pool.map(rig.question, names), strict=True))
    refused = [name for name, answer in answers.items() if "status: SERVFAIL" in answer]
    assert len(refused) == 3
    assert all("fd01::" in answer for name, answer in answers.items() if name not in refused)
    assert "all 3 addresses of fd01::/126 are lent" in rig.log()
    # As short as the times are, a mapping nobody uses is gone after ttl, grace and a tick more.
    wait_until(lambda: not rig.ask("show_mappings")["mappings"], 45, "unused mappings are taken back")
    # The kernel follows, one short command for each of them.
    wait_until(lambda: rig.near.host.ip("-6 neigh show proxy") == "", 10, "nobody answers for them any more")
    assert "dnat" not in rig.rules()
    assert [rig.resolve(name)[0] in ("fd01::1", "fd01::2", "fd01::3") for name in refused] == [True] * 3


def test_a_download_outlives_its_name_and_a_gateway_that_is_killed(lab: Lab, is_long: bool) -> None:
    rig = GatewayRig(lab, clients=1)
    rig.pair.start()
    before = rig.kernel_state()
    rig.start_gateway()
    size = 200_000_000 if is_long else TRANSFER
    directory = site(rig.far.directory / "www")
    (directory / "big").write_bytes(bytes(size))
    rig.serve_pages(rig.far.host, rig.far.address, directory)
    (address,) = rig.resolve("right.fips")
    rate = str(size // 25)
    download = rig.clients[0].start(
        ["curl", "-sg", "--limit-rate", rate, "-o", "big", "-m", "120", f"http://[{address}]:8000/big"]
    )
    wait_until(
        lambda: any(row["state"] == "Active" for row in rig.ask("show_mappings")["mappings"]), 20, "it is counted"
    )
    rig.kill_gateway()
    rig.start_gateway()
    assert "1 mappings of the run before this one are kept" in rig.log()
    assert download.wait(100) == 0
    assert (rig.clients[0].directory / "big").stat().st_size == size
    assert rig.resolve("right.fips") == [address]
    assert rig.stop_gateway() == 0
    assert rig.kernel_state() == before


def test_a_download_outlives_a_gateway_that_starts_anew(lab: Lab, is_long: bool) -> None:
    rig = GatewayRig(lab, clients=1)
    rig.pair.start()
    before = rig.kernel_state()
    rig.start_gateway()
    directory = site(rig.far.directory / "www")
    size = 200_000_000 if is_long else 4_000_000
    (directory / "big").write_bytes(bytes(size))
    rig.serve_pages(rig.far.host, rig.far.address, directory)
    (address,) = rig.resolve("right.fips")
    download = rig.clients[0].start(
        ["curl", "-sg", "--limit-rate", str(size // 8), "-o", "big", "-m", "100", f"http://[{address}]:8000/big"]
    )
    wait_until(lambda: rig.ask("show_mappings")["mappings"][0]["sessions"], 20, "it is counted")
    assert rig.process is not None
    rig.process.send_signal(signal.SIGHUP)
    wait_until(lambda: rig.log().count(RUNNING) == 2, 15, "it runs again")
    assert rig.process.poll() is None
    assert "1 mappings of the run before this one are kept" in rig.log()

    # The same for one that makes way for another process, as at a restart of the service.
    rig.process.send_signal(signal.SIGUSR1)
    assert rig.process.wait(15) == 0
    rig.start_gateway()
    assert rig.log().count("1 mappings of the run before this one are kept") == 2
    assert download.wait(100) == 0
    assert (rig.clients[0].directory / "big").stat().st_size == size

    # A file that is of no use any more ends it, and then nothing is left.
    rig.near.config_file.write_text("gateway: 7\n")
    rig.process.send_signal(signal.SIGHUP)
    assert rig.process.wait(15) == 1
    assert rig.kernel_state() == before


def test_what_a_killed_gateway_left_is_removed_on_demand(lab: Lab) -> None:
    rig = GatewayRig(lab, clients=1)
    rig.pair.start()
    before = rig.kernel_state()
    rig.start_gateway()
    assert rig.resolve("right.fips") == ["fd01::1"]
    command = [sys.executable, "-m", "meshnode.gateway.program", "--clean"]
    refused = rig.near.host.run(command, environment=environment())
    assert (refused.returncode, refused.stderr) == (1, "meshnode-gateway: a gateway runs; stop that one first\n")
    rig.kill_gateway()
    for _ in range(2):
        done = rig.near.host.run(command, environment=environment())
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert rig.kernel_state() == before


def test_names_work_again_after_the_node_restarted(lab: Lab) -> None:
    rig = GatewayRig(lab, clients=1).start()
    rig.serve_pages(rig.far.host, rig.far.address, site(rig.far.directory / "www", index_html="far"))
    (address,) = rig.resolve("right.fips")
    rig.near.stop()
    assert "status: SERVFAIL" in rig.question("right.fips")
    rig.near.start()
    rig.near.wait_ready()
    rig.near.wait_connected(rig.far)
    # Nobody asks for the name again: the gateway reminds the node whose address that is.
    wait_until(lambda: rig.fetch(address) == "far", 30, "the known address works again")


OBSTACLES: list[tuple[dict[str, object], str]] = [
    ({"enabled": False}, "the gateway is switched off"),
    ({"pool": "fd01::"}, "gateway.pool `fd01::`"),
    ({"lan_interface": "lan7"}, "there is no interface lan7; correct gateway.lan_interface"),
    ({"dns": {"upstream": "localhost:5354"}}, "gateway.dns.upstream is the name 'localhost'"),
    ({"dns": {"listen": "[2001:db8::1]:53"}}, "correct gateway.dns.listen"),
    ({"dns": {"upstream": "[::1]:5399"}}, "the node does not answer questions at [::1]:5399"),
    ({"port_forwards": [FORWARDS[0], FORWARDS[0]]}, "tcp port 18080 is forwarded twice"),
]


def test_what_is_missing_is_one_line_and_nothing_is_left(lab: Lab) -> None:
    rig = GatewayRig(lab, clients=1)
    rig.near.start()
    rig.near.wait_ready()
    before = rig.kernel_state()
    for settings, line in OBSTACLES:
        assert line in refusal(rig, settings)
        assert rig.kernel_state() == before
    rig.near.host.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=0"])
    assert "does not forward IPv6; type: sysctl -w net.ipv6.conf.all.forwarding=1" in refusal(rig, {})
    rig.near.host.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])
    for program, package in (("nft", "nftables"), ("ip", "iproute2")):
        place = shutil.which(program)
        assert rig.near.host.run(["mount", "--bind", "/dev/null", str(place)]).returncode == 0
        assert f"the program {program} is missing; install the package {package}" in refusal(rig, {})
        assert rig.near.host.run(["umount", str(place)]).returncode == 0
    rig.near.stop()
    assert "there is no interface fips0; start the node with tun.enabled: true first" in refusal(rig, {})


def test_the_advice_to_forward_keeps_the_route_that_a_router_advertises(lab: Lab) -> None:
    machine, router = lab.host("machine"), lab.host("router")
    wire(machine, router, "eth0.5", "eth0")
    with router.inside():
        advertising = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        where = ("ff02::1", 0, 0, socket.if_nametoindex("eth0"))
    with advertising:
        advertising.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        wait_until(lambda: "tentative" not in router.ip("-6 addr show dev eth0"), 10, "the router has an address")

        def has_route() -> bool:
            advertising.sendto(ADVERTISEMENT, where)
            return "proto ra" in machine.ip("-6 route show default")

        wait_until(has_route, 10, "the route is advertised")
    command = machine.run([sys.executable, "-c", ADVICE], environment=environment()).stdout
    assert machine.run(["sh", "-c", command]).returncode == 0
    assert machine.run(["sysctl", "-n", "net.ipv6.conf.all.forwarding"]).stdout == "1\n"
    assert "proto ra" in machine.ip("-6 route show default"), command


def test_both_accounts_that_the_kernel_gives_of_its_connections_are_read_alike(lab: Lab) -> None:
    host = lab.host("host")
    host.ip("link set lo up")
    for number in (1, 16):
        host.ip(f"-6 addr add fd01::{number:x}/128 dev lo nodad")
    track = "table inet t { chain o { type filter hook output priority 0; ct state new counter; }; }"
    assert host.run(["nft", track]).returncode == 0
    for number in (1, 16, 16):
        with host.socket(kind=socket.SOCK_DGRAM) as client:
            client.sendto(b"", (f"fd01::{number:x}", 9))
    listed, asked = host.run([sys.executable, "-c", FLOWS], environment=environment()).stdout.splitlines()
    assert listed == asked
    assert [listed.count(f"{number:04x}'") for number in (1, 16)] == [1, 2]


def refusal(rig: GatewayRig, settings: dict[str, object]) -> str:
    """Start the gateway with other settings and return the one line it ends with."""
    file = rig.near.config_file
    file.write_text(json.dumps({**rig.near.settings, "gateway": {**rig.near.settings["gateway"], **settings}}))
    so_far = len(rig.log())
    assert rig.launch().wait(30) == 1
    text = rig.log()[so_far:]
    assert "Traceback" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("meshnode-gateway: ")]
    return line


def test_the_node_itself_can_be_the_gateway(lab: Lab) -> None:
    rig = GatewayRig(lab, clients=1)
    rig.near.settings["meshnode"] = {"gateway": {"embedded": True}}
    rig.far.start()
    rig.far.wait_ready()
    before = rig.kernel_state()
    rig.near.start()
    wait_until(lambda: "fips-gateway running" in rig.near.log(), 15, "the gateway runs inside the node")
    rig.near.wait_connected(rig.far)
    rig.serve_pages(rig.far.host, rig.far.address, site(rig.far.directory / "www", index_html="far"))
    (address,) = rig.resolve("right.fips")
    assert rig.fetch(address) == "far"
    assert "(UDP Port" not in rig.near.log(), "sockets that come and go with questions are nobody's news"
    assert rig.near.stop() == 0
    assert rig.kernel_state() == before


def test_the_node_as_a_gateway_follows_its_file_and_connections_go_on(lab: Lab) -> None:
    rig = GatewayRig(lab, clients=1)
    rig.near.settings["meshnode"] = {"gateway": {"embedded": True}}
    rig.far.start()
    rig.far.wait_ready()
    before = rig.kernel_state()
    rig.near.start()
    wait_until(lambda: RUNNING in rig.near.log(), 15, "the gateway runs inside the node")
    rig.near.wait_connected(rig.far)
    directory = site(rig.far.directory / "www")
    (directory / "big").write_bytes(bytes(2_000_000))
    rig.serve_pages(rig.far.host, rig.far.address, directory)
    rig.serve_pages(rig.clients[0], "fd02::20", site(rig.clients[0].directory / "www", index_html="lan"), 8080)
    (address,) = rig.resolve("right.fips")
    download = rig.clients[0].start(
        ["curl", "-sg", "--limit-rate", "400k", "-o", "big", "-m", "60", f"http://[{address}]:8000/big"]
    )
    wait_until(lambda: (rig.clients[0].directory / "big").exists(), 10, "it has begun")

    # More forwards, and names at another port: it begins anew with what it had lent.
    assert configure(rig, port_forwards=FORWARDS[:1], dns={"listen": "[::]:5355", "upstream": "[::1]:5354"}) == [
        "gateway"
    ]
    wait_until(lambda: rig.near.log().count(RUNNING) == 2, 15, "it runs again")
    assert "1 mappings of the run before this one are kept" in rig.near.log()
    forwarded = rig.far.host.run(["curl", "-sg", "-m", "10", f"http://[{rig.near.address}]:18080/"])
    assert forwarded.stdout == "lan"
    assert rig.resolve("right.fips", 0, "AAAA", "-p", "5355") == [address]

    # What cannot be changes nothing, not even beside it.
    with pytest.raises(control.ControlError, match=r"there is no interface lan7; correct gateway\.lan_interface"):
        configure(rig, lan_interface="lan7")
    rig.near.settings["meshnode"]["gateway"]["proxy"] = ["192.0.2.9:1080"]
    with pytest.raises(control.ControlError, match=r"no proxy on port 1080 of 192\.0\.2\.9: that address is not one"):
        configure(rig)
    del rig.near.settings["meshnode"]["gateway"]["proxy"]
    assert rig.resolve("right.fips", 0, "AAAA", "-p", "5355") == [address]
    assert download.wait(60) == 0
    assert (rig.clients[0].directory / "big").stat().st_size == 2_000_000

    # Switched off it is gone, without an end of the node.
    assert configure(rig, enabled=False) == ["gateway"]
    wait_until(lambda: "fips-gateway shutdown complete" in rig.near.log(), 10, "it has ended")
    assert "fips_gateway" not in rig.rules()
    assert rig.near.is_connected_to([rig.far])
    assert rig.near.stop() == 0
    assert rig.kernel_state() == before


def configure(rig: GatewayRig, **settings: object) -> list[str]:
    """Change the file's `gateway` section, tell the node, and return the keys that took effect."""
    gateway = {**rig.near.settings["gateway"], **settings}
    rig.near.config_file.write_text(json.dumps({**rig.near.settings, "gateway": gateway}))
    applied: list[str] = rig.near.ask("reload")["applied"]
    return applied


def test_a_second_gateway_ends_without_touching_the_first(lab: Lab) -> None:
    rig = GatewayRig(lab, clients=1).start()
    assert rig.resolve("right.fips") == ["fd01::1"]
    state, first = rig.kernel_state(), rig.process
    assert "no .fips names on [::]:5353" in refusal(rig, {})
    elsewhere = {"dns": {"listen": "[::]:5355", "upstream": "[::1]:5354"}}
    assert "another gateway runs on this machine; stop that one first" in refusal(rig, elsewhere)
    assert rig.kernel_state() == state
    rig.process = first
    assert rig.resolve("right.fips") == ["fd01::1"]
    assert rig.stop_gateway() == 0


def test_rules_and_socket_that_somebody_removed_come_back(lab: Lab) -> None:
    """Firewalls are loaded anew, and a service manager that ends a node beside us removes `/run/fips`."""
    rig = GatewayRig(lab, clients=1).start()
    rig.serve_pages(rig.far.host, rig.far.address, site(rig.far.directory / "www", index_html="far"))
    (address,) = rig.resolve("right.fips")
    rules = rig.rules()
    assert rig.near.host.run(["nft", "flush", "ruleset"]).returncode == 0
    shutil.rmtree(rig.socket_path.parent)
    wait_until(lambda: rig.rules() == rules, 20, "the rules are back")
    assert rig.fetch(address) == "far"
    wait_until(rig.socket_path.exists, 10, "the socket is back")
    assert rig.ask("show_gateway")["nat_mappings"] == 1
    assert "somebody removed the gateway's rules" in rig.log()
    assert rig.stop_gateway() == 0


@pytest.mark.interop
@pytest.mark.parametrize("whose", ["their gateway, our node", "our gateway, their node"])
def test_gateway_and_node_may_be_of_different_kinds(lab: Lab, whose: str) -> None:
    if whose.startswith("their"):
        theirs = reference.binary().with_name("fips-gateway")
        rig = GatewayRig(lab, gateway=Program("fips-gateway", f"{theirs} --config {{config}}"), clients=1)
    else:
        rig = GatewayRig(lab, node=reference.program(), clients=1)
    rig.start()
    rig.serve_pages(rig.far.host, rig.far.address, site(rig.far.directory / "www", index_html="far"))
    (address,) = rig.resolve(f"{rig.far.npub}.fips")
    wait_until(lambda: rig.fetch(address) == "far", 20, "a page comes through")
    assert rig.stop_gateway() == 0
    assert "table inet fips_gateway" not in rig.rules()


@pytest.mark.interop
@pytest.mark.program("tmux")
def test_their_monitor_shows_our_gateway(lab: Lab) -> None:
    rig = GatewayRig(lab, clients=1).start()
    assert rig.resolve("right.fips") == ["fd01::1"]
    monitor = reference.binary().with_name("fipstop")
    sockets = ["-s", str(rig.near.control_socket), "--gateway-socket", str(rig.socket_path)]
    with Screen([str(monitor), *sockets, "-r", "1"], rig.near.directory, (150, 40)) as screen:
        screen.wait_for("Runtime")
        screen.press("BTab")  # the last tab
        shown = screen.wait_for("NAT Mappings (1)")
        assert "pool: fd01::/112  iface: lan  dns: [::]:5353 → [::1]:5354  ttl: 5s  grace: 5s" in shown
        (row,) = [line for line in shown.splitlines() if "fd01::1 " in line]
        assert "right.fips" in row
        assert "Allocated" in row or "Active" in row
        assert "65534" in shown


def test_hosts_without_ipv6_go_through_the_proxy(lab: Lab) -> None:
    rig = GatewayRig(lab, {"enabled": False}, clients=1)
    rig.near.settings["meshnode"] = {"gateway": {"embedded": True, "proxy": ["192.168.7.1:1080"]}}
    rig.near.host.ip("addr add 192.168.7.1/24 dev lan")
    rig.clients[0].ip("addr add 192.168.7.2/24 dev eth0")
    rig.pair.start()
    rig.serve_pages(rig.far.host, rig.far.address, site(rig.far.directory / "www", index_html="far"))

    def curl(*arguments: str) -> str:
        return rig.clients[0].run(["curl", "-sS", "-m", "20", "-w", "%{http_code}", *arguments]).stdout

    page, proxy = "http://right.fips:8000/", "192.168.7.1:1080"
    wait_until(lambda: "proxy into the mesh at" in rig.near.log(), 10, "the proxy is up")
    assert curl("-x", f"http://{proxy}", page) == "far200"
    assert curl("-x", f"http://{proxy}", "--proxytunnel", page) == "far200"
    assert curl("--socks5-hostname", proxy, f"http://{rig.far.npub}.fips:8000/") == "far200"
    assert curl("-x", f"http://{proxy}", "http://nobody.fips/") == "there is no such name in the mesh\n502"
    assert curl("-x", f"http://{proxy}", "http://no..name.fips/") == "there is no such name in the mesh\n502"
    assert curl("-x", f"http://{proxy}", "http://right.fips:81/") == "nobody listens on that port\n502"
    assert curl("-x", f"http://{proxy}", "http://example.com/") == "only names under .fips are reached from here\n403"
    assert "SOCKS5 192.168.7.1:1080" in curl(f"http://{proxy}/proxy.pac")
    assert "fips_gateway" not in rig.rules()
