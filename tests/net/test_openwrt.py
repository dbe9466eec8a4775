"""The package for OpenWrt, put into a root laid out like a router's: installed, used, removed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.rigs import traffic
from tests.rigs.gateways import start_dnsmasq
from tests.rigs.hosts import cable
from tests.rigs.labs import Lab
from tests.rigs.openwrt import Router
from tests.rigs.pages import filled, sections
from tests.rigs.waiting import wait_until

pytestmark = [pytest.mark.net, pytest.mark.program("busybox"), pytest.mark.program("dnsmasq")]


# The harder way first: a router for which nobody builds cryptography.
HIDDEN = ["cryptography", ""] if os.environ.get("MESHNODE_LONG") == "1" else ["cryptography"]


@pytest.mark.parametrize("hide", HIDDEN)
def test_a_router_leads_its_local_network_into_the_mesh(lab: Lab, tmp_path: Path, hide: str) -> None:
    host, far_host = lab.host("router"), lab.host("far")
    _, far_address = cable(host, far_host, "10.99.0")
    far = lab.node("far", far_host)
    far.start()
    client = lab.host("client")
    host.ip("link add br-lan type bridge")
    host.ip("link set br-lan up")
    host.ip("-6 addr add fd02::1/64 dev br-lan nodad")
    host.ip(f"link add lan1 type veth peer name eth0 netns {client.pid}")
    host.ip("link set lan1 master br-lan up")
    client.ip("-6 addr add fd02::20/64 dev eth0 nodad")
    client.ip("link set eth0 up")
    client.ip("-6 route add default via fd02::1 dev eth0")

    router = Router(host, tmp_path / "router", hide)
    router.install()
    settings = router.settings()
    assert settings["firewall.meshnode.input"] == ["REJECT"]
    assert settings["dhcp.@dnsmasq[0].server"] == ["/fips/::1#5354"]
    assert router.sh("/etc/init.d/meshnode enabled").returncode == 0

    wait_until(lambda: router.sh("meshctl status --json").stdout.startswith("{"), 40, "the node answers")
    status = json.loads(router.sh("meshctl status --json").stdout)
    assert status["status"]["tun_state"] == "active"
    library = "PyNaCl" if hide else "cryptography"
    assert f"ChaCha20-Poly1305 by {library}" in router.sh("meshctl status").stdout
    page = sections("docs/how-to/install-on-openwrt.md")
    (join,) = page["Join the mesh"]
    router.sh(filled(join, {"npub1...": far.npub, "203.0.113.7": far_address}))
    wait_until(lambda: far.status()["peer_count"] == 1, 15, "they are connected")
    assert far.npub in router.read("/etc/meshnode/fips.yaml")

    (let_in,) = page["Let everybody in"]
    started = router.sh(let_in)
    assert started.returncode == 0, started.stderr
    wait_until(lambda: "fips-gateway running" in router.read("/tmp/meshnode-gateway.log"), 20, "the gateway runs")
    settings = router.settings()
    assert settings["dhcp.@dnsmasq[0].server"] == ["/fips/::1#5353"]
    assert settings["dhcp.meshnode_pool.target"] == ["fd01::/112"]
    # The router's dnsmasq, with the one setting of it that is ours.
    (server,) = settings["dhcp.@dnsmasq[0].server"]
    start_dnsmasq(host, server)
    client.run(["sh", "-c", "echo nameserver fd02::1 > /etc/resolv.conf"])
    with traffic.web_page(far_host, "hello"):
        fetch = ["curl", "-sS", "-m", "10", f"http://{far.npub}.fips/"]
        wait_until(lambda: client.run(fetch).stdout == "hello", 30, "a host behind the router gets the page")

    # Another pool: told to the network, and connections go on.
    router.sh("sed -i 's#fd01::/112#fd09::/112#' /etc/meshnode/fips.yaml")
    assert router.sh("/etc/init.d/meshnode-gateway reload").returncode == 0
    wait_until(lambda: router.read("/tmp/meshnode-gateway.log").count("fips-gateway running") == 2, 20, "it runs again")
    assert router.settings()["dhcp.meshnode_pool.target"] == ["fd09::/112"]

    # A new version of the package changes no setting, and what was switched on stays so.
    settings = router.settings()
    router.run_script("prerm", upgrade=True)
    wait_until(lambda: not host.has_interface("fips0"), 15, "the interface is gone")
    router.run_script("postinst", upgrade=True)
    wait_until(lambda: host.has_interface("fips0"), 40, "the node is back")
    started = router.sh("INTERFACE=fips0 ACTION=add sh /etc/hotplug.d/net/99-meshnode")
    assert started.returncode == 0, started.stderr
    wait_until(lambda: router.read("/tmp/meshnode-gateway.log").count("fips-gateway running") == 3, 20, "and it runs")
    assert router.settings() == settings
    assert router.sh("/etc/init.d/meshnode-gateway enabled").returncode == 0

    router.run_script("prerm")
    wait_until(lambda: not host.has_interface("fips0"), 15, "the interface is gone")
    settings = router.settings()
    assert [key for key, value in settings.items() if value and "meshnode" in key] == []
    assert settings["dhcp.@dnsmasq[0].server"] == []
    assert "fips_gateway" not in host.run(["nft", "list", "ruleset"]).stdout
    assert router.read("/etc/meshnode/fips.yaml")


@pytest.mark.parametrize("before", [None, "1", "2"])
def test_the_network_is_left_as_it_was_found(lab: Lab, tmp_path: Path, before: str | None) -> None:
    router = Router(lab.host("router"), tmp_path / "router")
    router.sh("uci add_list 'dhcp.@dnsmasq[0].server=/fips/::1#5354'")
    if before is not None:
        router.sh(f"uci set dhcp.lan.ra_default={before}")
    found = kept(router)
    lan = ". /usr/share/meshnode/lan.sh; lan_{}"
    for _ in range(2):
        assert router.sh(lan.format("join fd01::/112")).returncode == 0
        assert router.settings()["dhcp.lan.ra_default"] == ["2"]
        assert router.settings()["network.lan.ip6addr"] == ["2001:2:f1b5::1/64"]
    for _ in range(2):
        assert router.sh(lan.format("leave")).returncode == 0
        assert kept(router) == found


def kept(router: Router) -> dict[str, list[str]]:
    """What is set on a router, without the stand-in's own counting."""
    return {path: value for path, value in router.settings().items() if value and not path.startswith("commit ")}
