"""Whatever is not run is said loudly, wherever it was decided."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
TESTS = """
import pytest

def test_that_gives_up_in_its_midst():
    pytest.skip("takes an hour: set SOMETHING=1")

@pytest.mark.parametrize("number", range(2))
@pytest.mark.interop
def test_that_needs_another_daemon(number):
    assert False

def test_that_runs():
    pass
"""
SETTINGS = "[pytest]\nmarkers =\n  net: x\n  interop(variable): x\n"


def run(directory: Path) -> list[str]:
    """Run pytest on a directory; return the lines that are loud."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MESHNODE_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(directory)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=directory,
        env={**environment, "MESHNODE_NOT_RUN": str(directory / "left-out")},
        check=False,
    )
    return [line for line in done.stdout.splitlines() if line.startswith("!!! NOT RUN: ")]


def test_every_skipped_test_is_in_the_loud_block_and_in_the_list_for_the_summary(tmp_path: Path) -> None:
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    expected = [
        "1 tests; takes an hour: set SOMETHING=1",
        "2 tests; interop tests need MESHNODE_INTEROP_FIPS, the path of a reference daemon",
    ]
    assert run(tmp_path) == [f"!!! NOT RUN: {line}" for line in expected]
    assert (tmp_path / "left-out").read_text().splitlines() == expected
