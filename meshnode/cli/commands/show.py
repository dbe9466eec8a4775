"""`meshctl show`, `meshctl version`: one side of the node's state."""

from __future__ import annotations

import argparse
import time

from meshnode import __version__

from ..client import ToolError
from ..options import Words, client, emit, readable
from ..views import VIEWS


def add_to(words: Words) -> None:
    show = words.add("show", "show one side of the node's state", _show)
    show.add_argument("what", metavar="WHAT", choices=list(VIEWS), help=", ".join(VIEWS))
    words.add("version", "versions of this tool and of the node", _version)


def _show(options: argparse.Namespace) -> None:
    data = client(options).ask(f"show_{options.what.replace('-', '_')}")
    emit(data, options, lambda: readable(lambda: VIEWS[options.what](data, time.time())))


def _version(options: argparse.Namespace) -> None:
    node = client(options)
    try:
        version = str(node.ask("show_status")["version"])
    except ToolError:
        version = None
    lines = [f"meshctl {__version__}", f"node    {version or f'not reached at {node.path}'}"]
    emit({"meshctl": __version__, "node": version}, options, lambda: lines)
