"""The page that plays a run: what it was given, that it stands alone, and that recording changes nothing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from meshnode.sim import Simulation, run
from meshnode.sim.cli import main
from meshnode.sim.player import MOST_FRAMES, Recorder, page, record
from tests.unit.sim_rig import scenario

EVENTFUL = """
about: Something </script> happens & "more".
duration: 45
topology: {kind: ring, nodes: 5}
link: {class: wifi, loss: 0.05}
events:
  - {at: 15, crash: n2}
  - {at: 25, restart: n2}
  - {at: 30, link_down: [n0, n1]}
traffic: [{kind: all_to_all, from: 8, interval: 1}]
expect: [{delivered: 1.0}, {converged_within: 10}]
"""

_VOID = frozenset(("meta", "input", "link", "br", "img", "hr"))


class Checker(HTMLParser):
    """Elements that close in the order they were opened, ids that are unique, and what is referred to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.texts: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.references += [values[name] or "" for name in ("src", "href", "action") if name in values]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts[self.open[-1] if self.open else ""] = self.texts.get(self.open[-1] if self.open else "", "") + data


@pytest.fixture(scope="module")
def text() -> str:
    return record(scenario(EVENTFUL), 3)[1]


@pytest.fixture(scope="module")
def recording(text: str) -> dict[str, Any]:
    return embedded(text)


def embedded(text: str) -> dict[str, Any]:
    """The recording in a page."""
    found = re.search(r'<script type="application/json" id="recording">(.*?)</script>', text, re.S)
    assert found is not None
    result: dict[str, Any] = json.loads(found[1])
    return result


def states(recording: dict[str, Any]) -> list[tuple[float, list[int], list[list[Any]]]]:
    """Moment, nodes and links of each frame, as the page makes them of the differences."""
    nodes: list[int] = [-1] * len(recording["names"])
    links: list[list[Any]] = [[1]] * len(recording["edges"])
    result = []
    for frame in recording["frames"]:
        for i, parent in frame.get("nodes", []):
            nodes[i] = parent
        for i, *link in frame.get("links", []):
            links[i] = link
        result.append((frame["t"], nodes[:], links[:]))
    return result


# -- the page


def test_the_page_is_well_formed(text: str) -> None:
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert text.startswith("<!doctype html>")
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))


def test_the_page_needs_nothing_else(text: str) -> None:
    checker = Checker()
    checker.feed(text)
    assert checker.references == []
    program = text.replace(json.dumps(EVENTFUL), "")
    assert not re.search(r"https?://|url\(|@import|\bfetch\(|XMLHttpRequest|\bimport\b\s*[({\"']", program)


def test_the_page_says_what_it_plays(text: str, recording: dict[str, Any]) -> None:
    checker = Checker()
    checker.feed(text)
    assert checker.texts["title"] == "test, seed 3"
    assert recording["about"] == 'Something </script> happens & "more".'
    assert "{{" not in text.partition("<script>")[0]


def test_every_element_the_program_asks_for_is_there(text: str) -> None:
    checker = Checker()
    checker.feed(text)
    assert set(re.findall(r'\$\("([\w-]+)"\)', text)) <= set(checker.ids)


# -- the recording


def test_recording_changes_nothing_about_a_run() -> None:
    result, _ = record(scenario(EVENTFUL), 3)
    assert result.to_json() == run(scenario(EVENTFUL), 3).to_json()


def test_the_same_run_gives_the_same_page(text: str) -> None:
    assert record(scenario(EVENTFUL), 3)[1] == text


def test_frames_follow_the_mesh_through_crash_and_restart(recording: dict[str, Any]) -> None:
    number = recording["names"].index("n2")
    seen = {time: nodes[number] for time, nodes, _ in states(recording)}
    assert seen[14.0] >= 0
    assert {seen[16.0], seen[20.0], seen[24.0]} == {-1}
    assert seen[45.0] >= 0


def test_the_last_frame_is_the_mesh_at_the_end() -> None:
    simulation = Simulation(scenario(EVENTFUL), 3)
    recorder = Recorder(simulation)
    recording = recorder.recording(recorder.run())
    _, nodes, links = states(recording)[-1]
    for machine, parent in zip(simulation.world.machines, nodes, strict=True):
        assert machine.node is not None
        assert machine.node.name_of(machine.node.router.tree.parent) == recording["names"][parent]
    cut = recording["edges"].index([0, 1])
    assert links[cut] == [0]
    assert [link[0] for i, link in enumerate(links) if i != cut] == [2] * 4


def test_links_tell_their_quality(recording: dict[str, Any]) -> None:
    linked = [link for _, _, links in states(recording) for link in links if link[0] == 2]
    assert all(1.0 <= etx <= 99.0 and trip >= 0 and 0 <= loss <= 100 for _, etx, trip, loss in linked)
    assert max(etx for _, etx, _, _ in linked) > 1.0


def test_losses_are_counted_where_they_happened(recording: dict[str, Any]) -> None:
    moment, _, _, counted, *_ = recording["series"][-1]
    frames = [frame for frame in recording["frames"] if frame["t"] <= moment]
    assert sum(count for frame in frames for _, count in frame.get("lost", [])) == counted > 0


def test_lookups_are_messages_between_neighbours(recording: dict[str, Any]) -> None:
    edges = {tuple(edge) for edge in recording["edges"]}
    assert {kind for _, kind, _, _ in recording["lookups"]} == {0, 1}
    assert all((min(a, b), max(a, b)) in edges for _, _, a, b in recording["lookups"])
    moments = [lookup[0] for lookup in recording["lookups"]]
    assert moments == sorted(moments)


def test_events_are_told_in_order(recording: dict[str, Any]) -> None:
    events = [(kind, text) for _, kind, text in recording["events"] if kind == "event"]
    assert events == [("event", "start"), ("event", "crash n2"), ("event", "restart n2"), ("event", "link_down n0 n1")]
    moments = [event[0] for event in recording["events"]]
    assert moments == sorted(moments)


def test_packets_that_did_not_arrive_are_listed(recording: dict[str, Any]) -> None:
    result = run(scenario(EVENTFUL), 3).report["traffic"][0]
    assert len(recording["packets"]) == result["lost"] + result["refused"]


def test_long_runs_have_no_more_frames_than_short_ones() -> None:
    _, text = record(scenario("duration: 900\ntopology: {kind: chain, nodes: 2}"))
    frames = embedded(text)["frames"]
    assert 200 < len(frames) <= MOST_FRAMES
    assert frames[-1]["t"] == 900


def test_text_from_a_scenario_cannot_end_the_data() -> None:
    made = page({"scenario": "<b>", "seed": 1, "about": "</script><script>alert(1)</script>"})
    assert "<script>alert" not in made
    assert "<title>&lt;b&gt;, seed 1</title>" in made


def test_the_command_writes_the_page_beside_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "chain.html"
    assert main(["run", "chain", "--html", str(file), "--json", str(tmp_path / "chain.json")]) == 0
    with_page = capsys.readouterr().out
    assert embedded(file.read_text())["names"] == ["n0", "n1", "n2", "n3", "n4"]
    assert main(["run", "chain"]) == 0
    assert capsys.readouterr().out == with_page
