"""Names for nodes: aliases of configured peers, overlaid by a watched hosts file (spec 02 sections 14.2-14.3, 07 7)."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from re import compile as compile_pattern

from meshnode.identity import IdentityError, PeerIdentity

_MAX_FILE = 1 << 20
_MAX_NAME = 63
_NAME = compile_pattern(r"[A-Za-z0-9-]+")

_Signature = tuple[int, int, int] | str | None


class HostsError(ValueError):
    """A hosts file that cannot be read as a whole; the text says why."""


def default_hosts_path(platform: str = sys.platform) -> Path:
    """Return where the hosts file lies unless the operator says otherwise."""
    prefix = "/usr/local/etc" if platform == "darwin" or platform.startswith("freebsd") else "/etc"
    return Path(prefix, "fips", "hosts")


def host_name_problem(name: str) -> str | None:
    """Return why `name` cannot be a host name of the mesh, or None when it can."""
    if not 1 <= len(name) <= _MAX_NAME:
        return f"the name has {len(name)} characters, 1 to {_MAX_NAME} are allowed"
    if not _NAME.fullmatch(name):
        return f"the name {name!r} may hold only letters, digits and hyphens"
    if name.startswith("-") or name.endswith("-"):
        return f"the name {name!r} may not begin or end with a hyphen"
    if name.lower().startswith("npub1"):
        return f"the name {name!r} would be taken for an npub"
    return None


class HostMap:
    """Host names to identities and back.

    `path` is the hosts file or None for none. The driver drains `warnings` after construction and after each `refresh`;
    a line that stays wrong is reported once.
    """

    def __init__(self, path: Path | str | None, aliases: Iterable[tuple[str, PeerIdentity]] = ()) -> None:
        self.path = None if path is None else Path(path)
        self.warnings: list[str] = []
        self._aliases: dict[str, PeerIdentity] = {}
        self._file: dict[str, PeerIdentity] = {}
        self._signature: _Signature = None
        self._reported: set[str] = set()
        self._by_name: dict[str, PeerIdentity] = {}
        self._by_addr: dict[bytes, str] = {}
        self.set_aliases(aliases)
        self.refresh()

    def __len__(self) -> int:
        return len(self._by_name)

    def lookup(self, label: str) -> PeerIdentity | None:
        """Return the node called `label`, in any case, or None."""
        return self._by_name.get(label.lower())

    def name_of(self, node_addr: bytes) -> str | None:
        """Return the host name of a NodeAddr, the one defined last when it has several, or None."""
        return self._by_addr.get(node_addr)

    def set_aliases(self, aliases: Iterable[tuple[str, PeerIdentity]]) -> None:
        """Replace the names that come from the configuration; unusable ones are left out with a warning."""
        self._aliases = {}
        for alias, peer in aliases:
            problem = host_name_problem(alias)
            if problem is None:
                _define(self._aliases, alias, peer)
            else:
                self._report(f"alias {alias!r}", f"the alias {alias!r} gets no .fips name: {problem}")
        self._merge()

    def refresh(self) -> bool:
        """Read the file again if it changed, appeared or vanished since last time; tell whether it did."""
        if self.path is None:
            return False
        signature = _signature(self.path)
        if signature == self._signature:
            return False
        self._signature = signature
        still_wrong = {key for key in self._reported if key.startswith("alias ")}
        known = {peer.npub: peer for peer in self._file.values()}
        self._file = {}
        for problem_key, text in self._read(signature, known):
            still_wrong.add(problem_key)
            self._report(problem_key, text)
        self._reported &= still_wrong
        self._merge()
        return True

    def _read(self, signature: _Signature, known: dict[str, PeerIdentity]) -> Iterator[tuple[str, str]]:
        """Fill the file's map; yield (what it is about, warning) for every problem."""
        if self.path is None or signature is None:
            return
        try:
            text = _load(self.path, signature)
        except HostsError as error:
            yield f"file {error}", f"{self.path} is ignored: {error}"
            return
        for number, line in enumerate(text.split("\n"), 1):
            problem = self._line(line, known)
            if problem is not None:
                yield f"line {line.strip()}", f"{self.path}, line {number}: {problem}"

    def _line(self, line: str, known: dict[str, PeerIdentity]) -> str | None:
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            return None
        if len(fields) != 2:
            return f"expected a host name and an npub, found {len(fields)} fields (comments need a line of their own)"
        name, npub = fields
        problem = host_name_problem(name)
        if problem is not None:
            return problem
        try:
            peer = known.get(npub) or PeerIdentity.from_npub(npub)
        except IdentityError as error:
            return f"{name} is left out: {error}"
        _define(self._file, name, peer)
        return None

    def _report(self, key: str, text: str) -> None:
        if key not in self._reported:
            self._reported.add(key)
            self.warnings.append(text)

    def _merge(self) -> None:
        merged = dict(self._aliases)
        for name, peer in self._file.items():
            _define(merged, name, peer)
        self._by_name = merged
        self._by_addr = {peer.node_addr: name for name, peer in merged.items()}


def _define(names: dict[str, PeerIdentity], name: str, peer: PeerIdentity) -> None:
    """Make `name` the newest entry, so that the reverse map prefers it."""
    name = name.lower()
    names.pop(name, None)
    names[name] = peer


def _signature(path: Path) -> _Signature:
    """Return what changes when the file does, None when there is none, or a text that says why it cannot be used."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return _reason(error)
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    return status.st_mtime_ns, status.st_ino, status.st_size


def _load(path: Path, signature: _Signature) -> str:
    """Return the text of the file; raise `HostsError` when there is none to be had."""
    if isinstance(signature, str):
        raise HostsError(signature)
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_FILE + 1)
        if len(content) > _MAX_FILE:
            raise HostsError(f"it is larger than {_MAX_FILE} bytes")
        return content.decode()
    except OSError as error:
        raise HostsError(_reason(error)) from None
    except UnicodeDecodeError as error:
        raise HostsError(f"it is not UTF-8 text (byte {error.start})") from None


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
