"""What is advertised on a local network, where, and who is told what is heard there (spec 04b section 1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from meshnode.identity import PeerIdentity

from .lan_interfaces import LanInterface
from .lan_table import Advert

_INSTANCE_KEY_LETTERS = 16
_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Service:
    """What is advertised everywhere: DNS-SD type, instance, and the TXT record."""

    type: str
    instance: str
    properties: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, own: PeerIdentity, service_type: str, scope: str | None) -> Service:
        """The service of one node. Keys are in lower case: not everybody compares them without regard to case."""
        scopes = () if scope is None else (("scope", scope),)
        properties = (("npub", own.npub), *scopes, ("v", _VERSION))
        return cls(service_type, f"fips-{own.npub[:_INSTANCE_KEY_LETTERS]}", properties)

    @property
    def name(self) -> str:
        return f"{self.instance}.{self.type}"


@dataclass(frozen=True, slots=True)
class Presence:
    """Where we advertise: an interface, and what of it our port is reachable at."""

    interface: LanInterface
    port: int
    addresses: tuple[str, ...]


class LanListener(Protocol):
    """Who is told what is heard; called on the reactor."""

    def seen(self, advert: Advert) -> None:
        """An instance was resolved, or changed."""

    def gone(self, interface: str, instance: str) -> None:
        """An instance said goodbye, or its record ran out."""

    def left(self, interface: str) -> None:
        """We are no longer on this interface."""

    def trouble(self, interface: str, cause: str) -> None:
        """Nothing can be advertised or heard on this interface."""
