"""The wheel, as pip and pipx install it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Artefact
from .machines import ROOT

PROGRAMS = ("meshctl", "meshnode", "meshnode-gateway", "meshsim")


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=cwd, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def oldest() -> list[str]:
    """The versions that the part `floor` of script/test tries."""
    pins = re.findall(r"'(\S+==\S+?)'", (ROOT / "script" / "test").read_text())
    assert any(pin.startswith("Twisted==") for pin in pins)
    return pins


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
@pytest.mark.parametrize("libraries", ["newest", "oldest"])
def test_it_works_with_the_newest_and_the_oldest_libraries(
    artefact: Artefact, tmp_path: Path, kind: str, libraries: str
) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    pins = oldest() if libraries == "oldest" else []
    pip = (tmp_path / "venv/bin/python", "-m", "pip", "install", "--quiet")
    run(*pip, *pins, artefact(kind), cwd=tmp_path)
    for program in PROGRAMS:
        assert "sage: " in run(tmp_path / "venv/bin" / program, "--help", cwd=tmp_path)
    run(tmp_path / "venv/bin/meshsim", "run", "chain", cwd=tmp_path)


def test_pipx_installs_every_program(artefact: Artefact, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "tools", cwd=tmp_path)
    run(tmp_path / "tools/bin/python", "-m", "pip", "install", "--quiet", "pipx", cwd=tmp_path)
    homes = [f"PIPX_HOME={tmp_path / 'home'}", f"PIPX_BIN_DIR={tmp_path / 'bin'}", f"PIPX_MAN_DIR={tmp_path / 'man'}"]
    run("env", *homes, tmp_path / "tools/bin/pipx", "install", artefact("wheel"), cwd=tmp_path)
    for program in PROGRAMS:
        assert "sage: " in run(tmp_path / "bin" / program, "--help", cwd=tmp_path)
