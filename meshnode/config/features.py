"""What the file may turn on that this version does not have. Whoever adds a feature deletes its row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from meshnode.config.errors import Place
from meshnode.config.keys import closest
from meshnode.config.schema import Config
from meshnode.config.transport_sections import KINDS
from meshnode.config.validate import NO_PLACES, split_transport, where
from meshnode.config.yaml12 import clip


class Missing(NamedTuple):
    """A feature to come: the key that turns it on, whether a configuration does, and what to write instead."""

    key: str
    used: Callable[[Config], bool]
    instead: str


NOT_YET: Final[tuple[Missing, ...]] = (
    Missing("node.rendezvous.nostr.enabled", lambda config: config.node.rendezvous.nostr.enabled, "set it to false"),
    Missing("node.native_api.enabled", lambda config: config.node.native_api.enabled, "set it to false"),
    Missing("peers[].via_nostr", lambda config: any(p.via_nostr for p in config.peers), "give addresses instead"),
)


def unsupported(config: Config, places: Mapping[str, Place] = NO_PLACES) -> list[str]:
    """One line per feature that is turned on but not there; the start stops with them. Empty when all is well."""
    return [
        f"{missing.key} is not available in this version: {missing.instead}{where(missing.key, places)}"
        for missing in NOT_YET
        if missing.used(config)
    ]


def unusable_addresses(config: Config, from_plugins: Iterable[str] = ()) -> list[str]:
    """Warnings about peer addresses of transports that nobody here can dial; they are passed over.

    `from_plugins` names the kinds that plug-ins bring.
    """
    usable = [*KINDS, *from_plugins]
    return [
        f"peers[{number}].addresses[{index}].transport is `{clip(address.transport)}`, which this version cannot dial "
        f"({', '.join(usable)} only): the address is passed over"
        for number, peer in enumerate(config.peers)
        for index, address in enumerate(peer.addresses)
        if split_transport(address.transport)[0] not in usable
    ]


def foreign_transports(config: Config, places: Mapping[str, Place] = NO_PLACES) -> list[str]:
    """Warnings about sections of `transports` that only a plug-in can make sense of, where plug-ins are not known."""
    return [_foreign(kind) + where(f"transports.{kind}", places) for kind in config.transports.others]


def _foreign(kind: str) -> str:
    suggestion = closest(kind, dict.fromkeys(KINDS))
    advice = f"; did you mean `{suggestion}`?" if suggestion else ""
    return f"transports.{clip(kind)} is ignored unless a plug-in brings that transport{advice}"
