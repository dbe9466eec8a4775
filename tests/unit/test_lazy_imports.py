"""A node that carries frames over UDP alone loads nothing of the other carriers and tools."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OPTIONAL = ("bleak", "dbus_fast", "prometheus_client", "pyroute2", "scapy", "textual", "txtorcon", "zeroconf")
OTHER_CARRIERS = ("ble", "ethernet", "netlink", "nym", "packet_batch", "socks", "tcp", "tor")

PROGRAM = """
import sys
from meshnode.service import Options, makeService
options = Options()
options.parseOptions(["--config", sys.argv[1]])
service = makeService(options)
service.privilegedStartService()
service.startService()
print(*sys.modules, file=sys.stderr)
"""
CONFIGURATION = """
node: {control: {enabled: false}}
dns: {enabled: false}
transports: {udp: {bind_addr: "127.0.0.1:0"}}
"""


def test_a_node_with_udp_alone_loads_no_library_it_does_not_use(tmp_path: Path) -> None:
    file = tmp_path / "node.yaml"
    file.write_text(CONFIGURATION)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.split())
    assert "meshnode.transports.udp" in loaded
    assert {name.partition(".")[0] for name in loaded}.isdisjoint(OPTIONAL)
    assert loaded.isdisjoint(f"meshnode.transports.{name}" for name in OTHER_CARRIERS)
    assert not any(name.startswith(("meshnode.discovery.lan", "meshnode.discovery.mdns")) for name in loaded)
