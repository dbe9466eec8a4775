"""Laboratories for the namespace tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.rigs.labs import Lab
from tests.rigs.nodes import Program
from tests.rigs.plugin import install_example


@pytest.fixture
def lab() -> Iterator[Lab]:
    """An empty laboratory of the test's own."""
    with Lab() as laboratory:
        yield laboratory


@pytest.fixture(scope="session")
def is_long() -> bool:
    """Tell whether this run takes the full sizes and times (MESHNODE_LONG=1)."""
    return os.environ.get("MESHNODE_LONG") == "1"


@pytest.fixture(scope="session")
def with_plugin(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Our node in an environment in which the example of a plug-in is installed."""
    return install_example(tmp_path_factory.mktemp("plugin") / "venv")
