"""How transports read their section of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self


@dataclass(frozen=True, slots=True)
class Section:
    """Base of what a transport reads from one section; every field has a default.

    `parts` names the fields that are sections of their own.
    """

    parts: ClassVar[Mapping[str, type[Section]]] = {}

    @classmethod
    def from_section(cls, section: object) -> Self:
        """Take the attributes of the same names from `section`; absent and None mean the default."""
        given: dict[str, Any] = {}
        for name in (field.name for field in fields(cls)):
            value = getattr(section, name, None)
            if value is not None:
                given[name] = cls.parts[name].from_section(value) if name in cls.parts else value
        return cls(**given)
