"""What a gateway needs, and what it says when that is missing (spec 07 section 1.2)."""

from __future__ import annotations

import json
import os
import shutil
import socket
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from meshnode.config.load import load
from meshnode.gateway import plan as planning
from meshnode.gateway.plan import GatewayError, Plan, check, plan
from meshnode.gateway.translation import why_only_ipv6

SECTION = {"enabled": True, "pool": "fd01::/112", "lan_interface": "lan"}
FORWARD = {"listen_port": 8080, "proto": "tcp", "target": "[fd02::20]:80"}


def read(directory: Path, gateway: dict[str, Any] | None, tun: str = "fips0", **extras: Any) -> Plan:
    file = directory / "fips.yaml"
    file.write_text(json.dumps({"gateway": gateway, "tun": {"name": tun}, "meshnode": {"gateway": extras}}))
    loaded = load(file, {}, directory)
    return plan(loaded.config, loaded.places)


@pytest.mark.parametrize(
    ("gateway", "line"),
    [
        (None, "there is no `gateway` section; write gateway: {enabled: true, pool: ..., lan_interface: ...}"),
        ({"enabled": False}, "the gateway is switched off; set gateway.enabled to true"),
        ({"pool": "fd01::"}, "gateway.pool `fd01::` is no IPv6 prefix; write one like fd01::/112"),
        ({"pool": "10.0.0.0/8"}, "gateway.pool `10.0.0.0/8` is no IPv6 prefix; write one like fd01::/112"),
        ({"pool": "fd01::/128"}, "gateway.pool `fd01::/128` has no address to lend; write one like fd01::/112"),
        (
            {"lan_interface": ""},
            "gateway.lan_interface is empty; write the name of the local network's interface, such as br-lan",
        ),
        ({"pool": "fd01::/129"}, "gateway.pool `fd01::/129`: the length must be 1 to 128; write one like fd01::/112"),
        (
            {"port_forwards": [{**FORWARD, "listen_port": 0}]},
            "gateway.port_forwards[0].listen_port is 0; write the port that mesh nodes are to use",
        ),
        (
            {"port_forwards": [FORWARD, FORWARD]},
            "gateway.port_forwards[1]: tcp port 8080 is forwarded twice; keep one of them",
        ),
        (
            {"dns": {"listen": "router:53"}},
            "gateway.dns.listen is the name 'router'; write a numeric address such as [::1]:5353",
        ),
    ],
)
def test_a_section_that_cannot_be_used_is_one_line(tmp_path: Path, gateway: dict[str, Any] | None, line: str) -> None:
    with pytest.raises(GatewayError) as refused:
        read(tmp_path, None if gateway is None else {**SECTION, **gateway})
    assert str(refused.value) == line


def test_a_further_interface_without_a_name_is_told_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match=r"meshnode.gateway.lan_interfaces\[1\] is empty; write the name"):
        read(tmp_path, SECTION, lan_interfaces=["guests", ""])


def test_the_mesh_interface_is_the_one_that_the_node_makes(tmp_path: Path) -> None:
    assert read(tmp_path, SECTION, tun="mesh7").mesh == "mesh7"


def test_the_same_port_of_both_protocols_is_forwarded(tmp_path: Path) -> None:
    both = [FORWARD, {**FORWARD, "proto": "udp"}]
    made = read(tmp_path, {**SECTION, "port_forwards": both}, lan_interfaces=["guests", "lan"])
    assert [(forward.port, forward.protocol) for forward in made.forwards] == [(8080, "tcp"), (8080, "udp")]
    assert made.local == ["lan", "guests"], "each network once, the first one first"
    assert made == read(tmp_path, {**SECTION, "port_forwards": both}, lan_interfaces=["guests", "lan"])
    assert made != read(tmp_path, {**SECTION, "pool": "fd03::/112", "port_forwards": both}, lan_interfaces=["guests"])


class Machine:
    """What `check` looks at; everything a gateway needs is there until a test takes it away."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.user, self.programs, self.interfaces = 0, {"nft", "ip"}, ["lo", "fips0", "lan"]
        self.forwarding = directory / "forwarding"
        self.forwarding.write_text("1\n")
        self.proxy_ndp = directory / "proxy_ndp"
        self.proxy_ndp.write_text("1\n")
        self.status = directory / "status"
        self.status.write_text("Name:\tmeshnode\nCapEff:\t0000000000000000\n")
        patch.setattr(os, "geteuid", lambda: self.user)
        patch.setattr(shutil, "which", lambda name, path: f"/usr/sbin/{name}" if name in self.programs else None)
        patch.setattr(socket, "if_nameindex", lambda: list(enumerate(self.interfaces, 1)))
        patch.setattr(planning, "_PROXY_NDP", self.proxy_ndp)
        patch.setattr(planning, "_STATUS", self.status)
        self.addresses = directory / "if_inet6"
        self.addresses.write_text("")
        patch.setattr(planning, "_ADDRESSES", self.addresses)
        self.routes = directory / "ipv6_route"
        self.routes.write_text("")
        patch.setattr(planning, "_ROUTES", self.routes)
        self.settings = directory / "conf"
        patch.setattr(planning, "_INTERFACES", self.settings)

    def has(self, address: str, length: int, interface: str) -> None:
        """Give it one more address."""
        with self.addresses.open("a") as table:
            table.write(f"{IPv6Address(address).packed.hex()} 02 {length:02x} 00 80 {interface:>8}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def refusal(machine: Machine, made: Plan) -> str:
    with pytest.raises(GatewayError) as refused:
        check(made, machine.forwarding)
    return str(refused.value)


def test_a_machine_that_has_everything_gets_no_warning(machine: Machine, tmp_path: Path) -> None:
    assert check(read(tmp_path, SECTION), machine.forwarding) == []


def test_each_thing_that_is_missing_is_one_line_with_its_remedy(machine: Machine, tmp_path: Path) -> None:
    made = read(tmp_path, SECTION, lan_interfaces=["guests"])
    assert refusal(machine, made) == (
        "there is no interface guests; correct meshnode.gateway.lan_interfaces, or wait until it is there"
    )
    machine.interfaces.remove("lan")
    assert refusal(machine, made) == "there is no interface lan; correct gateway.lan_interface"
    machine.interfaces.remove("fips0")
    assert refusal(machine, made) == "there is no interface fips0; start the node with tun.enabled: true first"
    machine.forwarding.write_text("0\n")
    line = "this machine does not forward IPv6; type: sysctl -w net.ipv6.conf.all.forwarding=1"
    assert refusal(machine, made) == line
    machine.forwarding.unlink()
    assert refusal(machine, made) == line
    machine.programs.remove("ip")
    assert refusal(machine, made) == "the program ip is missing; install the package iproute2"
    machine.programs.remove("nft")
    assert refusal(machine, made) == "the program nft is missing; install the package nftables"
    machine.user = 1000
    assert refusal(machine, made) == "the gateway changes the kernel's tables and needs root (or CAP_NET_ADMIN)"


@pytest.mark.parametrize(
    ("flags", "accept_ra", "command"),
    [
        ("00450003", 1, "sysctl -w net.ipv6.conf.eth0/5.accept_ra=2 net.ipv6.conf.all.forwarding=1"),
        ("00450003", 2, "sysctl -w net.ipv6.conf.all.forwarding=1"),
        ("00000003", 1, "sysctl -w net.ipv6.conf.all.forwarding=1"),
    ],
    ids=["advertised", "kept already", "set by hand"],
)
def test_the_advice_to_forward_does_not_cost_the_machine_its_own_way_out(
    machine: Machine, tmp_path: Path, flags: str, accept_ra: int, command: str
) -> None:
    nothing = f"{'0' * 32} 00"
    rows = [
        f"{nothing} {nothing} fe80000000000000bcfb17fffeb89c52 00000400 00000001 00000000 {flags}   eth0.5",
        f"{nothing} {nothing} {'0' * 32} ffffffff 00000001 00000000 00200200       lo",
    ]
    machine.routes.write_text("\n".join(rows) + "\n")
    (machine.settings / "eth0.5").mkdir(parents=True)
    (machine.settings / "eth0.5" / "accept_ra").write_text(f"{accept_ra}\n")
    machine.forwarding.write_text("0\n")
    assert refusal(machine, read(tmp_path, SECTION)) == f"this machine does not forward IPv6; type: {command}"


def test_a_pool_that_would_cut_off_a_network_is_refused(machine: Machine, tmp_path: Path) -> None:
    machine.has("fd97::1", 128, "fips0")
    machine.has("fd02::1", 64, "lan")
    machine.has("fd02::5", 128, "lan")
    for pool in ("fd01::/112", "fd02::/112", "fd97::1:0/112"):
        assert check(read(tmp_path, {**SECTION, "pool": pool}), machine.forwarding) == []
    assert refusal(machine, read(tmp_path, {**SECTION, "pool": "fd02::/64"})) == (
        "gateway.pool fd02::/64 holds fd02::/64 of lan, which it would cut off; "
        "write a prefix that nothing else uses, such as fd01::/112"
    )
    assert "holds fd97::1/128 of fips0" in refusal(machine, read(tmp_path, {**SECTION, "pool": "fd00::/8"}))


def test_the_mesh_is_no_local_network(machine: Machine, tmp_path: Path) -> None:
    line = "gateway.lan_interface is fips0, the way into the mesh; write that of the LAN"
    assert refusal(machine, read(tmp_path, {**SECTION, "lan_interface": "fips0"})) == line


def test_the_one_right_it_needs_is_enough(machine: Machine, tmp_path: Path) -> None:
    machine.user = 1000
    machine.status.write_text("CapEff:\t0000000000001000\n")
    assert check(read(tmp_path, SECTION), machine.forwarding) == []


def test_what_is_likely_to_go_wrong_is_a_warning(machine: Machine, tmp_path: Path) -> None:
    machine.proxy_ndp.write_text("0\n")
    made = read(tmp_path, {**SECTION, "pool_grace_period": 10, "dns": {"ttl": 60}})
    short, no_proxy = check(made, machine.forwarding)
    assert short.startswith("gateway.pool_grace_period is shorter than gateway.dns.ttl")
    assert no_proxy.startswith("net.ipv6.conf.all.proxy_ndp is 0")


@pytest.mark.parametrize("where", ["sys/module/jool_siit/version", "lib/modules/{release}/modules.dep", None])
def test_why_hosts_without_ipv6_are_not_served_depends_on_the_kernel(tmp_path: Path, where: str | None) -> None:
    if where is not None:
        file = tmp_path / where.format(release=os.uname().release)
        file.parent.mkdir(parents=True)
        file.write_text("kernel/net/jool_siit.ko:\n")
    line = why_only_ipv6(tmp_path)
    assert ("does not use this kernel's translator, Jool" in line) == (where is not None)
    assert line.endswith("give them a proxy with meshnode.gateway.proxy")
