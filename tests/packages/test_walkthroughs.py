"""Pages that lead from nothing to `curl` across the mesh, followed word by word on machines that have booted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rigs import traffic
from tests.rigs.hosts import wire
from tests.rigs.labs import Lab
from tests.rigs.pages import filled, sections
from tests.rigs.waiting import wait_until

from .booted import PACKAGES, Booted
from .conftest import Artefact
from .machines import ROOT, debian
from .test_deb import RELEASES

pytestmark = pytest.mark.net

CONFIRMED = "exec < <(yes)\n"
"""Before commands of which apt asks whether it may go on."""
SERVER, LAPTOP = "192.0.2.7", "192.0.2.8"


@pytest.fixture(params=list(RELEASES))
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def machines(release: str, lab: Lab, artefact: Artefact) -> Iterator[list[Booted]]:
    """Two machines on one wire, with the package beside whoever sits there."""
    hosts = [lab.host("server"), lab.host("laptop")]
    wire(*hosts)
    below = debian(release, [*PACKAGES, *RELEASES[release]["depends"]])
    made: list[Booted] = []
    try:
        for host, address in zip(hosts, (SERVER, LAPTOP), strict=True):
            host.ip(f"addr add {address}/24 dev eth0")
            made.append(Booted(host, below))
            made[-1].put(artefact("deb", "--release", release), "/root/meshnode_0.deb")
        yield made
    finally:
        for machine in made:
            machine.close()


def test_a_debian_server_in_the_mesh(machines: list[Booted]) -> None:
    page = sections("docs/tutorials/debian-server.md")
    server, laptop = machines
    (install,) = page["Install it, on both"]
    for machine in machines:
        assert "the node has no peer" in machine.run(CONFIRMED + install).stdout
        assert machine("systemctl is-active meshnode") == "active\n"
    npub = server("meshctl status | sed -n 's/^npub *//p'").strip()
    # Who is in the group asks the node without sudo.
    server("useradd --groups fips somebody && su somebody -c 'meshctl version'")

    (tell,) = page["Tell laptop about server"]
    assert "written into /etc/meshnode/fips.yaml" in laptop(filled(tell, {"npub1...": npub, "192.0.2.7": SERVER}))
    wait_until(lambda: " ms " in laptop("meshctl show peers"), 20, "the list has a round-trip time")

    look, write = page["Let programs on laptop know names"]
    assert "!   names" in laptop.run(look).stdout
    laptop(write)
    assert "ok  names" in laptop.run(look).stdout
    assert "nameserver 127.0.0.1\n" in laptop("cat /etc/resolv.conf")

    (serve,) = page["Serve a page, on server"]
    server.host.start(server.command(serve))
    (fetch,) = page["Fetch it, on laptop"]
    assert wait_until(lambda: laptop.run(fetch).stdout, 30, "the page comes") == "hello, mesh\n"

    (purge,) = [word for word in (ROOT / "docs/tutorials/debian-server.md").read_text().split("`") if "purge" in word]
    laptop(CONFIRMED + purge)
    assert "127.0.0.1" not in laptop("cat /etc/resolv.conf")
    assert laptop("ls -d /etc/meshnode /run/fips 2>&1 || true").count("No such file") == 2


def test_a_gateway_on_a_raspberry_pi(lab: Lab, artefact: Artefact) -> None:
    page = sections("examples/pi-gateway/README.md")
    below = debian("bookworm", [*PACKAGES, "dnsmasq", "radvd", *RELEASES["bookworm"]["depends"]])
    host, phone, far = lab.host("pi"), lab.host("phone"), lab.node("far", lab.host("far"))
    wire(host, phone)
    phone.run(["sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra_rt_info_max_plen=128"])
    phone.run(["sh", "-c", "echo nameserver fd02::1 > /etc/resolv.conf"])
    wire(host, far.host, "eth1")
    host.ip("addr add 192.0.2.1/24 dev eth1")
    far.host.ip("addr add 192.0.2.7/24 dev eth0")
    far.start()
    far.wait_ready()
    pi = Booted(host, below)
    try:
        pi.put(artefact("deb", "--release", "bookworm"), "/root/meshnode_0.deb")
        pi("mkdir pi-gateway")
        pi.put(ROOT / "examples/pi-gateway/fips.yaml", "/root/pi-gateway/fips.yaml")
        (install,) = page["Install it"]
        pi(CONFIRMED + install)
        (forward,) = page["Let it forward"]
        pi(forward)
        wait_until(lambda: "fips-gateway running" in pi("meshctl log show"), 20, "the gateway runs inside the node")
        for block in page["Tell the network"]:
            pi(block)
        (join,) = page["Join the mesh"]
        assert "written into /etc/meshnode/fips.yaml" in pi(
            filled(join, {"npub1...": far.npub, "192.0.2.7": "192.0.2.7"})
        )
        (fetch,) = page["Fetch a page"]
        with traffic.web_page(far.host, "hello, mesh"):
            wait_until(lambda: phone.run(["bash", "-c", fetch]).stdout == "hello, mesh", 30, "the page comes")
        assert "fd01::/112 via fe80::" in phone.ip("-6 route")
        pi("systemctl stop meshnode")
        assert "fips_gateway" not in pi("nft list ruleset")
    finally:
        pi.close()
