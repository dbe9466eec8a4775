"""A node has everything it needs under the restrictions of its systemd unit, as root and as an ordinary user."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rigs import traffic
from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import ROOT, Node, Program, our_program

pytestmark = pytest.mark.net

_USER = 12345
_UNITS = ROOT / "packaging" / "systemd"
_UNIT, _DROP_IN = _UNITS / "meshnode.service", _UNITS / "ordinary-user.conf"


def _sandboxed(user: int, directory: Path, *units: Path) -> Program:
    rig = ROOT / "tests" / "rigs" / "sandbox.py"
    words = [sys.executable, str(rig), ",".join(map(str, units)), str(user), str(directory)]
    return Program("meshnode", f"{shlex.join(words)} {our_program().template}")


def _pair(lab: Lab, user: int, *units: Path) -> Pair:
    """Build a pair whose left node, under restrictions, dials."""
    pair = Pair(lab, left=our_program(), settings={"dns": {"port": 5354}}).left_dials()
    for directory in (lab.directory, pair.left.host.directory):
        directory.chmod(0o755)
    pair.left.program = _sandboxed(user, pair.left.directory, *units)
    os.chown(pair.left.directory, user, user)
    return pair


def _status(node: Node) -> dict[str, str]:
    lines = Path(f"/proc/{node.pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _assert_works(pair: Pair) -> None:
    assert pair.left.status()["tun_state"] == "active"
    assert len(traffic.ping(pair.left.host, pair.right.address)) == 3
    assert len(traffic.ping(pair.right.host, pair.left.address)) == 3


def test_root_with_the_restrictions_of_the_unit_has_everything(lab: Lab, measured: Callable[[str], None]) -> None:
    pair = _pair(lab, 0, _UNIT)
    pair.left.settings["meshnode"] = {"firewall": {"enabled": True}}
    pair.start()
    _assert_works(pair)
    status = _status(pair.left)
    measured(f"capabilities {status['CapEff']}, seccomp {status['Seccomp']}")
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert pair.left.stop() == 0


def test_an_ordinary_user_with_one_right_has_everything(lab: Lab, measured: Callable[[str], None]) -> None:
    pair = _pair(lab, _USER, _UNIT, _DROP_IN)
    pair.left.settings["meshnode"] = {"firewall": {"enabled": True, "allow_tcp": [22]}}
    pair.start()
    _assert_works(pair)
    status = _status(pair.left)
    measured(f"capabilities {status['CapEff']}, seccomp {status['Seccomp']}")
    assert status["Uid"].split() == [str(_USER)] * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    net_admin, reading = 1 << 12, 1 << 2
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == net_admin | reading
    socket = pair.left.control_socket.stat()
    assert (socket.st_uid, socket.st_mode & 0o777) == (_USER, 0o770)
    assert "12345" not in pair.left.host.run(["nft", "list", "ruleset"]).stderr
    assert pair.left.stop() == 0
    assert pair.left.host.run(["nft", "list", "table", "inet", "fips"]).returncode != 0


def test_a_key_made_by_an_ordinary_user_is_for_nobody_else(lab: Lab) -> None:
    pair = _pair(lab, _USER, _UNIT, _DROP_IN)
    pair.left.settings["node"]["identity"] = {"persistent": True}
    pair.left.start()
    pair.left.wait_ready()
    key, public = (pair.left.directory / name for name in ("fips.key", "fips.pub"))
    assert (key.stat().st_uid, key.stat().st_mode & 0o777) == (_USER, 0o600)
    assert public.stat().st_mode & 0o022 == 0
    assert "nsec1" not in pair.left.log()
    command = Path(f"/proc/{pair.left.pid}/cmdline").read_bytes() + Path(f"/proc/{pair.left.pid}/environ").read_bytes()
    assert key.read_bytes().strip() not in command
