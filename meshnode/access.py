"""The access control list: which nodes may be peers of this one (spec 01 section 10.4, spec 07 section 8).

`peers.allow` is looked at first, `peers.deny` after it; who is in neither is welcome unless `peers.deny` says `ALL`.
The files are read again within a second of every change. A file that is there and cannot be read never opens a door:
what it said last stays in force, and a deny list that could never be read denies everybody who is not allowed by name.
The same holds for the names in it: a denied one that nobody bears any more means whom it meant before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path as File
from typing import Any, Protocol

from meshnode.config.access_list import AccessList, parse
from meshnode.files import FileProblem, WatchedFile
from meshnode.identity import IdentityError, PeerIdentity
from meshnode.mesh.link import Path
from meshnode.mesh.rate_limit import TokenBucket

REMEMBERED = 64
"""Refused nodes that are shown; the one refused longest ago is forgotten first."""

_LINES, _LINES_PER_SECOND, _LINE_GAP = 10, 0.2, 60.0


class Decision(Enum):
    """Why a node is admitted or not; the value is what operators read."""

    ALLOWED = "allowlist match"
    DENIED = "denylist match"
    DEFAULT = "default allow"


class Names(Protocol):
    """Host names and aliases; `generation` changes with them. `never_read` is a hosts file that never could be."""

    @property
    def generation(self) -> int: ...

    @property
    def never_read(self) -> File | None: ...

    def lookup(self, label: str) -> PeerIdentity | None: ...


@dataclass(slots=True)
class Refusal:
    """A node that was not admitted: how often so far, and the circumstances of the last time (Unix time)."""

    identity: PeerIdentity
    context: str
    path: Path
    decision: Decision
    count: int
    when: float
    said_at: float = float("-inf")


class _List:
    """One file and what it means.

    `closes_doors` tells that a name which nobody bears any more goes on meaning whom it meant. `waits_for` is the hosts
    file that has to be read before all names mean somebody.
    """

    def __init__(self, path: File, closes_doors: bool = False) -> None:
        self.file = WatchedFile(path)
        self.entries = AccessList()
        self.identities: dict[bytes, PeerIdentity] = {}
        self.unreadable: str | None = None
        self.waits_for: File | None = None
        self._closes_doors = closes_doors
        self._meant: dict[str, PeerIdentity] = {}
        self._is_suspect = False

    def read(self) -> bool:
        """Read the file if it changed; whether there is something new.

        A list that is suddenly gone or empty may be in the middle of being saved: it counts from the next look on.
        """
        if not self.file.changed() and not self._is_suspect:
            return False
        try:
            text = self.file.read() or ""
            self.unreadable = None
        except FileProblem as problem:
            self.unreadable = str(problem)
            self._is_suspect = False
            return True
        self._is_suspect = not text and not self._is_suspect and bool(self.entries.tokens or self.entries.everybody)
        if not self._is_suspect:
            self.entries = parse(text)
        return not self._is_suspect

    def resolve(self, names: Names) -> Iterator[str]:
        """Find the nodes behind the tokens; yields what is wrong with the file, one line each."""
        if self.unreadable is not None:
            yield f"{self.file.path} cannot be read, what it said before stays in force: {self.unreadable}"
        for line, problem in self.entries.problems:
            yield f"{self.file.path}, line {line}: {problem}"
        before, self._meant, self.waits_for = self._meant, {}, None
        for token, line in self.entries.tokens.items():
            place = f"{self.file.path}, line {line}"
            try:
                identity = _identity(token, names)
            except IdentityError as error:
                if not self._closes_doors or token not in before:
                    self.waits_for = self.waits_for or names.never_read
                    yield f"{place}: {error}: the line is left out"
                    continue
                identity = before[token]
                yield f"{place}: {error} any more: it goes on denying {identity.npub}, until the line is changed"
            self._meant[token] = identity
        self.identities = {identity.node_addr: identity for identity in self._meant.values()}

    def __bool__(self) -> bool:
        return bool(self.identities)

    def npubs(self) -> list[str]:
        return sorted(identity.npub for identity in self.identities.values())


def _identity(token: str, names: Names) -> PeerIdentity:
    if token.lower().startswith("npub1"):
        return PeerIdentity.from_npub(token)
    found = names.lookup(token)
    if found is None:
        raise IdentityError(f"no node is called {token!r}")
    return found


class AccessControl:
    """The two lists (`Admission`). `seconds` is a monotonic clock, `wall` Unix time.

    `refused(refusal, left_out)` hears of refusals worth a line: each node at most once a minute, all together at a
    bounded rate; `left_out` is how many were passed over since the last one. The driver drains `warnings`.
    """

    def __init__(
        self,
        allow: File,
        deny: File,
        names: Names,
        seconds: Callable[[], float],
        wall: Callable[[], float],
        refused: Callable[[Refusal, int], None],
    ) -> None:
        self._allow, self._deny = _List(allow), _List(deny, closes_doors=True)
        self._names = names
        self._generation = -1
        self._never_read = True
        self._seconds, self._wall = seconds, wall
        self._refused = refused
        self._refusals: OrderedDict[bytes, Refusal] = OrderedDict()
        self._lines = TokenBucket(_LINES, _LINES_PER_SECOND, seconds())
        self._left_out = 0
        self._reported: set[str] = set()
        self.refusals_total = 0
        self.warnings: list[str] = []
        self.refresh()

    # -- decisions

    def decide(self, identity: PeerIdentity) -> Decision:
        """What the lists say about a node."""
        address = identity.node_addr
        if self._allow.entries.everybody or address in self._allow.identities:
            return Decision.ALLOWED
        if self._denies_everybody or address in self._deny.identities:
            return Decision.DENIED
        return Decision.DEFAULT

    def admit(self, identity: PeerIdentity, context: str, path: Path) -> bool:
        """Whether `identity` may be a peer; a refusal is remembered, counted and, at a bounded rate, told."""
        decision = self.decide(identity)
        if decision is Decision.DENIED:
            self._note(identity, context, path, decision)
            return False
        return True

    @property
    def _denies_everybody(self) -> bool:
        return self._deny.entries.everybody or self._unread is not None

    @property
    def _unread(self) -> File | None:
        """The file without which nobody can know who is denied: the list, or the names in it, never yet read."""
        if self._deny.unreadable is not None and self._never_read:
            return self._deny.file.path
        return self._deny.waits_for

    def _note(self, identity: PeerIdentity, context: str, path: Path, decision: Decision) -> None:
        self.refusals_total += 1
        refusal = self._refusals.pop(identity.node_addr, None)
        if refusal is None:
            refusal = Refusal(identity, context, path, decision, 0, 0.0)
        refusal.context, refusal.path, refusal.decision = context, path, decision
        refusal.count += 1
        refusal.when = self._wall()
        self._refusals[identity.node_addr] = refusal
        if len(self._refusals) > REMEMBERED:
            self._refusals.popitem(last=False)
        self._tell(refusal, self._seconds())

    def _tell(self, refusal: Refusal, now: float) -> None:
        if now - refusal.said_at < _LINE_GAP or not self._lines.allow(now):
            self._left_out += 1
            return
        refusal.said_at = now
        left_out, self._left_out = self._left_out, 0
        self._refused(refusal, left_out)

    # -- the files

    def use(self, allow: File, deny: File) -> None:
        """Go by other files from now on; the next `refresh` tells that decisions may be other ones."""
        if (allow, deny) != (self._allow.file.path, self._deny.file.path):
            self._allow, self._deny = _List(allow), _List(deny, closes_doors=True)
            self._never_read = True
            self._generation = -1
            self.refresh()
            self._generation = -1

    def refresh(self) -> bool:
        """Read what changed, names included; whether some decision may be another one than before."""
        changed = [self._allow.read(), self._deny.read()]
        if not any(changed) and self._generation == self._names.generation:
            return False
        self._generation = self._names.generation
        if self._deny.unreadable is None:
            self._never_read = False
        wrong = [*self._allow.resolve(self._names), *self._deny.resolve(self._names), *self._unknown()]
        self.warnings += [line for line in wrong if line not in self._reported]
        self._reported = set(wrong)
        return True

    def _unknown(self) -> Iterator[str]:
        if self._unread is not None:
            yield f"nobody is admitted who is not in {self._allow.file.path}, until {self._unread} can be read"

    # -- for operators

    def mode(self) -> str:
        """The first that applies, in upstream's words."""
        allow, deny = self._allow, self._deny
        return next(
            name
            for name, applies in (
                ("allow_all", allow.entries.everybody),
                ("allow_then_deny_all", bool(allow) and self._denies_everybody),
                ("allow_then_deny", bool(allow) and bool(deny)),
                ("allowlist", bool(allow)),
                ("deny_all", self._denies_everybody),
                ("denylist", bool(deny)),
                ("default_open", True),
            )
            if applies
        )

    def status(self) -> Mapping[str, Any]:
        """What `show_acl` answers (spec 06 section 3.2), with the problems of the files and the latest refusals."""
        allow, deny = self._allow, self._deny
        allow_all, deny_all = allow.entries.everybody, self._denies_everybody
        return {
            "allow_file": str(allow.file.path),
            "deny_file": str(deny.file.path),
            "enforcement_active": allow_all or deny_all or bool(allow) or bool(deny),
            "effective_mode": self.mode(),
            "default_decision": "deny" if deny_all and not allow_all else "allow",
            "allow_all": allow_all,
            "deny_all": deny_all,
            "allow_file_entries": sorted(allow.entries.tokens),
            "deny_file_entries": sorted(deny.entries.tokens),
            "allow_entries": allow.npubs(),
            "deny_entries": deny.npubs(),
            "problems": sorted(self._reported),
            "refusals_total": self.refusals_total,
            "refusals": [_row(refusal) for refusal in reversed(self._refusals.values())],
        }


def _row(refusal: Refusal) -> dict[str, Any]:
    return {
        "npub": refusal.identity.npub,
        "context": refusal.context,
        "decision": refusal.decision.value,
        "transport_id": refusal.path[0],
        "remote_addr": refusal.path[1],
        "count": refusal.count,
        "last_ms": int(refusal.when * 1000),
    }
