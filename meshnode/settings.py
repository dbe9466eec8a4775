"""From the configuration file's sections to what the parts of a node take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, get_type_hints

from meshnode.config.schema import Config, PeerSection
from meshnode.config.validate import skipped_peers
from meshnode.identity import IdentityError, PeerIdentity
from meshnode.mesh.settings import MeshSettings
from meshnode.node.peering import PeerAddress, PeerConfig

Target = TypeVar("Target")


def mesh_settings(section: object) -> MeshSettings:
    """Copy the `node` section onto the settings classes; every field has a key of the same name."""
    return _copied(section, MeshSettings)


def configured_peers(config: Config, own: PeerIdentity, warn: Callable[[str], None]) -> list[PeerConfig]:
    """The peers of a file, each once; one that is this node itself is passed over with a warning.

    Entries with the same key are one peer (spec 05 section 5.18): with the addresses of all of them, and for the rest
    as the last one says.
    """
    peers: dict[bytes, PeerConfig] = {}
    for section in config.peers:
        try:
            identity = PeerIdentity.from_npub(section.npub)
        except IdentityError:
            continue  # `advice` names it, with its place in the file
        if identity == own:
            warn(f"peer {section.alias or identity.short_npub} is this node itself and is passed over")
            continue
        peer = _peer_config(identity, section)
        peers[identity.node_addr] = _merged(peers.get(identity.node_addr, peer), peer)
    return list(peers.values())


def _merged(first: PeerConfig, last: PeerConfig) -> PeerConfig:
    addresses = dict.fromkeys([*first.addresses, *last.addresses])
    return replace(last, addresses=list(addresses), alias=last.alias or first.alias)


def passed_over(config: Config, own: PeerIdentity) -> list[str]:
    """A line for each peer of a file that will never be a peer."""
    lines = list(skipped_peers(config.peers))
    configured_peers(config, own, lines.append)
    return lines


def _peer_config(identity: PeerIdentity, section: PeerSection) -> PeerConfig:
    return PeerConfig(
        identity,
        [PeerAddress(address.transport, address.addr, address.priority) for address in section.addresses],
        section.alias,
        section.connect_policy == "auto_connect",
        section.auto_reconnect,
    )


def aliases(peers: list[PeerConfig]) -> list[tuple[str, PeerIdentity]]:
    """The names of those that have one."""
    return [(peer.alias, peer.identity) for peer in peers if peer.alias is not None]


def _copied(section: object, target: type[Target]) -> Target:
    hints = get_type_hints(target)
    values: dict[str, Any] = {}
    for field in fields(target):  # type: ignore[arg-type]
        value = getattr(section, field.name)
        hint = hints[field.name]
        values[field.name] = _copied(value, hint) if isinstance(hint, type) and is_dataclass(hint) else value
    return target(**values)
