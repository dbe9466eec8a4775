"""What the scripts say when they cannot set up what they need."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs.nodes import ROOT

pytestmark = pytest.mark.net

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that everybody may look into, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def test_somebody_elses_environment_is_left_alone_with_a_line_that_says_what_to_do(open_directory: Path) -> None:
    common = (ROOT / "script" / "_common.sh").read_text()
    theirs = open_directory / ".venv"
    theirs.mkdir()
    done = subprocess.run(
        [*NOBODY, "bash", "-c", f'{common}\nmake_venv "$0"', str(theirs)], capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 1
    assert done.stderr == f"!!! {theirs} belongs to somebody else; start as that user, or remove it\n"
    assert theirs.is_dir()
