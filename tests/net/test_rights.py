"""A node has everything it needs under the restrictions of its systemd unit, as root and as an ordinary user."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rigs import traffic
from tests.rigs.hosts import Host
from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import ROOT, Node, Program, environment, our_program
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net

_USER = 12345
_NOBODY = 65534  # twistd wants a user that has a name
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


def _let_anybody_run_us(host: Host) -> None:
    """Lead around directories that are closed to others, such as /root, in which Python or this checkout may lie."""
    needed = [Path(os.path.realpath(sys.base_prefix)), ROOT]
    closed = {path for one in needed for path in one.parents if not path.stat().st_mode & 1}
    outermost = [path for path in closed if not closed.intersection(path.parents)]
    hidden = [one for one in needed if closed.intersection(one.parents)]
    steps = [f"mkdir /run/way{number} && mount --bind {one} /run/way{number}" for number, one in enumerate(hidden)]
    steps += [f"mount -t tmpfs -o mode=755 tmpfs {path}" for path in outermost]
    steps += [f"mkdir -p {one} && mount --bind /run/way{number} {one}" for number, one in enumerate(hidden)]
    done = host.run(["sh", "-ec", "\n".join(steps)])
    assert done.returncode == 0, done.stderr


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


def test_root_that_becomes_somebody_else_keeps_one_right_and_stops_in_good_order(
    lab: Lab, measured: Callable[[str], None]
) -> None:
    pair = _pair(lab, _NOBODY)
    template = our_program().template
    pair.left.program = Program("meshnode", template.replace(" meshnode ", f" --uid {_NOBODY} meshnode "))
    pair.left.settings["meshnode"] = {"firewall": {"enabled": True}}
    _let_anybody_run_us(pair.left.host)
    pair.start()
    _assert_works(pair)
    status = _status(pair.left)
    measured(f"capabilities {status['CapEff']}, ambient {status['CapAmb']}")
    assert status["Uid"].split() == [str(_NOBODY)] * 4
    net_admin = f"{1 << 12:016x}"
    assert [status[f"Cap{kind}"] for kind in ("Eff", "Prm", "Inh", "Amb")] == [net_admin] * 4
    pair.left.host.ip("link del fips0")
    wait_until(lambda: "fips0 is gone" in pair.left.log(), 5, "the loss is noticed")
    wait_until(lambda: pair.left.status()["tun_state"] == "active", 10, "the interface is made again")
    _assert_works(pair)
    assert "fd00::/8" in pair.left.host.ip("-6 rule")
    assert pair.left.stop() == 0
    assert "fd00::/8" not in pair.left.host.ip("-6 rule")
    assert pair.left.host.run(["nft", "list", "table", "inet", "fips"]).returncode != 0


_SHED = """
import os, sys
from meshnode.rights import NET_ADMIN, NET_RAW, Rights
rights = Rights()
rights.prepare()
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
rights.settle([NET_ADMIN, NET_RAW])
print(os.system("grep ^Cap /proc/self/status"), os.access("/etc/shadow", os.R_OK), os.listdir("/proc/self/fd") != [])
"""


def test_of_all_rights_of_root_only_those_that_are_wanted_remain_in_children_too(lab: Lab) -> None:
    done = lab.host("host").run([sys.executable, "-c", _SHED], environment=environment())
    assert done.returncode == 0, done.stderr
    rights = {key: int(value, 16) for key, value in re.findall(r"Cap(\w+):\s*(\w+)", done.stdout)}
    both = 1 << 12 | 1 << 13
    assert [rights[kind] for kind in ("Eff", "Prm", "Inh", "Amb")] == [both] * 4
    assert done.stdout.endswith("0 False True\n")


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
