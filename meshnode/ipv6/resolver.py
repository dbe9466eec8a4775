"""Making the machine resolve `.fips` while the node runs, and undoing it (spec 02 section 14.4).

What was arranged is recorded in a file together with the process that did it, so that the next start cleans up after a
node that was killed, and so that two nodes on one machine do not undo each other's work.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.defer import DeferredLock

from meshnode.files import read_text, write_whole
from meshnode.ipv6.commands import Run
from meshnode.ipv6.resolver_backends import (
    ALL,
    AUTOMATIC,
    IN_FILES,
    Backend,
    BackendError,
    Machine,
    Target,
    Unsuitable,
    name_servers,
)

DEFAULT_RECORD = "/run/meshnode/resolver.json"
NONE = "none"
AUTO = "auto"
_OWN_WAY = "resolv-conf"
MODES = (AUTO, NONE, *ALL)
"""What `meshnode.resolver` may say."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt: the backend in force (or `none`) and one line for the operator."""

    backend: str
    message: str


class SystemResolver:
    """Arranges that the machine asks the responder, which listens on `bound`, for names under `.fips`.

    `mode` is one of `MODES`: `auto` tries every automatic backend in order, a name only that one. `root` is where the
    file system begins, `record` (below it) where the winner is noted, `owner` how this process is told from others.
    """

    def __init__(
        self,
        bound: Sequence[tuple[str, int]],
        interface: str,
        run: Run,
        mode: str = AUTO,
        root: Path | str = "/",
        record: str = DEFAULT_RECORD,
        owner: str | None = None,
    ) -> None:
        self._target = Target.of(bound, interface)
        self._mode = mode
        self._machine = Machine(Path(root), run)
        self._record = self._machine.path(record)
        self._owner = owner or _process_token(self._machine, os.getpid()) or f"{os.getpid()}:?"
        self._active: Backend | None = None
        self._lock = DeferredLock()

    async def configure(self) -> Outcome:
        """Clean up after a killed node, then install the first backend that works. Never fails."""
        await self._lock.acquire()
        try:
            return await self._configure()
        finally:
            self._lock.release()

    async def undo(self) -> str | None:
        """Remove what `configure` installed; return a line for the operator when that did not work, else None."""
        await self._lock.acquire()
        try:
            return await self._undo()
        finally:
            self._lock.release()

    async def _configure(self) -> Outcome:
        holder = self._holder()
        if holder is not None:
            return Outcome(NONE, f"another node on this machine (process {holder}) has set up the system resolver")
        complaints = await self._sweep()
        if self._mode == NONE:
            return Outcome(NONE, "; ".join(["the system resolver is left alone, as configured", *complaints]))
        for backend in AUTOMATIC if self._mode == AUTO else (ALL[self._mode],):
            try:
                ours = await backend.install(self._machine, self._target)
            except Unsuitable as reason:
                complaints += [f"{backend.name}: {reason}"] if self._mode != AUTO else []
            except BackendError as error:
                complaints.append(f"{backend.name}: {error}")
            else:
                return self._installed(backend, ours)
        return Outcome(NONE, self._advice(complaints))

    def _installed(self, backend: Backend, ours: bool) -> Outcome:
        if not ours:
            return Outcome(backend.name, f"{backend.name} sends .fips questions to {self._target.bracketed} already")
        self._active = backend
        message = f"the system resolver sends .fips questions to {self._target.bracketed} ({backend.name})"
        entry = {"owner": self._owner, "backend": backend.name, "interface": self._target.interface}
        try:
            write_whole(self._record, json.dumps(entry) + "\n")
        except OSError as error:
            message += f"; {self._record} cannot be written: {error.strerror}"
        return Outcome(backend.name, message)

    async def _undo(self) -> str | None:
        backend, self._active = self._active, None
        if backend is None:
            return None
        problem = await self._remove(backend, self._target.interface)
        self._forget()
        return problem

    async def _sweep(self) -> list[str]:
        """Remove what dead nodes left: what the record names and any marked file, as the record may be lost."""
        record = self._read_record()
        suspects = dict.fromkeys([*IN_FILES, record.get("backend", "")])
        problems = [
            await self._remove(ALL[name], record.get("interface", self._target.interface))
            for name in suspects
            if name in ALL
        ]
        self._forget()
        return [problem for problem in problems if problem]

    async def _remove(self, backend: Backend, interface: str) -> str | None:
        try:
            await backend.remove(self._machine, interface)
        except (BackendError, Unsuitable) as error:
            return f"{backend.name} is still set up: {error}"
        return None

    def _holder(self) -> str | None:
        """Return the process id of another living node that has set up the resolver."""
        owner = self._read_record().get("owner", "")
        pid = owner.partition(":")[0]
        if owner == self._owner or not pid.isdecimal() or _process_token(self._machine, int(pid)) != owner:
            return None
        return pid

    def _forget(self) -> None:
        try:
            self._record.unlink(missing_ok=True)
        except OSError:
            return  # without rights there is none of ours either; a stale one names a dead process and hurts nobody

    def _read_record(self) -> dict[str, str]:
        try:
            entry = json.loads(read_text(self._record) or "{}")
        except (OSError, ValueError):
            return {}
        return {str(key): str(value) for key, value in entry.items()} if isinstance(entry, dict) else {}

    def _advice(self, complaints: list[str]) -> str:
        tried = f" ({'; '.join(complaints)})" if complaints else ""
        own_way = "put `meshnode: {resolver: resolv-conf}` into the configuration file, or "
        forwarder = f"dnsmasq --server=/fips/{self._target.hashed} --rebind-domain-ok=/fips/"
        return (
            f"nothing here makes programs ask {self._target.bracketed} for .fips names{tried}; "
            f"{'' if self._mode == _OWN_WAY else own_way}"
            f"run `{forwarder}` and put `nameserver 127.0.0.1` first in /etc/resolv.conf"
        )


def upstream_servers(root: Path | str = "/", ours: Sequence[tuple[str, int]] = ()) -> list[tuple[str, int]]:
    """Return the name servers of `/etc/resolv.conf` as (address, 53), without those that are our own endpoints."""
    try:
        text = read_text(Path(root) / "etc/resolv.conf") or ""
    except OSError:
        return []
    return [(address, 53) for address in name_servers(text) if (address, 53) not in ours]


def _process_token(machine: Machine, pid: int) -> str | None:
    """Return a text that no other process has, living or dead: process id and start time; None when there is none."""
    try:
        fields = (read_text(machine.path(f"/proc/{pid}/stat")) or "").rpartition(")")[2].split()
    except OSError:
        return None
    return f"{pid}:{fields[19]}" if len(fields) > 19 else None
