"""`meshctl top`: the live screen, which is a program of its own."""

from __future__ import annotations

import argparse

from meshnode.ranges import seconds

from ..options import Words, client


def add_to(words: Words) -> None:
    top = words.add("top", "a live screen of the node (the same as meshtop)", _top)
    top.add_argument(
        "-r",
        "--refresh",
        type=seconds,
        default=1.0,
        metavar="S",
        help="seconds between looks (%(default)s)",
    )


def _top(options: argparse.Namespace) -> int:
    from ..top.main import run

    return run(client(options).path, options.refresh)
