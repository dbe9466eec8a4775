"""Keeps out of memory what Twisted loads at its start and no node uses: a sixth of what a node would weigh."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

UNUSED = ("asyncio.sslproto", "bz2", "http.cookiejar", "locale", "lzma", "pdb", "ssl")
"""Imported as modules, of which something is looked up later or never; they bring HTTP, mail and debugging along."""


def postpone(names: Sequence[str] = UNUSED) -> None:
    """Let modules be loaded when something of them is first used, instead of when they are imported."""
    sys.meta_path.insert(0, _Later(names))


def leave_out_tls() -> None:
    """Let the reactor, which has to be imported after this, do without TLS, whatever is installed.

    Nothing in this process can import OpenSSL from then on.
    """
    if "twisted.internet.reactor" not in sys.modules:
        sys.modules.setdefault("OpenSSL", None)  # type: ignore[arg-type]  # None is how one says that there is none


class _Later:
    """Finds and loads stand-ins for modules, each until it is asked for something."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = set(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # No Loader by name: importlib.abc is itself a module that no node needs.
        return ModuleSpec(fullname, self) if fullname in self._names else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        stand_in = _StandIn(spec.name)
        stand_in._later = self
        return stand_in

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing yet."""

    def load(self, name: str) -> ModuleType:
        """Return the module itself, in the place of its stand-in."""
        if name in self._names:
            self._names.discard(name)
            sys.modules.pop(name, None)
        return import_module(name)


_OF_FILES = frozenset(("__cached__", "__file__", "__path__"))
"""What those look for who only want to know where a module is from; Python's import does."""


class _StandIn(ModuleType):
    _later: _Later

    def __getattr__(self, name: str) -> Any:
        if name in _OF_FILES:
            raise AttributeError(name)
        return getattr(self._later.load(self.__name__), name)
