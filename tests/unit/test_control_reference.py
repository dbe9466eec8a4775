"""The page on the control socket has every command there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from tests.unit.node_rig import MeshNet
from tests.unit.test_control_state import Operator

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "control.md"
_ROW = re.compile(r"^\| `([a-z_]+)` \|", re.MULTILINE)


def test_every_command_is_on_the_page() -> None:
    net = MeshNet()
    commands = set(Operator(net.host("a"), net).state.commands)
    text = PAGE.read_text()
    listed = set(_ROW.findall(text[text.index("## Commands") :]))
    assert commands - listed == set()
    assert listed - commands <= {"reload"}  # which the service adds, because it alone knows the file
