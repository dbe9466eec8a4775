"""A configuration as it may be shown to anybody who may ask: plain values by dotted path, no secret among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from meshnode.config.keys import Instances, Key, Section, leaves
from meshnode.config.schema import Config

HIDDEN: Final = "(not shown)"


def shown(config: Config, *, all_keys: bool = True) -> dict[str, Any]:
    """The keys in the order of the schema; without `all_keys` only those whose value is not the default."""
    return {
        path: _value(owner, name, key)
        for owner, name, path, key in _single(config)
        if all_keys or key.default is None or getattr(owner, name) != key.default()
    }


def differing(old: Config, new: Config) -> Iterator[str]:
    """The dotted paths of the keys that have other values in `new`; a kind of transport counts as one."""
    for (old_owner, name, path, _), (new_owner, *_rest) in zip(leaves(old), leaves(new), strict=True):
        if getattr(old_owner, name) != getattr(new_owner, name):
            yield path


def take_over(old: Config, new: Config, paths: set[str]) -> None:
    """Give `old` the values that `new` has at `paths`."""
    for (old_owner, name, path, _), (new_owner, *_rest) in zip(leaves(old), leaves(new), strict=True):
        if path in paths:
            setattr(old_owner, name, getattr(new_owner, name))


def _single(config: Config) -> Iterator[tuple[Section, str, str, Key]]:
    """Every key, those of each instance of a transport among them."""
    for owner, name, path, key in leaves(config):
        if not isinstance(key.kind, Instances):
            yield owner, name, path, key
            continue
        for instance, section in getattr(owner, name).items():
            yield from leaves(section, path if instance is None else f"{path}.{instance}")


def _value(owner: Section, name: str, key: Key) -> Any:
    value = getattr(owner, name)
    return HIDDEN if key.secret and value else _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return {name: _value(value, name, key) for name, key in value.KEYS.items()}
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):
        return str(value)
    # An nsec where an npub belongs is a mistake that must not be repeated on a screen.
    return HIDDEN if isinstance(value, str) and value.lower().startswith("nsec1") else value
