"""`meshctl peer`: peers this node is to be connected with, now and, when asked, after its next start."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..client import Client, ToolError
from ..names import resolve
from ..options import Words, add_peer, client, emit
from ..peer_file import config_file, drop_peer, save_peer
from .links import add_endpoint, check_endpoint

_FILE = "which one, for --save; without it, the last one the node has read"


def add_to(words: Words) -> None:
    verbs = words.group("peer", "add a peer, or remove one, without a restart", ("add", "remove"))
    add = verbs.add(
        "add", "be connected with a peer from now on", _add,
        details="The node dials at once, and again after every loss, until it stops; with --save also after its next "
        "start. For a peer it has already, the address is added to those it knows.",
    )  # fmt: skip
    add_peer(add)
    add_endpoint(add)
    add.add_argument("--alias", metavar="NAME", help="what to call it")
    _add_saving(add, "write it into the configuration file as well")
    remove = verbs.add("remove", "end the link with a peer and do not come back to it", _remove)
    add_peer(remove)
    _add_saving(remove, "take it out of the configuration file as well")


def _add_saving(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--save", action="store_true", help=text)
    parser.add_argument("--file", metavar="FILE", help=_FILE)


def _add(options: argparse.Namespace) -> None:
    check_endpoint(options.address, options.transport)
    node = client(options)
    file = _file(options, node)
    npub = resolve(options.peer, node)
    params = {"npub": npub, "address": options.address, "transport": options.transport}
    if options.alias is not None:
        params["alias"] = options.alias
    data = node.ask("peer_add", params)
    lines = [_added(data, data.get("alias") or options.alias or npub)]
    if file is not None:
        data["saved"] = save_peer(file, npub, options.alias, options.transport, options.address)
        data["file"] = str(file)
        lines.append(f"written into {file}" if data["saved"] else f"{file} has it already")
    emit(data, options, lambda: lines)


def _file(options: argparse.Namespace, node: Client) -> Path | None:
    """The file to write into, if one is to be; asked for before anything is changed. Raises `ToolError`."""
    if options.file is not None and not options.save:
        raise ToolError("--file names the file for --save; write both, or neither")
    return config_file(node, options.file) if options.save else None


def _added(data: dict[str, Any], name: str) -> str:
    """What became of it, as far as the node says so."""
    changed = data.get("changed", ["peer"])
    if "peer" in changed:
        return f"added {name}; `meshctl peers` shows how it goes"
    if changed:
        return f"{name} is a peer already; new: {', '.join(changed)}"
    return f"{name} is a peer at that address already; nothing changed"


def _remove(options: argparse.Namespace) -> None:
    node = client(options)
    file = _file(options, node)
    npub = resolve(options.peer, node)
    try:
        data = node.ask("peer_remove", {"npub": npub})
        lines = [f"removed {npub}"]
    except ToolError as error:
        if not options.save:
            raise
        data, lines = {"npub": npub, "was_configured": False, "was_connected": False}, [f"the node says: {error}"]
    if file is not None:
        data["saved"], data["file"] = drop_peer(file, npub), str(file)
        lines.append(f"taken out of {file}" if data["saved"] else f"{file} does not have it")
    emit(data, options, lambda: lines)
