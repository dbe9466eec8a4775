"""The gateway as a service of systemd: what a restart, a crash and a stop do to connections through it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs.hosts import Host, wire
from tests.rigs.labs import Lab
from tests.rigs.waiting import wait_until

from .booted import PACKAGES, Booted
from .conftest import Artefact
from .machines import debian
from .test_deb import RELEASES

pytestmark = pytest.mark.net

RELEASE = "bookworm"
SETTINGS = {
    "node": {"identity": {"persistent": True}},
    "tun": {"enabled": True},
    "dns": {"enabled": True, "bind_addr": "::1", "port": 5354},
    "transports": {"udp": {"bind_addr": "0.0.0.0:2121"}},
    "gateway": {
        "enabled": True,
        "pool": "fd01::/112",
        "lan_interface": "eth0",
        "dns": {"listen": "[::]:5353", "ttl": 5},
        "pool_grace_period": 5,
    },
    "meshnode": {"resolver": "none"},
}
CONFIGURATION = "/etc/meshnode/fips.yaml"
SIZE = 6_000_000


@pytest.fixture
def gateway(lab: Lab, artefact: Artefact) -> Iterator[Booted]:
    host = lab.host("gateway")
    machine = Booted(host, debian(RELEASE, [*PACKAGES, *RELEASES[RELEASE]["depends"]]))
    try:
        machine.put(artefact("deb", "--release", RELEASE), "/root/meshnode_0.deb")
        machine("apt-get install --yes ./meshnode_0.deb")
        yield machine
    finally:
        machine.close()


def configure(machine: Booted, **gateway: str) -> None:
    settings = {**SETTINGS, "gateway": {**SETTINGS["gateway"], **gateway}}  # type: ignore[dict-item]
    machine(f"cat > {CONFIGURATION} << 'YAML'\n{json.dumps(settings)}\nYAML")


def test_a_connection_outlives_restart_reload_and_crash_and_nothing_outlives_a_stop(lab: Lab, gateway: Booted) -> None:
    client, far = lab.host("client"), lab.node("far", lab.host("far"))
    wire(client, gateway.host)
    client.ip("-6 addr add fd02::20/64 dev eth0 nodad")
    gateway.host.ip("-6 addr add fd02::1/64 dev eth0 nodad")
    client.ip("-6 route add default via fd02::1 dev eth0")
    wire(far.host, gateway.host, "eth0", "eth1")
    far.host.ip("addr add 192.0.2.7/24 dev eth0")
    gateway.host.ip("addr add 192.0.2.1/24 dev eth1")
    far.start()
    far.wait_ready()
    serve(far.host, far.address, far.directory / "www")

    configure(gateway)
    gateway("cp /usr/share/meshnode/gateway-sysctl.conf /etc/sysctl.d/50-meshnode-gateway.conf && sysctl --system")
    gateway("systemctl restart meshnode && systemctl start meshnode-gateway")
    gateway(f"meshctl peer add {far.npub} 192.0.2.7:2121 udp")
    wait_until(lambda: started(gateway) == 1, 20, "the gateway runs")
    ask = ["dig", "+short", "+tries=1", "+time=5", "-p", "5353", "@fd02::1", f"{far.npub}.fips", "AAAA"]
    address = wait_until(lambda: client.run(ask).stdout.strip(), 20, "the name is answered")
    download = client.start(
        ["curl", "-sg", "--limit-rate", "400k", "-o", "big", "-m", "90", f"http://[{address}]:8000/big"]
    )
    wait_until(lambda: (client.directory / "big").exists(), 15, "it has begun")

    kill = "kill -KILL $(systemctl show --property MainPID --value meshnode-gateway)"
    for number, blow in enumerate(("systemctl restart meshnode-gateway", "systemctl reload meshnode-gateway", kill), 2):
        gateway(blow)
        wait_until(lambda number=number: started(gateway) == number, 30, f"it runs again after: {blow}")
    assert gateway("journalctl --unit meshnode-gateway").count("1 mappings of the run before this one are kept") == 3
    assert download.wait(90) == 0
    assert (client.directory / "big").stat().st_size == SIZE

    gateway("systemctl stop meshnode-gateway")
    assert is_clean(gateway)

    # One that follows and cannot start leaves nothing of the one before it either.
    gateway("systemctl start meshnode-gateway")
    wait_until(lambda: started(gateway) == 5, 20, "it runs")
    configure(gateway, lan_interface="lan7")
    gateway("systemctl restart meshnode-gateway")
    wait_until(lambda: is_clean(gateway), 20, "what was left is gone")
    assert "there is no interface lan7; correct gateway.lan_interface" in gateway("journalctl --unit meshnode-gateway")


def started(machine: Booted) -> int:
    """How often the gateway has come to run."""
    return machine("journalctl --unit meshnode-gateway").count("fips-gateway running")


def is_clean(machine: Booted) -> bool:
    left = machine("nft list tables; ip -6 route show table local; ls /run/meshnode")
    return not any(word in left for word in ("fips_gateway", "fd01::/112", "gateway.json"))


def serve(host: Host, address: str, directory: Path) -> None:
    directory.mkdir()
    (directory / "big").write_bytes(bytes(SIZE))
    host.start(["python3", "-m", "http.server", "8000", "--bind", address, "--directory", str(directory)])
