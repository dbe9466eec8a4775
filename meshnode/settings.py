"""From the configuration file's sections to the settings of the mesh machines, by equal names."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from meshnode.mesh.settings import MeshSettings

Target = TypeVar("Target")


def mesh_settings(section: object) -> MeshSettings:
    """Copy the `node` section onto the settings classes; every field has a key of the same name."""
    return _copied(section, MeshSettings)


def _copied(section: object, target: type[Target]) -> Target:
    hints = get_type_hints(target)
    values: dict[str, Any] = {}
    for field in fields(target):  # type: ignore[arg-type]
        value = getattr(section, field.name)
        hint = hints[field.name]
        values[field.name] = _copied(value, hint) if isinstance(hint, type) and is_dataclass(hint) else value
    return target(**values)
