"""Every trouble that operators of the reference know is better here; the page on it names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from meshnode.config.errors import ConfigError
from meshnode.config.load import parse
from meshnode.config.validate import validate
from meshnode.identity import Identity, IdentityError

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "design" / "compared-with-the-reference.md"
NSEC, NPUB = Identity(b"\1" * 32).nsec, Identity(b"\1" * 32).npub
ROWS = [line.split("|")[1:-1] for line in PAGE.read_text().splitlines() if line.startswith("| ") and "::" in line]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip()[:60])
def test_every_row_of_the_page_names_a_test_that_exists(row: list[str]) -> None:
    there, here, named = (cell.strip() for cell in row)
    file, test = named.strip("`").split("::")
    assert there
    assert here
    assert re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.MULTILINE), named


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (NPUB, "npub"),
        (NSEC.upper(), "lower"),
        (f" {NSEC}", "blanks"),
        (NSEC[:-1] + "q", "checksum"),
        ("abc", "64 hex digits, not 3"),
    ],
)
def test_what_is_wrong_with_a_secret_key_is_said(text: str, words: str) -> None:
    with pytest.raises(IdentityError) as refusal:
        Identity.parse(text)
    assert re.search(words, str(refusal.value)), refusal.value
    assert text.strip() not in str(refusal.value)


@pytest.mark.parametrize(
    "settings",
    [
        "node: { tick_interval_secs: 0 }",
        "node: { buffers: { packet_channel: 0 } }",
        "node: { rekey: { after_secs: 0 } }",
        "node: { rate_limit: { session_setup_burst: 0 } }",
    ],
)
def test_zero_for_an_interval_is_refused_with_what_to_write(settings: str) -> None:
    config: Any = parse(f"{settings}\ntransports: {{ udp: {{}} }}\n")[0]
    with pytest.raises(ConfigError, match=r"is 0|greater than|must be at least"):
        validate(config)
