"""`meshctl config` and `meshctl reload`: what the configuration says, whether it can be used, what changed in it."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..client import Client, ToolError
from ..options import Words, client, emit

if TYPE_CHECKING:
    from meshnode.config.load import Loaded

_KEY = "node.identity.nsec"
_FILE = "the file; without it, what the running node read, else the usual places"


def add_to(words: Words) -> None:
    words.add("reload", "make the node read its configuration again", _reload)
    verbs = words.group("config", "check, show or compare the configuration", ("check", "show", "diff"))
    check = verbs.add("check", "tell whether a configuration can be used, and what is odd about it", _check)
    show = verbs.add("show", "print every setting in force that is not the default", _show)
    show.add_argument("--all", action="store_true", help="the defaults, too")
    diff = verbs.add("diff", "compare the running node with the file: what a reload changes, what a restart", _diff)
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


def _check(options: argparse.Namespace) -> None:
    loaded = _read(options)
    transports = loaded.config.transports
    files, warnings = [str(path) for path in loaded.paths], [*loaded.warnings, *_advice(loaded)]
    where = ", ".join(files) or "no configuration file found"
    if not any(transports.each()) and not transports.others:
        raise ToolError(f"{where}: a node does not start without a transport; write transports: {{udp: {{}}}}")
    verdict = "usable, but see above" if warnings else "fine"
    data = {"files": files, "warnings": warnings}
    emit(data, options, lambda: [*(f"warning: {warning}" for warning in warnings), f"{verdict}: {where}"])


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


def _read(options: argparse.Namespace, *, as_run: bool = False) -> Loaded:
    """The configuration, found good. Raises `ToolError` with the node's own words.

    `as_run` fills in what a section leaves to another one, as a node does when it starts.
    """
    from meshnode.config.errors import ConfigError
    from meshnode.config.features import unsupported
    from meshnode.config.load import load
    from meshnode.config.validate import CONTEXT, validate

    path = options.file or _file_of_node(client(options))
    try:
        loaded = load(None if path is None else Path(path), os.environ, Path.cwd())
        _check_key(loaded.config.node.identity.nsec)
        validate(loaded.config, loaded.places)
    except ConfigError as error:
        raise ToolError(str(error).removeprefix(CONTEXT)) from None
    if missing := unsupported(loaded.config, loaded.places):
        raise ToolError("; ".join(missing))
    if as_run:
        loaded.config.transports.inherit(loaded.config.node.limits.max_connections)
    return loaded


def _settings(loaded: Loaded, *, all_keys: bool = True) -> dict[str, Any]:
    """Every setting by its path, as the node gives them."""
    from meshnode.config.shown import shown

    settings: dict[str, Any] = json.loads(json.dumps(shown(loaded.config, all_keys=all_keys)))
    return settings


def _advice(loaded: Loaded) -> Iterator[str]:
    """What a node says of such a configuration when it starts."""
    from meshnode.config.addresses import bad_bind_addresses, bad_peer_addresses
    from meshnode.config.features import foreign_transports, unusable_addresses
    from meshnode.config.validate import advice

    config = loaded.config
    yield from advice(config)
    yield from foreign_transports(config, loaded.places)
    yield from unusable_addresses(config, config.transports.others)
    yield from bad_bind_addresses(config)
    yield from bad_peer_addresses(config)


def _file_of_node(node: Client) -> str | None:
    """The one file a running node was started with; None when none runs, or it reads the usual places."""
    try:
        found = node.ask("show_config").get("file")
    except ToolError:
        return None
    return None if found is None else str(found)


def _check_key(nsec: str | None) -> None:
    from meshnode.identity import Identity, IdentityError

    if nsec is None:
        return
    try:
        Identity.parse(nsec)
    except IdentityError as error:
        raise ToolError(f"node.identity.nsec: {error}") from None
