"""meshtop in a terminal of 80 by 24 and in larger ones: every tab fills, keys and clicks do what the help says."""

from __future__ import annotations

import copy
import html
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static, TabbedContent

from meshnode.cli.client import ToolError
from meshnode.cli.top import app as screen
from meshnode.cli.top import look
from meshnode.cli.top.look import TABS
from tests.unit.vectors import load

CELL = 12.2  # width of a character in the pictures that textual draws
LOOKED_AT = 1795245170.0  # Unix time, some seconds after the answers were recorded
PICTURES = Path(__file__).parents[1] / "vectors" / "meshtop"
EXPECTED = {
    "node": "npub102c0362v7mte5cr7fjz5sy8lkyq7r9mc9j9qqj9r9w07cfagkvrq697ygj",
    "tree": "this node (root)",
    "routing": "passed on",
    "graphs": "bee  now",
    "log": "peer bee connected",
}
ROWS = {"peers": "bee", "links": "1", "sessions": "charlie", "transports": "1"}


class Table:
    """A node that answers with what was recorded, and remembers what it was told to do."""

    path = "/nowhere"

    def __init__(self) -> None:
        self.trouble: str | None = None
        self.done: list[tuple[str, Mapping[str, Any] | None]] = []
        history = {
            "metric": "bytes_in", "window_seconds": 3600,
            "peers": [{"display_name": "bee", "values": [None, *[float(n) for n in range(59)]]}],
        }  # fmt: skip
        lines = [{"time_ms": 0, "level": "info", "text": "peer bee connected"}]
        self.answers: dict[str, Any] = {"show_stats_history_all_peers": history, "show_log": {"lines": lines}}
        for command in {command for commands in TABS.values() for command in commands} | {"show_status"}:
            if command not in self.answers and command != "show_known_peers":
                self.answers[command] = recorded(command)

    def ask(self, command: str, params: Mapping[str, Any] | None = None) -> Any:
        if self.trouble is not None:
            raise ToolError(self.trouble)
        if command == "disconnect":
            self.done.append((command, params))
            return {}
        if command not in self.answers:
            raise ToolError(f"unknown command: {command}")
        return copy.deepcopy(self.answers[command])


def recorded(command: str) -> Any:
    cases = load(f"control/{command}")["cases"]
    return copy.deepcopy(next(case["answer"]["data"] for case in cases if case["case"].startswith("busy root")))


Drive = Callable[[Pilot[None], screen.MeshTop, Table], Any]


async def shown(node: Table, drive: Drive, size: tuple[int, int] = (80, 24)) -> None:
    client: Any = node
    top = screen.MeshTop(client, refresh=30)
    async with top.run_test(size=size) as pilot:
        await settled(pilot, top)
        await drive(pilot, top, node)


async def settled(pilot: Pilot[None], top: screen.MeshTop) -> None:
    await pilot.pause()
    await top.workers.wait_for_complete()
    await pilot.pause()


def run(drive: Drive, node: Table | None = None, size: tuple[int, int] = (80, 24)) -> None:
    import asyncio

    asyncio.run(shown(node or Table(), drive, size))


def text_of(top: screen.MeshTop, widget: str) -> str:
    return str(top.query_one(f"#{widget}", Static).render())


def table_of(top: screen.MeshTop, tab: str) -> list[list[str]]:
    table: DataTable[str] = top.query_one(f"#{tab}-table", DataTable)
    return [[str(cell) for cell in table.get_row_at(index)] for index in range(table.row_count)]


@pytest.mark.parametrize("size", [(80, 24), (150, 40)])
def test_every_tab_fills_and_fits(size: tuple[int, int]) -> None:
    async def drive(pilot: Pilot[None], top: screen.MeshTop, node: Table) -> None:
        for number, tab in enumerate(TABS, 1):
            await pilot.press(str(number))
            await settled(pilot, top)
            assert top.query_one("#tabs", TabbedContent).active == tab
            if tab in EXPECTED:
                assert EXPECTED[tab] in text_of(top, f"{tab}-text")
            else:
                assert table_of(top, tab)[0][0] == ROWS[tab]
            bar = top.query_one("#bar", Static)
            assert bar.region.bottom == size[1] - 1
            assert "running, up" in text_of(top, "bar")
        titles = top.query("Tab")
        assert max(title.region.right for title in titles) <= size[0]

    run(drive, size=size)


def test_a_click_on_a_tab_opens_it_and_one_on_a_title_sorts() -> None:
    node = Table()
    other = copy.deepcopy(node.answers["show_peers"]["peers"][0])
    other.update(display_name="ant", npub="npub1other")
    other["stats"]["bytes_sent"] = 5_000_000_000
    node.answers["show_peers"]["peers"].append(other)

    async def drive(pilot: Pilot[None], top: screen.MeshTop, node: Table) -> None:
        await pilot.click("#--content-tab-peers")
        await settled(pilot, top)
        assert [row[0] for row in table_of(top, "peers")] == ["bee", "ant"]
        for expected in (["ant", "bee"], ["bee", "ant"]):
            await pilot.click("#peers-table", offset=(3, 0))
            await settled(pilot, top)
            assert [row[0] for row in table_of(top, "peers")] == expected

    run(drive, node)


def test_disconnecting_asks_first() -> None:
    async def drive(pilot: Pilot[None], top: screen.MeshTop, node: Table) -> None:
        await pilot.press("2")
        await settled(pilot, top)
        await pilot.press("d", "n")
        await settled(pilot, top)
        assert node.done == []
        await pilot.press("d", "y")
        await settled(pilot, top)
        assert node.done == [("disconnect", {"npub": node.answers["show_peers"]["peers"][0]["npub"]})]

    run(drive)


def test_enter_shows_everything_about_a_peer_and_escape_closes_it() -> None:
    async def drive(pilot: Pilot[None], top: screen.MeshTop, node: Table) -> None:
        await pilot.press("2")
        await settled(pilot, top)
        await pilot.press("enter")
        await pilot.pause()
        assert "noise.send_counter" in str(top.screen.query_one(Static).render())
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(top.screen, screen.TextBox)

    run(drive)


def test_a_node_that_is_gone_is_not_fatal_and_comes_back() -> None:
    async def drive(pilot: Pilot[None], top: screen.MeshTop, node: Table) -> None:
        node.trouble = "no node at /nowhere"
        top.refresh_tab()
        await settled(pilot, top)
        assert text_of(top, "bar") == "Disconnected: no node at /nowhere"
        node.trouble = None
        top.refresh_tab()
        await settled(pilot, top)
        assert "running" in text_of(top, "bar")

    run(drive)


def test_metric_and_window_change_on_graphs_and_pause_holds_still() -> None:
    async def drive(pilot: Pilot[None], top: screen.MeshTop, node: Table) -> None:
        await pilot.press("8", "m", "w")
        await settled(pilot, top)
        assert (top._metric, top._window) == (1, 2)
        await pilot.press("p")
        await settled(pilot, top)
        assert text_of(top, "bar").startswith("held still")
        await pilot.press("p", "question_mark")
        await settled(pilot, top)
        assert "disconnect that peer" in str(top.screen.query_one(Static).render())

    run(drive)


def test_an_answer_of_an_unknown_form_is_one_line_in_the_bar() -> None:
    node = Table()
    node.answers["show_links"] = {"links": [{}]}

    async def drive(pilot: Pilot[None], top: screen.MeshTop, node: Table) -> None:
        await pilot.press("3")
        await settled(pilot, top)
        assert "in a form meshtop does not know" in text_of(top, "bar")

    run(drive, node)


def test_numbers_sort_by_size_and_units() -> None:
    texts = ["1.0 kB", "-", "900 B", "2 MB", "5.0%", "abc"]
    assert sorted(texts, key=screen._sort_key) == ["5.0%", "900 B", "1.0 kB", "2 MB", "abc", "-"]


def picture(top: screen.MeshTop) -> str:
    """The text on the screen, line by line."""
    rows: dict[float, str] = {}
    for x, y, text in re.findall(r'<text class="[^"]*" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>', _svg(top)):
        column = round(float(x) / CELL)
        rows[float(y)] = rows.get(float(y), "").ljust(column) + html.unescape(text).replace("\xa0", " ")
    return "\n".join(rows[y].rstrip() for y in sorted(rows)) + "\n"


def _svg(top: screen.MeshTop) -> str:
    svg = top.export_screenshot()
    return svg[svg.index('<g class="') :]


@pytest.mark.parametrize("tab", TABS)
def test_a_tab_looks_as_it_did(tab: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With MESHNODE_RENEW=1 the pictures are made anew; look at the difference before it is kept."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(look, "time", SimpleNamespace(time=lambda: LOOKED_AT))

    async def drive(pilot: Pilot[None], top: screen.MeshTop, node: Table) -> None:
        await pilot.press(str(list(TABS).index(tab) + 1))
        await settled(pilot, top)
        kept = PICTURES / f"{tab}.txt"
        if os.environ.get("MESHNODE_RENEW") == "1":
            kept.write_text(picture(top))
        assert picture(top) == kept.read_text()

    run(drive)
