"""Completion scripts and manual page follow from the command line, and shells take them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from meshnode.cli.completion import SHELLS
from meshnode.cli.grammar import grammar
from meshnode.cli.main import main, parser
from meshnode.cli.manual import manual, screen_manual
from meshnode.cli.top.keys import KEYS
from meshnode.cli.top.main import parser as screen_parser

ROOT = Path(__file__).resolve().parents[2]
TOP = grammar(parser())
LEAVES = [command for command in TOP.walk() if command is not TOP and not command.commands]


def test_every_command_explains_itself() -> None:
    for command in TOP.walk():
        if command is not TOP:
            assert command.summary
            assert command.description.endswith(".")
        for option in command.options:
            assert option.help


@pytest.mark.parametrize("command", LEAVES, ids=lambda command: " ".join(command.path))
def test_every_command_prints_json_and_help(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    path = command.path  # type: ignore[attr-defined]
    names = {name for option in command.options for name in option.names}  # type: ignore[attr-defined]
    assert {"--json", "--help"} <= names
    with pytest.raises(SystemExit) as left:
        main([*path[1:], "--help"])
    assert left.value.code == 0
    assert path[-1] in capsys.readouterr().out


@pytest.mark.parametrize("shell", SHELLS)
def test_a_completion_script_names_every_command_and_option(shell: str) -> None:
    script = SHELLS[shell](TOP)
    for command in LEAVES:
        assert command.path[-1] in script
        for option in command.options:
            for name in option.names:
                assert (name if shell != "fish" else name.lstrip("-")) in script


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_itself_can_read_its_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"the completion script needs the program {shell} to be checked")
    script = tmp_path / "script"
    script.write_text(SHELLS[shell](TOP))
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes_words_choices_and_options(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(SHELLS["bash"](TOP))

    def completed(*words: str) -> list[str]:
        typed = " ".join(f'"{word}"' for word in words)
        program = f"source {script}; COMP_WORDS=(meshctl {typed}); COMP_CWORD={len(words)}; _meshctl"
        done = subprocess.run(
            ["bash", "-c", f'meshctl() {{ :; }}; {program}; echo "${{COMPREPLY[@]}}"'],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.split()

    assert completed("pee") == ["peers", "peer"]
    assert completed("peer", "") == ["add", "remove"]
    assert completed("show", "tra") == ["transports"]
    assert completed("stats", "history", "--gran") == ["--granularity"]


def test_the_manual_page_has_every_command_and_no_stray_requests() -> None:
    page = manual(TOP)
    requests = {line.split()[0] for line in page.splitlines() if line.startswith(".")}
    assert requests <= {".TH", ".SH", ".SS", ".TP", ".B", ".BR", ".I"}
    for command in LEAVES:
        assert f".SS \\fB{' '.join(command.path[1:])}\\fR".replace("-", "\\-") in page


def test_the_manual_page_of_the_screen_has_every_option_and_key() -> None:
    page = screen_manual(grammar(screen_parser()), KEYS)
    requests = {line.split()[0] for line in page.splitlines() if line.startswith(".")}
    assert requests <= {".TH", ".SH", ".TP", ".B", ".BR"}
    for words in ("\\-\\-socket", "\\-\\-refresh", *(f".B {key}".replace("-", "\\-") for key, _ in KEYS)):
        assert words in page, words


def test_the_pages_in_the_repository_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "script" / "gen-cli-reference"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "current\n", done.stdout + done.stderr
