"""Programs of the checkout run as they are: from anywhere, with whatever Python is at hand."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(
    path
    for directory in ("bench", "script")
    for path in (ROOT / directory).iterdir()
    if path.is_file() and path.suffix == "" and path.read_bytes().startswith(b"#!/usr/bin/env python3\n")
)
BENCHMARKS = [path for path in PROGRAMS if path.parent.name == "bench"]
ENVIRONMENT = {"_environment", "_rig"}
"""Modules that first of all go over to the virtual environment of the checkout."""


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_the_benchmarks_are_programs() -> None:
    assert {"crypto", "latency", "scale", "session", "startup", "throughput", "transit", "tun", "udp"} <= set(
        names(BENCHMARKS)
    )
    assert all(os.access(path, os.X_OK) for path in PROGRAMS)
    assert [path for path in (ROOT / "bench").iterdir() if path.is_dir() and path.name != "__pycache__"] == []


@pytest.mark.parametrize("path", PROGRAMS, ids=names(PROGRAMS))
def test_no_package_is_needed_before_the_environment_is_chosen(path: Path) -> None:
    imported: list[str] = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported.append(node.module or "")
    foreign = [name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names]
    assert foreign[0] in ENVIRONMENT


@pytest.mark.parametrize("path", BENCHMARKS, ids=names(BENCHMARKS))
def test_it_tells_what_it_does_when_called_from_elsewhere(path: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, str(path), "--help"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")
