"""`python -m meshnode [--config FILE]`: `twistd meshnode` in the foreground, without a process id file."""

from __future__ import annotations

import sys

from meshnode.imports import postpone


def main() -> None:
    """Run the node until it is told to stop. A wrong command line ends with one line and exit status 2."""
    postpone()
    from twisted.application.app import run
    from twisted.application.service import ServiceMaker
    from twisted.python.usage import UsageError
    from twisted.scripts.twistd import ServerOptions, runApp  # type: ignore[attr-defined]  # one of two, by platform

    from meshnode.service import Options

    arguments = sys.argv[1:]
    try:
        Options().parseOptions(arguments)
    except UsageError as error:
        print(f"meshnode: {error} (see meshnode --help)", file=sys.stderr)
        raise SystemExit(2) from None
    node = ServiceMaker("meshnode", "meshnode.service", "A full node of a FIPS mesh.", "meshnode")

    class NodeOptions(ServerOptions):
        """Knows the node without looking through all plug-ins for it."""

        subCommands = [[node.tapname, None, lambda: node.options(), node.description]]  # noqa: N815
        loadedPlugins = {node.tapname: node}  # noqa: N815

    sys.argv = ["twistd", "--nodaemon", "--pidfile=", node.tapname, *arguments]
    run(runApp, NodeOptions)


if __name__ == "__main__":
    main()
