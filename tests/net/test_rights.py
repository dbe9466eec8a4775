"""A node that is no root has everything with the rights its systemd drop-in gives it."""

from __future__ import annotations

import os
import re

import pytest

from tests.rigs import traffic
from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import ROOT, Program, our_program

pytestmark = pytest.mark.net

_USER = 12345
_READING = "dac_read_search"  # the checkout under test may lie where only root can read


def _granted() -> list[str]:
    text = (ROOT / "packaging" / "systemd" / "ordinary-user.conf").read_text()
    found = re.search(r"^AmbientCapabilities=(.+)$", text, re.M)
    assert found is not None
    return [name.removeprefix("CAP_").lower() for name in found[1].split()]


def _as_ordinary_user() -> Program:
    rights = ",".join(f"+{name}" for name in [*_granted(), _READING])
    user = f"--reuid {_USER} --regid {_USER} --clear-groups --no-new-privs"
    given = f"--inh-caps {rights} --ambient-caps {rights} --bounding-set -all,{rights}"
    return Program("meshnode", f"setpriv {user} {given} {our_program().template}")


def test_with_the_rights_of_the_drop_in_an_ordinary_user_has_an_interface(lab: Lab) -> None:
    pair = Pair(lab, left=_as_ordinary_user(), settings={"dns": {"port": 5354}}).left_dials()
    for directory in (lab.directory, pair.left.host.directory):
        directory.chmod(0o755)
    os.chown(pair.left.directory, _USER, _USER)
    pair.start()
    assert pair.left.status()["tun_state"] == "active"
    assert len(traffic.ping(pair.left.host, pair.right.address)) == 3
    assert len(traffic.ping(pair.right.host, pair.left.address)) == 3
