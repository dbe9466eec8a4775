"""`meshctl completion` and `meshctl man`: what shells and manual pages know of this command line."""

from __future__ import annotations

import argparse
import os

from ..client import Client, ToolError, default_socket
from ..completion import SHELLS
from ..grammar import grammar
from ..manual import manual
from ..names import known_names
from ..options import Words


def add_to(words: Words) -> None:
    completion = words.add(
        "completion", "print the completion script of a shell", _completion, asks_node=False,
        details="In bash: source <(meshctl completion bash). `names` prints the names of nodes the scripts offer.",
    )  # fmt: skip
    completion.add_argument("shell", metavar="SHELL", choices=[*SHELLS, "names"], help=", ".join([*SHELLS, "names"]))
    words.add("man", "print the manual page, for man or mandoc", _man, asks_node=False)


def _completion(options: argparse.Namespace) -> None:
    if options.shell == "names":
        print("\n".join(_names()))
        return
    print(SHELLS[options.shell](grammar(_parser())), end="")


def _man(options: argparse.Namespace) -> None:
    print(manual(grammar(_parser())), end="")


def _parser() -> argparse.ArgumentParser:
    from ..main import parser

    return parser()


def _names() -> list[str]:
    try:
        return known_names(Client(default_socket(os.environ), timeout=1.0))
    except ToolError:
        return []
