"""From files to a `Config` (spec 05 sections 1, 2, 3 and 7)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from meshnode.config.document import compose
from meshnode.config.errors import ConfigError, Place, os_error_text
from meshnode.config.keys import Reader, Values, build, leaves, overlay
from meshnode.config.rendezvous_sections import DiscoverySection
from meshnode.config.schema import Config
from meshnode.config.yaml12 import Cursor
from meshnode.files import open_regular
from meshnode.paths import SYSTEM_DIRECTORY, companion_directory, machine_directory, search_list

LARGEST_FILE: Final = 4 * 1024 * 1024
_CHECKED_RATES: Final = frozenset({"node.rate_limit.established_handshake_rate", "node.rate_limit.session_setup_rate"})
_SOCKET_KEYS: Final = ("node.control.socket_path", "node.native_api.socket_path")
_FOLDED_SECTIONS: Final = ("nostr", "lan")


class Loaded(NamedTuple):
    """What loading gives: `paths` are absolute, in the order read; `places` says where each key was set."""

    config: Config
    paths: list[Path]
    warnings: list[str]
    places: Mapping[str, Place]


def load(
    path: Path | None,
    environment: Mapping[str, str],
    cwd: Path,
    *,
    system_directory: Path | None = None,
    faults: list[ConfigError] | None = None,
    may_wait: bool = True,
) -> Loaded:
    """Read exactly `path`, or without one every existing file of the search list, higher ones laid over lower ones.

    `system_directory` is that of the machine's own file, by default whichever of the two this machine uses.

    A key of a higher file wins over the same key of a lower one, `false` included. Lists are replaced as a whole; so
    are each transport type, `peers` (by a list with entries) and `gateway`. Raises `ConfigError`. Where `faults` is
    given, what is wrong with single keys is put there instead, and they are as if they were not set.

    A pipe, as `--config <(program)` makes one, is read to its end, however long that takes; without `may_wait` it is
    refused, as a node that runs has more to do than to wait for somebody who writes.
    """
    if path is not None:
        return _load_files([path], cwd, f"Failed to load configuration from {path}", faults, may_wait)
    found = [file for file in search_list(environment, system_directory or machine_directory()) if _exists(cwd / file)]
    return _load_files(found, cwd, "Failed to load configuration", faults, may_wait)


def parse(text: str, file: str = "fips.yaml") -> tuple[Config, list[str]]:
    """Read one file given as text; returns the configuration and the warnings. Raises `ConfigError`."""
    reader = Reader(file)
    config = _finish(_read_text(text, reader), reader)
    return config, reader.warnings


def _load_files(files: list[Path], cwd: Path, context: str, faults: list[ConfigError] | None, may_wait: bool) -> Loaded:
    values: Values = {}
    merged = Reader("")
    for file in files:
        reader = Reader(str(file), faults)
        try:
            values = overlay(values, _read_file(cwd / file, reader, may_wait))
        except ConfigError as error:
            raise error.within(context) from None
        merged.places.update(reader.places)
        merged.warnings += reader.warnings
    config = _finish(values, merged)
    paths = [cwd / file for file in files]
    _place_companions(config, merged.places, companion_directory(paths))
    return Loaded(config, paths, merged.warnings, merged.places)


def _place_companions(config: Config, places: Mapping[str, Place], directory: Path) -> None:
    """Let the files that go with a configuration in our own directory lie there, too, unless it names them."""
    own = config.meshnode
    for section, path, name in (
        (own.access, "meshnode.access", "allow_file"),
        (own.access, "meshnode.access", "deny_file"),
        (own.firewall, "meshnode.firewall", "rules_dir"),
    ):
        if directory != SYSTEM_DIRECTORY and f"{path}.{name}" not in places:
            setattr(section, name, str(directory / Path(getattr(section, name)).name))


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:
        return False


def _read_file(file: Path, reader: Reader, may_wait: bool) -> Values:
    try:
        with open(file, "rb") if may_wait else open_regular(file) as stream:
            content = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise _unreadable(reader, os_error_text(error)) from None
    if len(content) > LARGEST_FILE:
        raise _unreadable(reader, f"larger than {LARGEST_FILE} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise _unreadable(reader, "stream did not contain valid UTF-8") from None
    return _read_text(text, reader)


def _unreadable(reader: Reader, reason: str) -> ConfigError:
    return ConfigError("read", f"failed to read config file {reader.file}: {reason}")


def _read_text(text: str, reader: Reader) -> Values:
    try:
        root = compose(text, reader.file)
        if root is None:
            return {}
        values = reader.section(Cursor(root, ""), Config)
    except ConfigError as error:
        raise error.within(f"failed to parse config file {reader.file}") from None
    if not values.get("peers"):
        values.pop("peers", None)
    _fold_discovery(values.get("node", {}), reader)
    return values


def _fold_discovery(node: Values, reader: Reader) -> None:
    """Move the keys of the older block to where they live now; they win over new spellings in the same file."""
    old: dict[str, Any] = node.pop("discovery", None) or {}
    if not old:
        return
    reader.warnings.append(
        f"{reader.file} line {reader.places['node.discovery'].line}: node.discovery is an older spelling; "
        "write node.lookup and node.rendezvous"
    )
    for name in DiscoverySection.KEYS.keys() & old.keys():
        section = "rendezvous" if name in _FOLDED_SECTIONS else "lookup"
        node.setdefault(section, {})[name] = old[name]
        reader.places[f"node.{section}.{name}"] = reader.places[f"node.discovery.{name}"]


def _finish(values: Values, reader: Reader) -> Config:
    config = build(Config, values)
    for name in _SOCKET_KEYS:
        if name in reader.places and _get(values, name) is None:
            reader.warnings.append(f"{name} is null: the default path is used (a file of that name needs quotes)")
    _replace_not_numbers(config, reader)
    return config


def _get(values: Values, path: str) -> Any:
    found: Any = values
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _replace_not_numbers(config: Config, reader: Reader) -> None:
    """Give keys that are not a number their default: a clock must never compare with one (our policy)."""
    for owner, name, path, _ in leaves(config):
        value = getattr(owner, name)
        if isinstance(value, float) and math.isnan(value) and path not in _CHECKED_RATES:
            setattr(owner, name, getattr(type(owner)(), name))
            reader.warnings.append(f"{path} is not a number: the default, {getattr(owner, name)}, is used")
