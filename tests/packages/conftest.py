"""Every artefact is built once for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rigs.labs import Lab

from .machines import build

Artefact = Callable[..., Path]


@pytest.fixture(scope="session")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """`artefact("deb", "--release", "trixie")`: what packaging/build makes of the commit that is checked out."""
    made: dict[tuple[str, ...], Path] = {}
    output = tmp_path_factory.mktemp("artefacts")

    def artefact(*arguments: str) -> Path:
        if arguments not in made:
            made[arguments] = build(output, *arguments)
        return made[arguments]

    return artefact


@pytest.fixture
def lab() -> Iterator[Lab]:
    """An empty laboratory of the test's own."""
    with Lab() as laboratory:
        yield laboratory
