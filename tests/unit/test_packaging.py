"""The systemd unit starts what the instructions install."""

from __future__ import annotations

import re
from pathlib import Path

from meshnode.service import EXIT_CONFIGURATION

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "packaging" / "systemd" / "meshnode.service"
HOW_TO = (ROOT / "docs" / "how-to" / "run-as-a-service.md").read_text()


def settings(path: Path) -> dict[str, list[str]]:
    """Read the assignments of a unit file, all values of a key in order."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", path.read_text(), re.M):
        found.setdefault(key, []).append(value)
    return found


def test_the_unit_starts_the_program_where_the_instructions_put_it() -> None:
    (command,) = settings(UNIT)["ExecStart"]
    program, *options = command.split()
    environment = Path(program).parents[1]
    assert Path(program).name == "meshnode"
    assert f"sudo python3 -m venv {environment}\n" in HOW_TO
    assert f"sudo {environment}/bin/pip install .\n" in HOW_TO
    assert options == ["--config", *settings(UNIT)["ConditionPathExists"]]


def test_a_configuration_that_cannot_be_used_is_not_tried_again() -> None:
    assert settings(UNIT)["RestartPreventExitStatus"] == [str(EXIT_CONFIGURATION)]


def test_the_instructions_name_files_that_are_there() -> None:
    named = set(re.findall(r"packaging/\S+", HOW_TO))
    assert named == {f"packaging/systemd/{path.name}" for path in UNIT.parent.iterdir()}
