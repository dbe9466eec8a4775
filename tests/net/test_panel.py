"""The panel of script/run tells of a real node what is so."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import ROOT, Node, environment

pytestmark = pytest.mark.net


def _panel(node: Node) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "script" / "_panel.py"), str(node.config_file), str(node.pid)]
    return node.host.run(command, timeout=15, environment=environment())


def test_without_a_default_route_it_still_names_the_address_of_the_machine(lab: Lab) -> None:
    pair = Pair(lab).left_dials().start()
    done = _panel(pair.right)
    assert done.stderr == ""
    assert f'        addr: "{pair.right_address}:2121"' in done.stdout.splitlines()
    assert f"ping {pair.right.address}" in done.stdout


def test_without_an_interface_it_says_so_instead_of_promising_echoes(lab: Lab) -> None:
    pair = Pair(lab).left_dials()
    pair.right.settings["tun"]["enabled"] = False
    pair.start()
    done = _panel(pair.right)
    assert done.stderr == ""
    assert "  names       off: there is no interface" in done.stdout.splitlines()
    assert f"ping {pair.right.address}" not in done.stdout
    assert "answers no ping (the settings turn it off)" in done.stdout
