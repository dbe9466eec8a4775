"""Every link between documents leads somewhere, and every document can be found from the index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INDEX = ROOT / "docs" / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])


def prose(document: Path) -> str:
    """Its text without blocks of code, where brackets are no links and `#` begins no heading."""
    return re.sub(r"^ *```.*?^ *```$", "", document.read_text(), flags=re.M | re.S)


def links(document: Path) -> Iterator[tuple[Path, str]]:
    """File and anchor of every link that stays in the project."""
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose(document)):
        if re.match(r"\w+:", target) is None:
            path, _, anchor = target.partition("#")
            yield (document.parent / path).resolve() if path else document, anchor


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(document), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    dead = [f"{path}#{anchor}" for path, anchor in links(document) if not leads_somewhere(path, anchor)]
    assert not dead


def leads_somewhere(path: Path, anchor: str) -> bool:
    return path.exists() and (not anchor or anchor in anchors(path))


def test_every_document_is_in_the_index() -> None:
    listed = {path for path, _ in links(INDEX)}
    assert {path for path in (ROOT / "docs").rglob("*.md") if path != INDEX} - listed == set()


def test_the_readme_leads_to_the_index() -> None:
    assert INDEX in {path for path, _ in links(ROOT / "README.md")}


def test_the_page_on_architecture_names_every_module_and_room() -> None:
    page = (ROOT / "docs" / "design" / "architecture.md").read_text()
    package = ROOT / "meshnode"
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    rooms = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert [name for name in sorted(modules | rooms) if f"`{name}`" not in page] == []


def named(page: str) -> Iterator[tuple[str, bool]]:
    """What a page calls a test, a file of tests or a scenario, and whether there is one of that name."""
    files = list((ROOT / "tests").rglob("*.py"))
    tests = re.findall(r"def (test_\w+)", "\n".join(path.read_text() for path in files))
    scenarios = {path.stem for path in (ROOT / "meshnode" / "sim" / "scenarios").glob("*.yaml")}
    for name in re.findall(r"`([^`\n]+)`", page.replace("::", "` `")):
        if name.startswith("tests/"):
            yield name, (ROOT / name).exists()
        elif name.endswith(".py"):
            yield name, any(path.name == name for path in files)
        elif name.startswith("test_"):
            beginning = name.removesuffix("...")
            yield name, any(test.startswith(beginning) if beginning != name else test == name for test in tests)
    for name in re.findall(r"scenarios? `([^`\n*]+)`", page):
        yield name, name in scenarios


RESTING = ["hazards.md", "threat-model.md", "compared-with-the-reference.md", "../reference/gateway.md"]


@pytest.mark.parametrize("page", RESTING)
def test_the_tests_that_a_page_rests_on_are_there(page: str) -> None:
    found = dict(named((ROOT / "docs" / "design" / page).read_text()))
    assert [name for name, exists in found.items() if not exists] == []


def test_a_test_that_is_gone_is_found_out() -> None:
    page = "`tests/unit/test_gone.py`, `test_gone.py`: `test_gone_...`, `test_gone`, scenario `gone`"
    assert [exists for _, exists in named(page)] == [False] * 5
