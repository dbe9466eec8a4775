"""The systemd unit starts what the instructions install."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from meshnode.service import EXIT_CONFIGURATION

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "packaging" / "systemd" / "meshnode.service"
DROP_IN = ROOT / "packaging" / "systemd" / "ordinary-user.conf"
RIGHTS = (ROOT / "docs" / "how-to" / "run-without-root.md").read_text()
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


def test_reload_asks_the_program_beside_the_node() -> None:
    unit = settings(UNIT)
    (start,), (reload,) = unit["ExecStart"], unit["ExecReload"]
    assert reload == f"{Path(start.split()[0]).parent}/meshctl reload"


# -- what systemd itself says, where it is installed

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="judging the unit needs systemd-analyze; apt-get install systemd"
)


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, "SYSTEMD_COLORS": "0"}
    )


def _merged(directory: Path) -> Path:
    """The unit with the drop-in behind it, as one file: systemd-analyze reads no drop-ins offline."""
    service = UNIT.read_text().partition("[Install]")[0]
    merged = directory / "meshnode.service"
    merged.write_text(service + DROP_IN.read_text().partition("[Service]")[2])
    return merged


@needs_systemd
@pytest.mark.parametrize("with_drop_in", [False, True])
def test_systemd_understands_every_line_of_the_unit(tmp_path: Path, with_drop_in: bool) -> None:
    text = (_merged(tmp_path) if with_drop_in else UNIT).read_text()
    unit = tmp_path / "check" / "meshnode.service"
    unit.parent.mkdir()
    # The programs are not installed here, and that is all that may be missing.
    unit.write_text(
        text.replace("/opt/meshnode/bin/meshnode", "/bin/true").replace("/opt/meshnode/bin/meshctl", "/bin/true")
    )
    done = _analyze("verify", "--man=no", str(unit))
    assert "meshnode.service" not in done.stderr, done.stderr


@needs_systemd
def test_systemd_understands_the_unit_of_the_gateway(tmp_path: Path) -> None:
    for unit in (UNIT, UNIT.with_name("meshnode-gateway.service")):
        (tmp_path / unit.name).write_text(re.sub(r"/opt/meshnode/bin/[a-z-]+", "/bin/true", unit.read_text()))
    done = _analyze("verify", "--man=no", str(tmp_path / "meshnode-gateway.service"))
    assert "meshnode" not in done.stderr, done.stderr


@needs_systemd
@pytest.mark.parametrize("with_drop_in", [False, True])
def test_the_instructions_tell_how_exposed_systemd_finds_the_unit(tmp_path: Path, with_drop_in: bool) -> None:
    unit = _merged(tmp_path) if with_drop_in else UNIT
    done = _analyze("security", "--offline=true", "--no-pager", str(unit))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    told = re.search(rf"\| {'ordinary user' if with_drop_in else 'root'} \| ([\d.]+) \|", RIGHTS)
    assert told is not None
    # Each release of systemd weighs a little differently.
    assert abs(float(found[1]) - float(told[1])) <= 0.5
