"""Who may be a peer: the question the node asks whenever a link is about to begin (spec 01 section 10.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from meshnode.identity import PeerIdentity
from meshnode.mesh.link import Path


class Admission(Protocol):
    """Decides who may be a peer. `meshnode.access` reads it from the operator's files."""

    def admit(self, identity: PeerIdentity, context: str, path: Path) -> bool:
        """Whether `identity` may be a peer; a refusal is noted with `context` and the path it concerns."""

    def refresh(self) -> bool:
        """Look at the files again; whether some decision may be another one than before."""

    def status(self) -> Mapping[str, Any]:
        """What `show_acl` answers (spec 06 section 3.2)."""


class EverybodyAdmitted:
    """No list at all."""

    def admit(self, identity: PeerIdentity, context: str, path: Path) -> bool:
        return True

    def refresh(self) -> bool:
        return False

    def status(self) -> Mapping[str, Any]:
        return {}
