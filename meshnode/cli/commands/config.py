"""`meshctl config` and `meshctl reload`: what the configuration says, whether it can be used, what changed in it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..binding import taken_addresses
from ..client import Client, ToolError
from ..options import FAILURE, SUCCESS, Words, client, emit, wants_json

if TYPE_CHECKING:
    from meshnode.config.errors import ConfigError
    from meshnode.config.load import Loaded

_KEY = "node.identity.nsec"
_FILE = "the file; without it, what the running node read, else the usual places"


def add_to(words: Words) -> None:
    words.add(
        "reload", "make the node read its configuration again", _reload,
        details="Says what took effect and what waits for a restart. One that cannot be used changes nothing.",
    )  # fmt: skip
    verbs = words.group("config", "check, show or compare the configuration", ("check", "show", "diff"))
    check = verbs.add(
        "check", "tell whether a configuration can be used, and what is odd about it", _check,
        details="Errors keep a node from starting, and give exit status 1. Warnings do not: they tell what it would go "
        "without, and which addresses it would not get on this machine now.",
    )  # fmt: skip
    show = verbs.add("show", "print every setting in force that is not the default", _show)
    show.add_argument("--all", action="store_true", help="the defaults, too")
    diff = verbs.add(
        "diff", "compare the running node with the file: what a reload changes, what a restart", _diff,
        details="Exit status 0 without differences, 1 with some.",
    )  # fmt: skip
    for parser in (check, show, diff):
        parser.add_argument("file", metavar="FILE", nargs="?", help=_FILE)


def _reload(options: argparse.Namespace) -> None:
    data = client(options).ask("reload")
    emit(data, options, lambda: _reloaded(data))


def _reloaded(data: dict[str, Any]) -> list[str]:
    return [
        *(f"warning: {warning}" for warning in data["warnings"]),
        f"applied: {', '.join(data['applied']) or 'nothing new'}",
        *([f"only a restart applies: {', '.join(data['needs_restart'])}"] if data["needs_restart"] else []),
    ]


def _check(options: argparse.Namespace) -> int:
    """Tell everything that is wrong, not only what comes first.

    What would keep a node from starting wherever it is started is an error, what is so on this machine now a warning:
    a file may be checked beside the daemon it is to replace, or before the address is there.
    """
    from meshnode.config.addresses import bad_bind_addresses

    errors: list[str] = []
    loaded = _read(options, errors=errors)
    files, warnings = [str(path) for path in loaded.paths], [*loaded.warnings, *_advice(loaded)]
    where = ", ".join(files) or "no configuration file found"
    deaf, transports = list(bad_bind_addresses(loaded.config)), loaded.config.transports
    may_start = len(list(transports.each())) + len(transports.others) - len(deaf)
    if may_start or errors:
        warnings += deaf
    else:
        errors += [*deaf, f"{where}: a node does not start without a transport; write transports: {{udp: {{}}}}"]
    warnings += taken_addresses(loaded.config, client(options))
    verdict = "cannot be used" if errors else "usable, but see above" if warnings else "fine"
    data = {"files": files, "warnings": warnings, "errors": errors}
    emit(data, options, lambda: [*(f"warning: {warning}" for warning in warnings), f"{verdict}: {where}"])
    for error in errors if not wants_json(options) else ():
        print(f"error: {error}", file=sys.stderr)
    return FAILURE if errors else SUCCESS


def _show(options: argparse.Namespace) -> None:
    values = _settings(_read(options), all_keys=options.all)
    emit(values, options, lambda: _lines(values) or ["everything has its default"])


def _lines(values: dict[str, Any]) -> list[str]:
    return [f"{path}: {json.dumps(value, ensure_ascii=False)}" for path, value in values.items()]


def _diff(options: argparse.Namespace) -> int:
    """Exit status 0 without differences, 1 with some."""
    from meshnode.config.live import is_live

    running = client(options).ask("show_config")["settings"]
    values = _settings(_read(options, as_run=True))
    rows = [
        {"key": path, "running": running.get(path), "file": values.get(path), "reload": is_live(path)}
        for path in sorted(running.keys() | values.keys())
        if values.get(path) != running.get(path) and path != _KEY  # which the node fills in itself, and is not shown
    ]
    emit(rows, options, lambda: [_difference(row) for row in rows] or ["no differences"])
    return 1 if rows else 0


def _difference(row: dict[str, Any]) -> str:
    how = "reload" if row["reload"] else "restart"
    texts = [json.dumps(row[side], ensure_ascii=False) for side in ("running", "file")]
    return f"{row['key']} ({how}): {texts[0]} -> {texts[1]}"


def _read(options: argparse.Namespace, *, as_run: bool = False, errors: list[str] | None = None) -> Loaded:
    """The configuration. Raises `ToolError` for what is wrong, in the node's words, or puts all of it into `errors`.

    `as_run` fills in what a section leaves to another one, as a node does when it starts.
    """
    from meshnode.config.errors import ConfigError
    from meshnode.config.load import load

    path = options.file or _file_of_node(client(options))
    unread: list[ConfigError] | None = None if errors is None else []
    try:
        loaded = load(None if path is None else Path(path), os.environ, Path.cwd(), faults=unread)
    except ConfigError as error:
        raise ToolError(str(error)) from None
    found = [*(_located(error) for error in unread or ()), *_broken(loaded)]
    if errors is None and found:
        raise ToolError(found[0])
    if errors is not None:
        errors += found
    if as_run:
        loaded.config.transports.inherit(loaded.config.node.limits.max_connections)
    return loaded


def _located(error: ConfigError) -> str:
    return str(error) if error.place is None else f"{error.place.file}: {error}"


def _broken(loaded: Loaded) -> Iterator[str]:
    """What keeps a node from running with a configuration that can be read."""
    from meshnode.config.features import unsupported
    from meshnode.config.validate import CONTEXT, broken_rules

    yield from _wrong_key(loaded.config.node.identity.nsec)
    for error in broken_rules(loaded.config, loaded.places):
        yield str(error).removeprefix(CONTEXT)
    yield from unsupported(loaded.config, loaded.places)


def _settings(loaded: Loaded, *, all_keys: bool = True) -> dict[str, Any]:
    """Every setting by its path, as the node gives them."""
    from meshnode.config.shown import shown

    settings: dict[str, Any] = json.loads(json.dumps(shown(loaded.config, all_keys=all_keys)))
    return settings


def _advice(loaded: Loaded) -> Iterator[str]:
    """What a node says of such a configuration when it starts."""
    from meshnode.config.addresses import bad_peer_addresses
    from meshnode.config.features import foreign_transports, unusable_addresses
    from meshnode.config.names import unusable_names
    from meshnode.config.validate import advice

    config = loaded.config
    yield from advice(config)
    yield from foreign_transports(config, loaded.places)
    yield from unusable_addresses(config, config.transports.others)
    yield from bad_peer_addresses(config)
    yield from unusable_names(config)


def _file_of_node(node: Client) -> str | None:
    """The one file a running node was started with; None when none runs, or it reads the usual places."""
    try:
        found = node.ask("show_config").get("file")
    except ToolError:
        return None
    return None if found is None else str(found)


def _wrong_key(nsec: str | None) -> Iterator[str]:
    from meshnode.identity import Identity, IdentityError

    if nsec is None:
        return
    try:
        Identity.parse(nsec)
    except IdentityError as error:
        yield f"node.identity.nsec: {error}"
