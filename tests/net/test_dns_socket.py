"""The responder in a namespace of its own: a real reactor, the resolver of the C library, a real TUN interface."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from meshnode.identity import Identity

pytestmark = pytest.mark.net

PEER = Identity.generate(Random(21).randbytes).peer
ROOT = Path(__file__).parents[2]
MESH_ADDRESS = "fd00:6d65:7368::1"


def in_namespace(tmp_path: Path, *scenario: str) -> Any:
    """Run the child with `scenario` behind fresh network and mount namespaces; return the JSON it prints."""
    unshare, ip = shutil.which("unshare"), shutil.which("ip")
    assert unshare is not None
    assert ip is not None
    (tmp_path / "resolv.conf").write_text("nameserver ::1\noptions timeout:2 attempts:1\n")
    script = f"""
        set -e
        mount --make-rprivate /
        mount --bind {tmp_path}/resolv.conf /etc/resolv.conf
        {ip} link set lo up
        {ip} tuntap add fips0 mode tun
        {ip} addr add {MESH_ADDRESS}/8 dev fips0 nodad
        {ip} link set fips0 up
        exec {sys.executable} -m tests.net.dns_child {PEER.npub} {" ".join(scenario)}
    """
    result = subprocess.run(
        [unshare, "--net", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_the_c_library_resolves_names_and_npubs_through_a_responder_on_port_53(tmp_path: Path) -> None:
    found = in_namespace(tmp_path, "getent", "::1", "53", f"{PEER.npub}.fips", "peer.fips", "nobody.fips")
    assert found["problems"] == []
    assert found["results"] == [PEER.ipv6_text, PEER.ipv6_text, None]
    assert found["announced"] == 2


def test_a_query_to_the_mesh_address_is_dropped_and_one_to_a_loopback_is_answered(tmp_path: Path) -> None:
    found = in_namespace(tmp_path, "ask", "::", "5355", MESH_ADDRESS, "::1", "127.0.0.1")
    assert found["results"] == [False, True, True]
    assert found["from_mesh"] == 1


def test_commands_run_and_hanging_ones_are_killed(tmp_path: Path) -> None:
    found = in_namespace(tmp_path, "commands", "::1", "0")
    assert found["results"] == [[0, "hello\n"], [3, ""], [-9, ""]]
