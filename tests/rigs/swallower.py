"""A node that can be made to drop what is led through it: `python -m tests.rigs.swallower FLAG KIND ...`.

It is the node of this checkout, and behaves while there is no file FLAG. KIND is `everything`, or `slyly` for one that
still returns what neighbours send through it to see whether it relays. The rest of the command line is twistd's.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from twisted.scripts.twistd import run

from meshnode.node.forwarding import Forwarding
from tests.rigs.nodes import Program


def swallower(flag: Path, kind: str) -> Program:
    """Return the program that swallows while there is a file `flag`."""
    words = [sys.executable, "-m", "tests.rigs.swallower", str(flag), kind, "--nodaemon", "--pidfile=", "meshnode"]
    return Program("swallower", shlex.join(words) + " --config {config}")


def swallow(flag: Path, slyly: bool) -> None:
    """Make the nodes of this process swallow while there is a file `flag`."""
    relay = Forwarding._relay

    def relay_or_not(self: Forwarding, *datagrams: Any) -> None:
        source, destination = datagrams[4:6]
        if not flag.exists() or (slyly and source == destination):
            relay(self, *datagrams)

    Forwarding._relay = relay_or_not  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    swallow(Path(sys.argv[1]), sys.argv[2] == "slyly")
    sys.argv[:3] = ["twistd"]
    run()
