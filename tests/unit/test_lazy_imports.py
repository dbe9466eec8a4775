"""A node that carries frames over UDP alone loads nothing of the other carriers and tools."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPTIONAL = ("bleak", "dbus_fast", "prometheus_client", "pyroute2", "scapy", "textual", "txtorcon", "zeroconf")
NOT_FOR_A_NODE = {
    "OpenSSL.SSL", "http.client", "importlib.abc", "multiprocessing", "twisted.conch",
    "twisted.internet.endpoints", "twisted.names", "twisted.trial", "twisted.web", "unittest", "urllib.request",
}  # fmt: skip
"""Each of these costs a MiB or some tens of milliseconds at the start, with what it brings along."""
ONLY_WHEN_USED = {"_bz2", "_locale", "_lzma", "_ssl", "bdb"}
OTHER_CARRIERS = ("ble", "ethernet", "netlink", "nym", "packet_batch", "socks", "tcp", "tor")

PROGRAM = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.__stderr__))
from meshnode.__main__ import main
main()
"""
CONFIGURATION = """
node: {{control: {{socket_path: "{socket}"}}}}
dns: {{enabled: true, bind_addr: "127.0.0.1", port: 0}}
transports: {{udp: {{bind_addr: "127.0.0.1:0"}}}}
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What a node has loaded that was started as packages start it, and that has come to rest."""
    directory = tmp_path_factory.mktemp("node")
    file = directory / "node.yaml"
    file.write_text(CONFIGURATION.format(socket=directory / "control.sock"))
    node = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--config", str(file)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert node.stdout is not None
    log = []
    for line in node.stdout:
        log.append(line)
        if "FIPS running" in line:
            node.terminate()
    _, modules = node.communicate(timeout=60)
    assert node.returncode == 0, "".join(log) + modules
    return set(modules.split())


def test_a_node_with_udp_alone_loads_no_library_it_does_not_use(loaded: set[str]) -> None:
    assert "meshnode.transports.udp" in loaded
    assert {name.partition(".")[0] for name in loaded}.isdisjoint(OPTIONAL)


def test_a_node_with_udp_alone_loads_no_other_carrier(loaded: set[str]) -> None:
    assert loaded.isdisjoint(f"meshnode.transports.{name}" for name in OTHER_CARRIERS)
    assert not any(name.startswith(("meshnode.discovery.lan", "meshnode.discovery.mdns")) for name in loaded)


def test_a_node_loads_none_of_the_heavy_modules_that_twisted_only_might_use(loaded: set[str]) -> None:
    assert loaded.isdisjoint(NOT_FOR_A_NODE)
    assert loaded.isdisjoint(ONLY_WHEN_USED)
