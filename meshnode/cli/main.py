"""`meshctl`: look at a running node and tell it what to do (spec 06 section 8).

Exit status: 0 success; 1 the command failed, one line on standard error says why, or what was asked is not so; 2 wrong
usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from meshnode import __version__

from .client import ToolError
from .commands import (
    access,
    bench,
    capture,
    config,
    doctor,
    history,
    journal,
    keys,
    links,
    migrate,
    overview,
    peers,
    probe,
    reach,
    report,
    screen,
    shell,
    show,
    watch,
)
from .options import FAILURE, INTERRUPTED, SUCCESS, Words, common_options

COMMANDS: Sequence[Callable[[Words], None]] = (
    overview.add_to,
    show.add_to,
    history.add_to,
    reach.add_to,
    links.add_to,
    peers.add_to,
    access.add_to,
    journal.add_to,
    bench.add_to,
    screen.add_to,
    probe.add_to,
    doctor.add_to,
    report.add_to,
    watch.add_to,
    capture.add_to,
    config.add_to,
    keys.add_to,
    migrate.add_to,
    shell.add_to,
)
"""What makes up the command line, in the order of its help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status. Wrong usage ends the process with status 2."""
    options = parser().parse_args(arguments)
    try:
        status = options.run(options)
        sys.stdout.flush()
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILURE
    except BrokenPipeError:
        # Whoever read our output has seen enough; keep the interpreter from complaining at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except KeyboardInterrupt:
        return INTERRUPTED
    return SUCCESS if status is None else int(status)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    common = common_options()
    top = argparse.ArgumentParser(
        "meshctl",
        description="Look at a running node and tell it what to do.",
        epilog="Exit status: 0 success, 1 failure (one line on standard error), 2 wrong usage.",
        parents=[common],
    )
    top.add_argument("-V", "--version", action="version", version=f"meshctl {__version__}")
    words = Words(top.add_subparsers(metavar="COMMAND", required=True), common)
    for add in COMMANDS:
        add(words)
    return top
