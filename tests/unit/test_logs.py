"""The log: levels, repeats, floods, and its forms."""

from __future__ import annotations

import io
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from meshnode.logs import Journal, JsonLines, OperatorLog, observer


class Rig:
    """A log, a clock, and all that is written."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[dict[str, Any]] = []
        self.log = OperatorLog("info", {"link": "error", "tree": "debug"}, lambda: self.now)

    @property
    def texts(self) -> list[str]:
        return [event["text"] for event in self.events if event["log_namespace"].startswith("meshnode")]


@pytest.fixture
def rig() -> Any:
    rig = Rig()
    globalLogPublisher.addObserver(rig.events.append)
    yield rig
    globalLogPublisher.removeObserver(rig.events.append)


def test_levels_are_those_of_the_subsystem_or_else_of_all(rig: Rig) -> None:
    for subsystem in ("node", "link", "tree"):
        for level in ("trace", "debug", "info", "warn", "error"):
            rig.log(level, f"{subsystem} {level}", subsystem)
    assert rig.texts == [
        "node info",
        "node warn",
        "node error",
        "link error",
        "tree debug",
        "tree info",
        "tree warn",
        "tree error",
    ]
    assert rig.events[-1]["log_namespace"] == "meshnode.tree"
    rig.log.level = "debug"
    rig.log("debug", "now")
    assert rig.texts[-1] == "now"


def test_a_line_that_repeats_is_held_back_and_counted(rig: Rig) -> None:
    for _ in range(25):
        rig.log("warn", "again")
    assert rig.texts == ["again"] * 5
    rig.now = 61
    rig.log("warn", "again")
    assert rig.texts[-1] == "again (20 more times in the last minutes)"


def test_a_subsystem_that_talks_too_much_is_cut_short_but_for_warnings(rig: Rig) -> None:
    for number in range(1000):
        rig.log("info", f"line {number}", "tree")
    assert len(rig.texts) == 200
    rig.log("info", "another subsystem", "session")
    rig.log("warn", "important", "tree")
    assert rig.texts[-2:] == ["another subsystem", "important (800 lines before this one were left out)"]


def test_a_log_with_ever_new_lines_remembers_a_bounded_number(rig: Rig) -> None:
    for number in range(5000):
        rig.log("warn", f"line {number}")
    assert len(rig.log._repeats._lines) <= 512


def test_braces_in_a_line_are_only_braces(rig: Rig) -> None:
    rig.log("info", "{text} {no_such} }{")
    assert rig.texts == ["{text} {no_such} }{"]


EVENT: dict[str, Any] = {
    "log_time": 1_700_000_000.25,
    "log_level": LogLevel.warn,
    "log_namespace": "meshnode.link",
    "log_format": "{text}",
    "text": "a line\nof two",
}


def test_json_is_one_object_a_line() -> None:
    stream = io.StringIO()
    write = JsonLines(stream)
    write(EVENT)
    try:
        raise ValueError("boom")
    except ValueError:
        write({**EVENT, "log_failure": Failure()})
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "warn",
        "subsystem": "link",
        "text": "a line\nof two",
    }
    assert "boom" in second["traceback"]


def test_the_journal_gets_fields_and_lines_of_any_shape(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        write = Journal(path)
        write({**EVENT, "text": "plain", "log_namespace": "meshnode"})
        assert set(journal.recv(4096).splitlines()) == {
            b"MESSAGE=plain",
            b"PRIORITY=4",
            b"SYSLOG_IDENTIFIER=meshnode",
            b"MESHNODE_SUBSYSTEM=node",
        }
        write(EVENT)
        message = b"a line\nof two"
        assert journal.recv(4096).startswith(b"MESSAGE\n" + len(message).to_bytes(8, "little") + message + b"\n")


def test_without_a_journal_lines_go_to_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Journal(str(tmp_path / "nothing"))(EVENT)
    assert capfd.readouterr().err == "<4>a line\nof two\n"


def test_plain_text_is_left_to_twisted() -> None:
    assert observer("text") is None
    assert isinstance(observer("json"), JsonLines)
    assert isinstance(observer("journald"), Journal)
