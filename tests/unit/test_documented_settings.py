"""Every configuration that a document shows is one that a node takes, without a word of complaint."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from meshnode.config.addresses import bad_bind_addresses, bad_peer_addresses
from meshnode.config.load import parse
from meshnode.config.validate import advice, validate
from meshnode.identity import Identity
from tests.rigs.nodes import merged

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
BLOCK = re.compile(r"^( *)```yaml\n(.*?)^ *```$", re.M | re.S)
OURS = {"node", "tun", "dns", "transports", "peers", "gateway", "meshnode"}

BEFORE = {
    "docs/how-to/lead-a-lan-into-the-mesh.md": {
        "gateway": {"enabled": True, "pool": "fd01::/112", "lan_interface": "br-lan", "dns": {"listen": "[::]:53"}}
    },
    "docs/how-to/look-with-a-browser.md": {"tun": {"enabled": True}},
}
"""What readers of a page have in their file already, where its examples count on that."""


def blocks() -> Iterator[tuple[str, str]]:
    """Document with line, and text, of every block that is part of a configuration file of ours."""
    for document in DOCUMENTS:
        text = document.read_text()
        for block in BLOCK.finditer(text):
            shown = textwrap.dedent(block[2])
            content = yaml.safe_load(shown)
            if OURS.intersection(content):
                name, line = str(document.relative_to(ROOT)), text[: block.start()].count("\n") + 1
                yield f"{name}:{line}", yaml.safe_dump(merged(BEFORE[name], content)) if name in BEFORE else shown


SHOWN = dict(blocks())


def completed(text: str) -> str:
    """Put real keys where a document leaves them to the reader, another one each time, and an onion's name."""
    keys = (Identity(bytes([number]) * 32).npub for number in range(1, 200))
    return re.sub(r"npub1[a-z0-9]*\.\.\.", lambda _: next(keys), text).replace("abcd...xyz", "b" * 56)


@pytest.mark.parametrize("place", SHOWN)
def test_what_a_document_shows_is_taken(place: str) -> None:
    config, warnings = parse(completed(SHOWN[place]), place)
    validate(config)
    assert [*warnings, *advice(config), *bad_peer_addresses(config), *bad_bind_addresses(config)] == []


def test_the_pages_of_the_carriers_show_something() -> None:
    pages = {place.partition(":")[0].rpartition("/")[2] for place in SHOWN}
    assert {
        "connect-over-ethernet.md",
        "connect-over-bluetooth.md",
        "meet-over-tor.md",
        "find-nodes-on-the-lan.md",
    } <= pages
