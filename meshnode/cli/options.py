"""What all commands share: their options, the node they ask, how they print, how they end."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from meshnode.ranges import seconds

from .client import Client, ToolError, default_socket

SUCCESS, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130

Run = Callable[[argparse.Namespace], int | None]
"""Carries a command out; returns an exit status, None for success. Raises `ToolError`."""


class Words:
    """The words of the command line, to which each command adds its own.

    Completion and manual pages are made of the same tree.
    """

    def __init__(self, subparsers: Any, common: argparse.ArgumentParser) -> None:
        self._subparsers = subparsers
        self.common = common

    def add(
        self, name: str, text: str, run: Run | None = None, *, asks_node: bool = True, details: str = ""
    ) -> argparse.ArgumentParser:
        """Add a command; `text` is one line for the list, `details` more for its own help page."""
        parents = [self.common] if asks_node else []
        description = f"{text[0].upper()}{text[1:]}. {details}".strip()
        parser: argparse.ArgumentParser = self._subparsers.add_parser(
            name, parents=parents, help=text, description=description
        )
        if not asks_node:
            add_json(parser)
        if run is not None:
            parser.set_defaults(run=run)
        return parser

    def group(self, name: str, text: str, verbs: Sequence[str], run: Run | None = None) -> Words:
        """Add a command that is followed by one of several verbs; `run` is for none of them."""
        parser = self.add(name, text, run)
        subparsers = parser.add_subparsers(metavar="|".join(verbs), required=run is None)
        return Words(subparsers, self.common)


def common_options() -> argparse.ArgumentParser:
    """Options that may stand before or after the command."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("-s", "--socket", metavar="PATH", help="control socket of the node, if not the usual one")
    add_json(common)
    return common


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON, for programs")


def add_peer(parser: argparse.ArgumentParser, text: str = "npub or name") -> None:
    """Take the node that is meant; `names.resolve` makes an npub of it."""
    parser.add_argument("peer", metavar="PEER", help=text)


def add_refresh(parser: argparse.ArgumentParser) -> None:
    """How often a live screen looks at its node."""
    text = "seconds between looks (%(default)s)"
    parser.add_argument("-r", "--refresh", type=seconds, default=1.0, metavar="S", help=text)


def client(options: argparse.Namespace) -> Client:
    return Client(getattr(options, "socket", None) or default_socket(os.environ))


def wants_json(options: argparse.Namespace) -> bool:
    return getattr(options, "json", False)


def emit(data: Any, options: argparse.Namespace, lines: Callable[[], list[str]]) -> None:
    """Print `data` as JSON where that is wanted, else the lines for people."""
    print(json.dumps(data, indent=2, ensure_ascii=False) if wants_json(options) else "\n".join(lines()))


def readable(lines: Callable[[], list[str]]) -> list[str]:
    """The lines made of an answer. Raises `ToolError` when its form is not the expected one."""
    try:
        return lines()
    except (AttributeError, KeyError, TypeError, ValueError, IndexError):
        raise ToolError("the node's answer has a form this meshctl does not know; --json prints it as it is") from None
