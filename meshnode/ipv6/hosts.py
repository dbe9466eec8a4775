"""Names for nodes: aliases of configured peers, overlaid by a watched hosts file (spec 02 sections 14.2-14.3, 07 7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from re import compile as compile_pattern

from meshnode.files import FileProblem, WatchedFile
from meshnode.identity import IdentityError, PeerIdentity

_MAX_NAME = 63
_NAME = compile_pattern(r"[A-Za-z0-9-]+")


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
    a line that stays wrong is reported once. `generation` is another number whenever names may have changed. A file
    that cannot be read any more goes on meaning what it said; `never_read` is the path of one that never could be.
    """

    def __init__(self, path: Path | str | None, aliases: Iterable[tuple[str, PeerIdentity]] = ()) -> None:
        self._watched = None if path is None else WatchedFile(Path(path))
        self.warnings: list[str] = []
        self.generation = 0
        self.never_read: Path | None = None
        self._was_read = False
        self._aliases: dict[str, PeerIdentity] = {}
        self._file: dict[str, PeerIdentity] = {}
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
            self.call(alias, peer)
        self._merge()

    def call(self, name: str, peer: PeerIdentity) -> None:
        """Add an alias; one that is no host name gets a warning and no name."""
        problem = host_name_problem(name)
        if problem is not None:
            self._report(f"alias {name!r}", f"the alias {name!r} gets no .fips name: {problem}")
            return
        _define(self._aliases, name, peer)
        self._merge()

    def forget(self, peer: PeerIdentity) -> None:
        """Remove the aliases of a peer; what the file calls it stays."""
        self._aliases = {name: known for name, known in self._aliases.items() if known != peer}
        self._merge()

    def refresh(self) -> bool:
        """Read the file again if it changed, appeared or vanished since last time; tell whether it did."""
        if self._watched is None or not self._watched.changed():
            return False
        still_wrong = {key for key in self._reported if key.startswith("alias ")}
        for problem_key, text in self._read(self._watched):
            still_wrong.add(problem_key)
            self._report(problem_key, text)
        self._reported &= still_wrong
        self._merge()
        return True

    def _read(self, file: WatchedFile) -> Iterator[tuple[str, str]]:
        """Fill the file's map; yield (what it is about, warning) for every problem."""
        try:
            text = file.read() or ""
        except FileProblem as error:
            self.never_read = None if self._was_read else file.path
            what = "what it said before stays in force" if self._was_read else "it is ignored"
            yield f"file {error}", f"{file.path} cannot be read, {what}: {error}"
            return
        self.never_read, self._was_read = None, True
        known, self._file = {peer.npub: peer for peer in self._file.values()}, {}
        for number, line in enumerate(text.split("\n"), 1):
            problem = self._line(line, known)
            if problem is not None:
                yield f"line {line.strip()}", f"{file.path}, line {number}: {problem}"

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
        self.generation += 1
        self._by_name = merged
        self._by_addr = {peer.node_addr: name for name, peer in merged.items()}


def _define(names: dict[str, PeerIdentity], name: str, peer: PeerIdentity) -> None:
    """Make `name` the newest entry, so that the reverse map prefers it."""
    name = name.lower()
    names.pop(name, None)
    names[name] = peer
