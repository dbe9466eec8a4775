"""`python -m meshnode [--config FILE]`: `twistd meshnode` in the foreground, without a process id file."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the node until it is told to stop. A wrong command line ends with one line and exit status 2."""
    from twisted.python.usage import UsageError
    from twisted.scripts.twistd import run

    from meshnode.service import Options

    arguments = sys.argv[1:]
    try:
        Options().parseOptions(arguments)
    except UsageError as error:
        print(f"meshnode: {error} (see meshnode --help)", file=sys.stderr)
        raise SystemExit(2) from None
    sys.argv = ["twistd", "--nodaemon", "--pidfile=", "meshnode", *arguments]
    run()


if __name__ == "__main__":
    main()
