"""`meshnode-gateway --clean`: rules, route and answers of a run that was killed are taken back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from meshnode.gateway.clean import clean, run_now
from meshnode.gateway.gateway import is_running

RECORD = {"pool": "fd01::/112", "local": ["lan", "guests"], "leases": [["fd01::1", "fd97:1::1", "right.fips"]]}
ALL = [
    "nft -f -",
    "ip -6 route del local fd01::/112 dev lo",
    "ip -6 neigh del proxy fd01::1 dev lan",
    "ip -6 neigh del proxy fd01::1 dev guests",
]


class Kernel:
    """Notes commands, and answers those that begin with a key of `complaints`."""

    def __init__(self, **complaints: str) -> None:
        self.commands: list[str] = []
        self._complaints = complaints

    def __call__(self, command: Sequence[str], text: str) -> str | None:
        self.commands.append(" ".join(command))
        return self._complaints.get(command[2] if command[0] == "ip" else command[0])


@pytest.fixture
def record(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.json"
    path.write_text(json.dumps(RECORD))
    return path


def test_everything_on_record_is_removed_and_then_the_record(record: Path) -> None:
    kernel = Kernel()
    assert clean(record, kernel) == []
    assert kernel.commands == ALL
    assert not record.exists()


def test_without_a_record_only_the_rules_can_be_there(tmp_path: Path) -> None:
    kernel = Kernel()
    assert clean(tmp_path / "none", kernel) == []
    assert kernel.commands == ALL[:1]


def test_what_is_gone_already_is_no_trouble(record: Path) -> None:
    gone = Kernel(route="RTNETLINK answers: No such process", neigh='Cannot find device "lan"')
    assert clean(record, gone) == []


def test_what_stays_is_named_and_stays_on_record(record: Path) -> None:
    kernel = Kernel(nft="Error: Operation not permitted")
    assert clean(record, kernel) == ["nft -f -: Error: Operation not permitted"]
    assert kernel.commands == ALL
    assert record.exists()


def test_a_program_that_is_missing_is_named() -> None:
    assert "no-such-program" in (run_now(["no-such-program"], "") or "")
    assert run_now(["false"], "") == "exit status 1"
    assert run_now(["cat"], "text") is None


def test_nobody_answers_where_there_is_no_socket(tmp_path: Path) -> None:
    assert not is_running(str(tmp_path / "none.sock"))
