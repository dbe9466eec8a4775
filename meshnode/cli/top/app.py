"""The live screen itself, on textual."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Static, TabbedContent, TabPane

from ..client import Client, ToolError
from . import contents
from .contents import Rows
from .keys import help_text
from .look import METRICS, TABS, WINDOWS, Look, look

_TEXTS: dict[str, Callable[[Any, float], list[str]]] = {
    "node": contents.node,
    "tree": contents.tree,
    "routing": contents.routing,
    "log": contents.log,
}
_TABLES: dict[str, Callable[[Any, float], Rows]] = {
    "peers": contents.peers,
    "links": contents.links,
    "sessions": contents.sessions,
    "transports": contents.transports,
}


class TextBox(ModalScreen[None]):
    """Some text until a key is pressed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q,question_mark", "dismiss", "Close")]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="box"):
            yield Static(self._text, markup=False)


class Question(ModalScreen[bool]):
    """A question to be answered with y or n."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="box"):
            yield Static(f"{self._text}\n\n[y] yes   [n] no", markup=False)

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


class MeshTop(App[None]):
    """Nine tabs on one node."""

    TITLE = "meshtop"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #tabs { height: 1fr; }
    #bar { height: 1; background: $panel; color: $text; padding: 0 1; }
    #bar.trouble { background: $error; }
    TabPane { padding: 0; }
    DataTable { height: 1fr; }
    ModalScreen { align: center middle; }
    #box { width: 90%; height: auto; max-height: 90%; border: round $primary; padding: 0 1; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"tab('{tab}')", tab, show=False) for number, tab in enumerate(TABS, 1)),
        Binding("d", "disconnect", "Disconnect"),
        Binding("m", "metric", "Metric"),
        Binding("w", "window", "Window"),
        Binding("p", "pause", "Pause"),
        Binding("question_mark", "help", "Help"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, client: Client, refresh: float = 1.0) -> None:
        super().__init__()
        self._client = client
        self._interval = max(0.2, refresh)
        self._metric = 0
        self._window = 1
        self._paused = False
        self._latest = Look()
        self._sorting: dict[str, tuple[int, bool]] = {}

    # -- layout

    def compose(self) -> ComposeResult:
        with TabbedContent(id="tabs"):
            for tab in TABS:
                with TabPane(tab.capitalize(), id=tab):
                    if tab in _TABLES:
                        yield DataTable(id=f"{tab}-table", cursor_type="row", zebra_stripes=True)
                    else:
                        with VerticalScroll():
                            yield Static(id=f"{tab}-text", markup=False)
        yield Static("", id="bar", markup=False)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        self.set_interval(self._interval, self.refresh_tab)
        self.refresh_tab()

    @property
    def tab(self) -> str:
        return self.query_one("#tabs", TabbedContent).active or "node"

    def on_tabbed_content_tab_activated(self) -> None:
        self.refresh_tab()

    # -- looking

    def refresh_tab(self) -> None:
        if not self._paused:
            self._take_look(self.tab)

    @work(thread=True, exclusive=True, group="look")
    def _take_look(self, tab: str) -> None:
        found = look(self._client, tab, METRICS[self._metric], WINDOWS[self._window])
        self.call_from_thread(self._show, tab, found)

    def _show(self, tab: str, found: Look) -> None:
        bar = self.query_one("#bar", Static)
        bar.set_class(found.trouble is not None, "trouble")
        if found.trouble is not None:
            bar.update(f"Disconnected: {found.trouble}")
            return
        self._latest = found
        bar.update(contents.bar(found.answers))
        try:
            self._fill(tab, found)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            bar.set_class(True, "trouble")
            bar.update(f"this node answers in a form meshtop does not know: {error!r}")

    def _fill(self, tab: str, found: Look) -> None:
        if tab in _TABLES:
            self._fill_table(tab, _TABLES[tab](found.answers, found.at))
            return
        text = self.query_one(f"#{tab}-text", Static)
        if tab == "graphs":
            lines = contents.graphs(found.answers, found.at, max(20, self.size.width - 4))
        else:
            lines = _TEXTS[tab](found.answers, found.at)
        text.update("\n".join(lines))

    def _fill_table(self, tab: str, rows: Rows) -> None:
        """Put the rows in, with the cursor staying on the row it was on."""
        table: DataTable[str] = self.query_one(f"#{tab}-table", DataTable)
        chosen = self._chosen(table)
        table.clear(columns=not table.columns)
        if not table.columns:
            table.add_columns(*rows.titles)
        ordered = rows.rows
        if tab in self._sorting:
            column, is_reversed = self._sorting[tab]
            ordered = sorted(ordered, key=lambda row: _sort_key(row[1][column]), reverse=is_reversed)
        for key, cells in ordered:
            table.add_row(*cells, key=key)
        keys = [key for key, _ in ordered]
        if chosen in keys:
            table.move_cursor(row=keys.index(chosen), animate=False)

    def _chosen(self, table: DataTable[str]) -> str | None:
        if not table.row_count:
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    # -- doing

    def action_tab(self, tab: str) -> None:
        """Open a tab, so that arrows and Enter go to what is in it."""
        self.query_one("#tabs", TabbedContent).active = tab
        self.query_one(f"#{tab}").query_one(DataTable if tab in _TABLES else VerticalScroll).focus()

    def action_metric(self) -> None:
        self._metric = (self._metric + 1) % len(METRICS)
        self.refresh_tab()

    def action_window(self) -> None:
        self._window = (self._window + 1) % len(WINDOWS)
        self.refresh_tab()

    def action_pause(self) -> None:
        self._paused = not self._paused
        if self._paused:
            self.query_one("#bar", Static).update("held still; p goes on")
        self.refresh_tab()

    def action_help(self) -> None:
        self.push_screen(TextBox(help_text()))

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """Sort by a column; by the same once more: the other way round."""
        tab = self.tab
        column, is_reversed = self._sorting.get(tab, (-1, False))
        same = column == event.column_index
        self._sorting[tab] = (event.column_index, same and not is_reversed)
        self._fill(tab, self._latest)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        row = self._peer(event.row_key.value)
        if row is not None:
            self.push_screen(TextBox("\n".join(contents.detail(row))))

    def action_disconnect(self) -> None:
        if self.tab != "peers":
            return
        row = self._peer(self._chosen(self.query_one("#peers-table", DataTable)))
        if row is not None:
            npub = str(row["npub"])

            def answered(is_sure: bool | None) -> None:
                if is_sure:
                    self._disconnect(npub)

            self.push_screen(Question(f"Disconnect {row['display_name']}?\n{npub}"), answered)

    @work(thread=True)
    def _disconnect(self, npub: str) -> None:
        try:
            self._client.ask("disconnect", {"npub": npub})
        except ToolError as error:
            self.call_from_thread(self.notify, str(error), severity="error")
        self.call_from_thread(self.refresh_tab)

    def _peer(self, npub: str | None) -> dict[str, Any] | None:
        """What the latest look at the peers says about one of them."""
        if self.tab != "peers":
            return None
        rows = self._latest.answers.get("show_peers", {}).get("peers", [])
        return next((row for row in rows if row["npub"] == npub), None)


def _sort_key(text: str) -> tuple[int, float, str]:
    """Numbers by size, with their units taken into account; dashes last; words by the alphabet."""
    number, _, unit = text.partition(" ")
    scale = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}.get(unit.partition("/")[0], 1.0)
    try:
        return 0, float(number.rstrip("%")) * scale, ""
    except ValueError:
        return (2, 0.0, "") if text == "-" else (1, 0.0, text.lower())
