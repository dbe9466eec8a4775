"""`meshctl acl`: who may be a peer; looking at the lists and changing one entry of them.

The files are changed by whoever types the command, with that person's rights. A node reads them again within a second.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshnode.paths import ALLOW_FILE, DENY_FILE, machine_directory

from .client import Client, ToolError
from .names import resolve

VERBS = ("allow", "deny", "remove")


@dataclass(frozen=True)
class Lists:
    """Where the two lists lie, and whether a running node said so."""

    allow: Path
    deny: Path
    has_node: bool


def find(client: Client) -> Lists:
    """The lists of the running node, else those a node has unless told otherwise."""
    try:
        data = client.ask("show_acl")
    except ToolError:
        directory = machine_directory()
        return Lists(directory / ALLOW_FILE.name, directory / DENY_FILE.name, False)
    return Lists(Path(data["allow_file"]), Path(data["deny_file"]), True)


def change(verb: str, who: str, client: Client) -> dict[str, Any]:
    """Carry out `verb` for the npub, name or ALL; returns what was done. Raises `ToolError`."""
    lists = find(client)
    token, name = _token(who, client)
    entry = _Entry(token, name, client)
    # What closes a door is written before what opened it is taken away, and the other way round.
    if verb == "deny":
        changed = [entry.add(lists.deny), entry.remove(lists.allow)]
    elif verb == "allow":
        changed = [entry.add(lists.allow), entry.remove(lists.deny)]
    else:
        changed = [entry.remove(lists.deny), entry.remove(lists.allow)]
    files = [str(file) for file in changed if file is not None]
    return {"entry": token, "changed": files, "node_running": lists.has_node}


def report(verb: str, done: dict[str, Any]) -> list[str]:
    """The lines a person reads after a change."""
    if not done["changed"]:
        return [
            f"nothing to change: {done['entry']} is {'in no list' if verb == 'remove' else f'set to {verb} already'}"
        ]
    when = "the node follows within a second" if done["node_running"] else "no node is running; the next one follows"
    return [f"{verb} {done['entry']}: changed {', '.join(done['changed'])}; {when}"]


def _token(who: str, client: Client) -> tuple[str, str]:
    """What to write for `who`, and the name it was given by."""
    from meshnode.config.access_list import EVERYBODY, is_everybody
    from meshnode.identity import IdentityError, PeerIdentity

    if is_everybody(who):
        return EVERYBODY, ""
    npub = resolve(who, client)
    try:
        return PeerIdentity.from_npub(npub).npub, "" if npub == who else who
    except IdentityError as error:
        raise ToolError(f"{who!r} cannot be put into a list: {error}") from None


class _Entry:
    """One node, or everybody, in the files."""

    def __init__(self, token: str, name: str, client: Client) -> None:
        self._entry = token
        self._name = name
        self._client = client

    def add(self, path: Path) -> Path | None:
        """Add the entry unless it is there; returns the file that was changed."""
        from meshnode.config.access_list import with_entry, without_entries

        text = _read(path)
        if without_entries(text, self._is_meant) != text:
            return None
        return _write(path, with_entry(text, self._entry, self._name))

    def remove(self, path: Path) -> Path | None:
        """Take the entry out, however it is written; returns the file that was changed."""
        from meshnode.config.access_list import without_entries

        text = _read(path)
        rest = without_entries(text, self._is_meant)
        return None if rest == text else _write(path, rest)

    def _is_meant(self, token: str) -> bool:
        from meshnode.config.access_list import is_everybody

        if is_everybody(token) or is_everybody(self._entry):
            return is_everybody(token) and is_everybody(self._entry)
        if token.lower() in (self._entry, self._name.lower()):
            return True
        try:
            return resolve(token, self._client) == self._entry
        except ToolError:
            return False  # a name of nobody


def _read(path: Path) -> str:
    from meshnode.files import read_text

    try:
        return read_text(path) or ""
    except OSError as error:
        raise ToolError(f"cannot read {path}: {error.strerror or error}") from None


def _write(path: Path, text: str) -> Path:
    from meshnode.files import write_whole

    try:
        write_whole(Path(os.path.realpath(path)), text)
    except OSError as error:
        hint = "; it needs the rights of its owner (sudo)" if isinstance(error, PermissionError) else ""
        raise ToolError(f"cannot write {path}: {error.strerror or error}{hint}") from None
    return path
