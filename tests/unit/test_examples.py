"""Every configuration among the examples is one that a node starts with, without a word of warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshnode.config.features import unsupported, unusable_addresses
from meshnode.config.load import load
from meshnode.config.validate import advice, validate
from meshnode.gateway.plan import plan

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ROUTER = EXAMPLES.parent / "packaging/openwrt/files/etc/meshnode/fips.yaml"
FILES = [*sorted(EXAMPLES.glob("*/fips.yaml")), ROUTER]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.parent.name)
def test_a_node_starts_with_it(file: Path) -> None:
    loaded = load(file, {}, Path("/"))
    validate(loaded.config, loaded.places)
    assert [*loaded.warnings, *advice(loaded.config), *unsupported(loaded.config, loaded.places)] == []
    assert list(unusable_addresses(loaded.config, {})) == []
    if loaded.config.gateway is not None and loaded.config.gateway.enabled:
        assert plan(loaded.config, loaded.places).local == ["eth0"]


def test_there_is_something_to_try() -> None:
    assert len(FILES) == 5


@pytest.mark.parametrize("file", FILES[:4], ids=lambda path: path.parent.name)
def test_an_example_says_what_it_is_for(file: Path) -> None:
    assert file.with_name("README.md").read_text().startswith("# ")
