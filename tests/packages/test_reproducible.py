"""The same commit gives the same bytes: elsewhere, later, under another umask, time zone and language."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .conftest import Artefact
from .machines import ROOT, build

ARTEFACTS = [
    ("wheel",),
    ("sdist",),
    ("tarball",),
    ("deb", "--release", "bookworm"),
    ("deb", "--release", "trixie"),
    ("deb", "--release", "trixie", "--arch", "arm64"),
    pytest.param(("image", "--release", "trixie"), marks=pytest.mark.net),
]


@pytest.mark.parametrize("arguments", ARTEFACTS, ids=lambda words: " ".join(words))
def test_a_second_build_gives_the_same_bytes(artefact: Artefact, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    elsewhere = tmp_path / "another checkout"
    subprocess.run(["git", "clone", "--quiet", ROOT, elsewhere], check=True)
    environment = {"TZ": "Pacific/Chatham", "LC_ALL": "C", "PYTHONHASHSEED": "5"}
    again = build(tmp_path / "out", *arguments, checkout=elsewhere, environment=environment)
    first = artefact(*arguments)
    assert again.name == first.name
    assert again.read_bytes() == first.read_bytes()
