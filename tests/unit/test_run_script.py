"""script/run where installing fails, on a machine without a network for one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "script"
SOURCES = ("meshnode/a.py", "twisted/a.py", "pyproject.toml", "setup.cfg", "README.md", "LICENSE")
PYTHON = """#!/bin/sh
[ "$1 $2" = "-m pip" ] && { echo "no route to any index" >&2; exit 1; }
exit 0
"""
NODE = """#!/bin/sh
echo "node started with $*"
"""


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose virtual environment can install nothing."""
    for name in SOURCES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "script").mkdir()
    for name in ("run", "_common.sh"):
        shutil.copy(SCRIPTS / name, tmp_path / "script" / name)
    program(tmp_path / ".venv/bin/python", PYTHON)
    return tmp_path


def run(checkout: Path) -> subprocess.CompletedProcess[str]:
    command = [str(checkout / "script/run"), "--config", "/node.yaml"]
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(checkout)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_nothing_is_started_where_nothing_is_installed(checkout: Path) -> None:
    done = run(checkout)
    assert (done.returncode, "node started" in done.stdout) == (1, False)
    assert done.stderr == "no route to any index\n!!! the installation failed; the lines above say why\n"


def test_what_was_installed_before_is_started_with_a_warning(checkout: Path) -> None:
    program(checkout / ".venv/bin/meshnode", NODE)
    stamp = checkout / ".venv/.meshnode-installed"
    stamp.write_text("an earlier state\n")
    done = run(checkout)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "node started with --config /node.yaml")
    assert "This starts what was installed before" in done.stderr
    assert stamp.read_text() == "an earlier state\n"  # so that the next start tries again
