"""The reference page says what the schema says, and the package stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from meshnode.config.keys import Block, Instances, Key, Many, Section, Whole
from meshnode.config.schema import Config

ROOT = Path(__file__).parent.parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_the_reference_page_is_current() -> None:
    result = run("script/gen-config-reference", "--check")
    assert result.returncode == 0, result.stdout + result.stderr


def every_section(cls: type[Section]) -> list[type[Section]]:
    found = [cls]
    for key in cls.KEYS.values():
        kind = key.kind.item if isinstance(key.kind, Many) else key.kind
        if isinstance(kind, Block | Whole | Instances):
            found += every_section(kind.cls)
    return found


def explained(key: Key) -> bool:
    return isinstance(key.kind, Block) or key.help.endswith(".")


@pytest.mark.parametrize("cls", every_section(Config), ids=lambda cls: cls.__name__)
def test_every_key_is_explained(cls: type[Section]) -> None:
    assert cls.__doc__
    assert [name for name, key in cls.KEYS.items() if not explained(key)] == []


@pytest.mark.parametrize("module", ["twisted", "attrs", "coincurve", "asyncio", "difflib", "meshnode.identity"])
def test_reading_a_configuration_imports_little(module: str) -> None:
    code = "import sys, meshnode.config; meshnode.config.parse('transports: {udp: {}}'); "
    assert run("-c", f"{code}print({module!r} in sys.modules)").stdout == "False\n"
