"""Which addresses are lent, kept in a file beside the kernel's state, so that a restarted gateway lends them again.

The file lies under /run: like the kernel's tables it does not outlive the machine's restart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from typing import NamedTuple

from meshnode.files import read_text, write_whole

from .conntrack import Flow
from .pool import AddressPool, Lease

RECORD = Path("/run/meshnode/gateway.json")
_MOST_ENTRIES = 65536


class Remembered(NamedTuple):
    """One address that an earlier run lent."""

    virtual: bytes
    mesh: bytes
    name: str


class Record(NamedTuple):
    """What the run before this one had put into the kernel."""

    pool: str
    local: list[str]
    leases: list[Remembered]


class Store:
    """The file at `path`, for one `pool` and the interfaces `local`."""

    def __init__(self, pool: str, local: Sequence[str], path: Path = RECORD) -> None:
        self._pool = pool
        self._local = list(local)
        self._path = path
        self.problem: str | None = None
        """Why the last `save` did not work."""

    def load(self) -> Record | None:
        """What an earlier run left behind; None when there is nothing, or nothing that can be read."""
        try:
            text = read_text(self._path)
            found = json.loads(text) if text is not None else None
            if found is None:
                return None
            leases = [_remembered(entry) for entry in found["leases"][:_MOST_ENTRIES]]
            return Record(str(found["pool"]), [str(name) for name in found["local"]], leases)
        except (OSError, ValueError, KeyError, TypeError, AddressValueError, RecursionError):
            return None

    def save(self, leases: Iterable[Lease]) -> None:
        """Replace the file."""
        entries = [[str(IPv6Address(lease.virtual)), str(IPv6Address(lease.mesh)), lease.name] for lease in leases]
        record = {"pool": self._pool, "local": self._local, "leases": entries}
        try:
            write_whole(self._path, json.dumps(record) + "\n", 0o600)
            self.problem = None
        except OSError as error:
            self.problem = f"cannot write {self._path}: {error.strerror}; mappings will not survive a crash"

    def remove(self) -> None:
        """Forget: this run ended in good order."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            self.problem = f"cannot remove {self._path}: {error.strerror}"


def restore(pool: AddressPool, remembered: Iterable[Remembered], flows: Iterable[Flow], now: float) -> int:
    """Lend again what was lent: as remembered, and what live connections show. Returns how many mappings came back."""
    before = len(pool.leases)
    for virtual, mesh, name in remembered:
        pool.restore(virtual, mesh, name, now)
    for flow in flows:
        if flow.answered_by[0] == 0xFD:
            pool.restore(flow.destination, flow.answered_by, "", now)
    return len(pool.leases) - before


def _remembered(entry: list[str]) -> Remembered:
    virtual, mesh, name = entry
    return Remembered(IPv6Address(virtual).packed, IPv6Address(mesh).packed, str(name))
