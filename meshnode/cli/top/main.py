"""`meshtop`: starting the live screen."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from meshnode import __version__

from ..client import Client, ToolError, default_socket
from ..options import FAILURE, SUCCESS, add_refresh


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the screen until the operator leaves it. Wrong usage ends the process with status 2."""
    options = parser().parse_args(arguments)
    try:
        return run(options.socket or default_socket(os.environ), options.refresh)
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILURE


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser("meshtop", description="A live screen of a running node; ? explains the keys.")
    top.add_argument("-s", "--socket", metavar="PATH", help="control socket of the node")
    add_refresh(top)
    top.add_argument("-V", "--version", action="version", version=f"meshtop {__version__}")
    return top


def run(socket_path: str, refresh: float) -> int:
    """Show the node at `socket_path`. Raises `ToolError` when the library is not there, or no terminal to draw on."""
    try:
        from .app import MeshTop
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise ToolError(f"meshtop needs the library textual: {sys.executable} -m pip install 'meshnode[top]'") from None
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ToolError("meshtop draws on a terminal, and this is none; meshctl status prints lines")
    MeshTop(Client(socket_path), refresh).run()
    return SUCCESS


if __name__ == "__main__":
    sys.exit(main())
