"""Writing peers into the configuration file, checked before it is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .client import Client, ToolError


def config_file(node: Client, given: str | None) -> Path:
    """The file to change: the one named, else the last the node has read. Raises `ToolError`.

    The file may be new, its directory may not: a mistyped path would make a tree that no node ever looks into.
    """
    if given is not None:
        file = Path(given)
        if not file.parent.is_dir():
            raise ToolError(f"there is no directory {file.parent}; make it first, or name another file with --file")
        return file
    files = node.ask("show_status").get("config_files") or []
    if not files:
        raise ToolError("the node has read no configuration file; name one with --file")
    return Path(files[-1])


def save_peer(file: Path, npub: str, alias: str | None, transport: str, address: str) -> bool:
    """Write a peer into the file; False when it says so already. Raises `ToolError`."""
    from meshnode.config.peer_edit import with_peer

    def says_so(text: str) -> bool:
        endpoints = _peers(text, file).get(npub, [])
        return (transport, address) in endpoints

    return _change(file, lambda text: with_peer(text, npub, alias, transport, address), says_so)


def drop_peer(file: Path, npub: str) -> bool:
    """Take a peer out of the file; False when it is not in there. Raises `ToolError`."""
    from meshnode.config.peer_edit import without_peer

    return _change(file, lambda text: without_peer(text, npub), lambda text: npub not in _peers(text, file))


def _change(file: Path, edit: Callable[[str], str], is_right: Callable[[str], bool]) -> bool:
    from meshnode.config.peer_edit import EditError
    from meshnode.files import read_text, write_whole

    try:
        text = read_text(file) or ""
        changed = edit(text)
        if changed == text:
            return False
        if not is_right(changed):
            raise EditError("it is written in a way this tool does not understand; change it by hand")
        write_whole(file, changed)
    except EditError as error:
        raise ToolError(f"{file} was not changed: {error}") from None
    except OSError as error:
        raise ToolError(f"{file} cannot be changed: {error.strerror or error}") from None
    return True


def _peers(text: str, file: Path) -> dict[str, list[tuple[str, str]]]:
    """Endpoints by npub, as the node would read the text. Raises `ToolError` for a file it would not take."""
    from meshnode.config.errors import ConfigError
    from meshnode.config.load import parse

    try:
        config, _warnings = parse(text, str(file))
    except ConfigError as error:
        raise ToolError(f"{file} was not changed, the node would not read it: {error}") from None
    endpoints: dict[str, list[tuple[str, str]]] = {}
    for peer in config.peers:
        endpoints.setdefault(peer.npub, []).extend((one.transport, one.addr) for one in peer.addresses)
    return endpoints
