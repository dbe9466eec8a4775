"""`meshctl top`: the live screen, which is a program of its own."""

from __future__ import annotations

import argparse

from ..options import Words, add_refresh, client


def add_to(words: Words) -> None:
    top = words.add("top", "a live screen of the node (the same as meshtop)", _top)
    add_refresh(top)


def _top(options: argparse.Namespace) -> int:
    from ..top.main import run

    return run(client(options).path, options.refresh)
