"""`meshctl keygen`: a new identity."""

from __future__ import annotations

import argparse

from meshnode.paths import machine_directory

from ..keygen import keygen
from ..options import Words, wants_json


def add_to(words: Words) -> None:
    keys = words.add("keygen", "make a new identity", _keygen, asks_node=False)  # -s is free for --stdout
    keys.add_argument(
        "-d",
        "--dir",
        default=str(machine_directory()),
        metavar="DIR",
        help="where fips.key and fips.pub go (%(default)s)",
    )
    keys.add_argument("-f", "--force", action="store_true", help="replace a key that is there; a copy is kept")
    keys.add_argument("-s", "--stdout", action="store_true", help="print the keys and write nothing")


def _keygen(options: argparse.Namespace) -> None:
    keygen(options.dir, force=options.force, to_stdout=options.stdout, as_json=wants_json(options))
