"""Numbers on command lines: every one has a range, and what lies outside is named with it in one line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.cli.main import parser as meshctl
from meshnode.cli.top.main import parser as meshtop
from meshnode.gateway.program import arguments as gateway
from meshnode.ranges import decimal, port, whole
from meshnode.sim.cli import _parser as meshsim

ROOT = Path(__file__).parents[2]


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _actions(below)
        else:
            yield action


@pytest.mark.parametrize("program", [meshctl, meshtop, meshsim, gateway])
def test_no_option_takes_just_any_number(program: object) -> None:
    parser: argparse.ArgumentParser = program()  # type: ignore[operator]
    assert [action.dest for action in _actions(parser) if action.type in (int, float)] == []


def test_no_benchmark_takes_just_any_number() -> None:
    files = [file for file in (ROOT / "bench").iterdir() if file.is_file()]
    assert [file.name for file in files if re.search(r"type=(int|float)\b", file.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bench", "--port", "99999"], "argument --port: '99999' is not a whole number from 1 to 65535"),
        (["bench", "--port", "0"], "argument --port: '0' is not a whole number from 1 to 65535"),
        (["bench", "x", "--seconds", "nan"], "argument --seconds: 'nan' is not a number from 0.1 to 86400"),
        (["log", "show", "-n", "-3"], "argument -n/--lines: '-3' is not a whole number from 1 on"),
        (["watch", "--since", "-1"], "argument --since: '-1' is not a whole number from 0 on"),
        (["trace", "x", "--timeout", "-1"], "argument --timeout: '-1' is not a number from 0 on"),
        (["top", "-r", "inf"], "argument -r/--refresh: 'inf' is not a number from 0.1 to 86400"),
    ],
)
def test_an_option_out_of_range_is_named_with_the_range(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        meshctl().parse_args(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(says)


def test_the_ends_of_a_range_belong_to_it() -> None:
    assert (port("1"), port("65535"), whole(0)("0")) == (1, 65535, 0)
    assert (decimal(0.5, 2)("0.5"), decimal(0.5, 2)("2"), decimal(0)("1e9")) == (0.5, 2.0, 1e9)
    for read, text in ((decimal(0.5, 2), "2.01"), (decimal(0), "-0.1"), (whole(1), "1.5"), (whole(1), "")):
        with pytest.raises(argparse.ArgumentTypeError):
            read(text)
