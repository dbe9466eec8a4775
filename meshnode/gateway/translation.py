"""Whether this kernel could translate between IPv4 and IPv6, for hosts that have only the former.

nftables cannot. The one translator for Linux's kernel is the module of Jool, which no distribution's kernel holds; the
gateway does not use it, and says so to whoever has installed it.
"""

from __future__ import annotations

import os
from pathlib import Path

_MODULE = "jool_siit"
_REMEDY = "give them a proxy with meshnode.gateway.proxy"


def why_only_ipv6(system: Path = Path("/")) -> str:
    """One line for the operator of a gateway without a proxy."""
    if _has_translator(system):
        return f"hosts without IPv6 are not served: the gateway does not use this kernel's translator, Jool; {_REMEDY}"
    return f"hosts without IPv6 are not served: this kernel does not translate between IPv4 and IPv6; {_REMEDY}"


def _has_translator(system: Path) -> bool:
    if (system / "sys/module" / _MODULE).exists():
        return True
    modules = system / "lib/modules" / os.uname().release
    return any(_MODULE in _read(modules / name) for name in ("modules.dep", "modules.builtin"))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
