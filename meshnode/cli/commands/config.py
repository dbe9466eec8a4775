"""`meshctl config` and `meshctl reload`: what the configuration says, whether it can be used, what changed in it."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from ..client import Client, ToolError
from ..options import Words, client, emit

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
    files, _values, warnings = _read(options)
    where = ", ".join(files) or "no configuration file found, the defaults are used"
    data = {"files": files, "warnings": warnings}
    emit(data, options, lambda: [*(f"warning: {warning}" for warning in warnings), f"fine: {where}"])


def _show(options: argparse.Namespace) -> None:
    _files, values, _warnings = _read(options, all_keys=options.all)
    emit(values, options, lambda: _lines(values) or ["everything has its default"])


def _lines(values: dict[str, Any]) -> list[str]:
    return [f"{path}: {json.dumps(value, ensure_ascii=False)}" for path, value in values.items()]


def _diff(options: argparse.Namespace) -> int:
    """Exit status 0 without differences, 1 with some."""
    from meshnode.config.live import is_live

    running = client(options).ask("show_config")["settings"]
    _files, values, _warnings = _read(options)
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


def _read(options: argparse.Namespace, *, all_keys: bool = True) -> tuple[list[str], dict[str, Any], list[str]]:
    """The files, every setting, and warnings. Raises `ToolError` with the node's own words."""
    from meshnode.config.errors import ConfigError
    from meshnode.config.features import unsupported, unusable_addresses
    from meshnode.config.load import load
    from meshnode.config.shown import shown
    from meshnode.config.validate import CONTEXT, advice, validate

    path = options.file or _file_of_node(client(options))
    try:
        loaded = load(None if path is None else Path(path), os.environ, Path.cwd())
        _check_key(loaded.config.node.identity.nsec)
        validate(loaded.config, loaded.places)
    except ConfigError as error:
        raise ToolError(str(error).removeprefix(CONTEXT)) from None
    if missing := unsupported(loaded.config, loaded.places):
        raise ToolError("; ".join(missing))
    warnings = [*loaded.warnings, *advice(loaded.config), *unusable_addresses(loaded.config)]
    values = json.loads(json.dumps(shown(loaded.config, all_keys=all_keys)))
    return [str(file) for file in loaded.paths], values, warnings


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
