"""`python -m meshnode [--config FILE]`: `twistd meshnode` in the foreground, without a process id file."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the node until it is told to stop."""
    from twisted.scripts.twistd import run

    sys.argv = ["twistd", "--nodaemon", "--pidfile=", "meshnode", *sys.argv[1:]]
    run()


if __name__ == "__main__":
    main()
