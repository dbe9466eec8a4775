"""`meshctl`: look at a running node and tell it what to do (spec 06 section 8).

Exit status: 0 success; 1 the command failed, one line on standard error says why; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from typing import Any

from meshnode import __version__

from . import acl
from .client import Client, ToolError, default_socket
from .keygen import default_directory, keygen
from .names import resolve
from .views import VIEWS

SUCCESS, FAILURE, INTERRUPTED = 0, 1, 130
_ENDPOINT_KINDS = frozenset(("udp", "tcp", "ethernet"))
_MESH = ipaddress.ip_network("fd00::/8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status. Wrong usage ends the process with status 2."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
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
    return SUCCESS


def parser() -> argparse.ArgumentParser:
    """The command line."""
    common = _common_options()
    top = argparse.ArgumentParser(
        "meshctl",
        description="Look at a running node and tell it what to do.",
        epilog="Exit status: 0 success, 1 failure (one line on standard error), 2 wrong usage.",
        parents=[common],
    )
    top.add_argument("-V", "--version", action="version", version=f"meshctl {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _add_show(commands, common)
    _add_connect(commands, common)
    _add_disconnect(commands, common)
    _add_acl(commands, common)
    _add_keygen(commands)
    version = commands.add_parser("version", parents=[common], help="versions of this tool and of the node")
    version.set_defaults(run=_version)
    return top


def _common_options() -> argparse.ArgumentParser:
    """Options that may stand before or after the command."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("-s", "--socket", metavar="PATH", help="control socket of the node")
    _add_json(common)
    return common


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def _add_show(commands: Any, common: argparse.ArgumentParser) -> None:
    show = commands.add_parser("show", parents=[common], help="show one side of the node's state")
    show.add_argument("what", metavar="WHAT", choices=list(VIEWS), help=", ".join(VIEWS))
    show.set_defaults(run=_show)


def _add_connect(commands: Any, common: argparse.ArgumentParser) -> None:
    connect = commands.add_parser("connect", parents=[common], help="dial a peer once")
    connect.add_argument("peer", metavar="PEER", help="npub or name")
    connect.add_argument("address", metavar="ADDRESS", help="such as 192.0.2.1:2121 or peer.example.com:2121")
    connect.add_argument("transport", metavar="TRANSPORT", help="such as udp")
    connect.set_defaults(run=_connect)


def _add_disconnect(commands: Any, common: argparse.ArgumentParser) -> None:
    disconnect = commands.add_parser("disconnect", parents=[common], help="end the link with a peer")
    disconnect.add_argument("peer", metavar="PEER", help="npub or name")
    disconnect.set_defaults(run=_disconnect)


def _add_acl(commands: Any, common: argparse.ArgumentParser) -> None:
    command = commands.add_parser("acl", parents=[common], help="who may be a peer: show the lists, or change an entry")
    command.set_defaults(run=_show, what="acl")
    verbs = command.add_subparsers(metavar="show|allow|deny|remove")
    verbs.add_parser("show", parents=[common], help="the lists and who was refused lately (also without a word)")
    texts = {"allow": "always welcome", "deny": "not welcome", "remove": "in neither list any more"}
    for verb, text in texts.items():
        command = verbs.add_parser(verb, parents=[common], help=f"this node is {text}")
        command.add_argument("peer", metavar="PEER|ALL", help="npub or name; ALL for everybody")
        command.set_defaults(run=_change_acl, verb=verb)


def _add_keygen(commands: Any) -> None:
    keys = commands.add_parser("keygen", help="make a new identity")  # asks no node: -s is free for --stdout
    _add_json(keys)
    keys.add_argument("-d", "--dir", default=default_directory(), metavar="DIR", help="directory (%(default)s)")
    keys.add_argument("-f", "--force", action="store_true", help="replace a key that is there; a copy is kept")
    keys.add_argument("-s", "--stdout", action="store_true", help="print the keys and write nothing")
    keys.set_defaults(run=_keygen)


def _client(options: argparse.Namespace) -> Client:
    return Client(getattr(options, "socket", None) or default_socket(os.environ))


def _wants_json(options: argparse.Namespace) -> bool:
    return getattr(options, "json", False)


def _print(data: Any, options: argparse.Namespace, lines: list[str]) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False) if _wants_json(options) else "\n".join(lines))


def _show(options: argparse.Namespace) -> None:
    data = _client(options).ask(f"show_{options.what.replace('-', '_')}")
    _print(data, options, [] if _wants_json(options) else _view(options.what, data))


def _view(what: str, data: Any) -> list[str]:
    try:
        return VIEWS[what](data, time.time())
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ToolError("the node's answer has a form this meshctl does not know; --json prints it as it is") from None


def _connect(options: argparse.Namespace) -> None:
    if options.transport in _ENDPOINT_KINDS and _is_mesh_address(options.address):
        raise ToolError(
            f"{options.address!r} is a mesh address (fd00::/8), which is reached through peers; "
            f"give the {options.transport} address and port of the machine, such as 192.0.2.1:2121"
        )
    client = _client(options)
    npub = resolve(options.peer, client)
    before = None if _wants_json(options) else _peer_address(client, npub)
    params = {"npub": npub, "address": options.address, "transport": options.transport}
    data = client.ask("connect", params)
    line = f"dialling {npub} at {options.address}; `meshctl show peers` lists it once it answers"
    if before is not None:
        line = f"already connected to {npub} at {before}; nothing was dialled"
    _print(data, options, [line])


def _peer_address(client: Client, npub: str) -> str | None:
    """Where a connected peer is reached; None when it is none, or the node does not tell."""
    try:
        rows = client.ask("show_peers")["peers"]
        return next((str(row["transport_addr"]) for row in rows if row["npub"] == npub), None)
    except (ToolError, KeyError, TypeError):
        return None


def _disconnect(options: argparse.Namespace) -> None:
    client = _client(options)
    npub = resolve(options.peer, client)
    data = client.ask("disconnect", {"npub": npub})
    _print(data, options, [f"disconnected {npub}"])


def _change_acl(options: argparse.Namespace) -> None:
    done = acl.change(options.verb, options.peer, _client(options))
    _print(done, options, acl.report(options.verb, done))


def _keygen(options: argparse.Namespace) -> None:
    keygen(options.dir, force=options.force, to_stdout=options.stdout, as_json=_wants_json(options))


def _version(options: argparse.Namespace) -> None:
    client = _client(options)
    try:
        node = str(client.ask("show_status")["version"])
    except ToolError:
        node = None
    lines = [f"meshctl {__version__}", f"node    {node or f'not reached at {client.path}'}"]
    _print({"meshctl": __version__, "node": node}, options, lines)


def _is_mesh_address(address: str) -> bool:
    """Whether this is an IPv6 address inside the mesh: bare, in brackets with a port, or with a port behind a colon."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::\d+)?", address)
    candidates = [bracketed[1]] if bracketed else [address, address.rpartition(":")[0]]
    for candidate in candidates:
        try:
            if ipaddress.IPv6Address(candidate.partition("%")[0]) in _MESH:
                return True
        except ValueError:
            continue
    return False
