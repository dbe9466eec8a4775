"""Reading the configuration again while the node runs: what can change live does, the rest is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred

from meshnode.access import AccessControl
from meshnode.carriers import Carriers
from meshnode.config.addresses import bad_bind_addresses, bad_peer_addresses
from meshnode.config.errors import ConfigError
from meshnode.config.features import unsupported
from meshnode.config.guard_sections import HooksSection
from meshnode.config.live import is_live
from meshnode.config.load import Loaded
from meshnode.config.plain import PlainReader
from meshnode.config.schema import Config
from meshnode.config.shown import differing, take_over
from meshnode.config.validate import CONTEXT, advice, validate
from meshnode.config.yaml12 import Cursor
from meshnode.gateway.embedded import EmbeddedGateway
from meshnode.hooks import HookError, Hooks
from meshnode.identity import Identity, IdentityError
from meshnode.ipv6.hosts import HostMap
from meshnode.logs import OperatorLog
from meshnode.node.core import Node
from meshnode.node.events import ConfigurationRefused, ConfigurationReloaded
from meshnode.node.peering import PeerConfig
from meshnode.settings import aliases
from meshnode.wire.link import DisconnectReason


@dataclass(slots=True)
class Running:
    """What a reload can reach: the running node, and what the operator's settings shaped around it."""

    config: Config
    node: Node
    log: OperatorLog
    access: AccessControl
    hosts: HostMap
    hooks: Hooks
    carriers: Carriers
    gateway: EmbeddedGateway
    peers_of: Callable[[Config], list[PeerConfig]]


class Reload:
    """Applies what `read()` gives to a running node; `running.config` is what the node goes by at any time."""

    def __init__(self, running: Running, read: Callable[[], Loaded]) -> None:
        self._running = running
        self._read = read

    def __call__(self) -> dict[str, Any]:
        """Read and apply; the keys that took effect, those that wait for a restart, and warnings.

        Raises `ConfigError` when the configuration cannot be used; then nothing has changed.
        """
        events = self._running.node.events
        try:
            loaded = self._read()
            new = loaded.config
            self._keep_identity(new)
            new.transports.inherit(new.node.limits.max_connections)
            validate(new, loaded.places)
            deaf = list(bad_bind_addresses(new))
            if not self._running.carriers.would_run(new, len(deaf)):
                raise ConfigError(
                    "policy", "; ".join([*deaf, "no transport would be left; write transports: {udp: {}}"])
                )
            if missing := unsupported(new, loaded.places):
                raise ConfigError("policy", "; ".join(missing))
            self._running.gateway.check(new, loaded.places)
            applied, waiting = self._apply(new)
        except ConfigError as error:
            events.publish(ConfigurationRefused(str(error).removeprefix(CONTEXT)))
            raise
        self._gateway(loaded)
        hints = self._running.gateway.advice(applied)
        warnings = [*loaded.warnings, *advice(new), *deaf, *bad_peer_addresses(new), *hints]
        for warning in warnings:
            self._running.log("warn", warning, "config")
        events.publish(ConfigurationReloaded(applied, waiting))
        return {"applied": applied, "needs_restart": waiting, "warnings": warnings}

    def _keep_identity(self, new: Config) -> None:
        """The key in use counts as configured: a file without one, or with the same one, changes nothing."""
        ours, section = self._running.config.node.identity, new.node.identity
        if section.nsec is None:
            section.nsec = ours.nsec
            return
        try:
            if Identity.parse(section.nsec).npub == self._running.node.identity.npub:
                section.nsec = ours.nsec
        except IdentityError as error:
            raise ConfigError("identity", f"identity error: {error}", key="node.identity.nsec") from None

    def _apply(self, new: Config) -> tuple[list[str], list[str]]:
        running = self._running
        changed = [*differing(running.config, new), *_plugins_differing(running.config, new)]
        plugins = {f"transports.{kind}" for kind in {*running.config.transports.others, *new.transports.others}}
        waiting = [path for path in changed if path in plugins or not is_live(path)]
        applied = [path for path in changed if path not in waiting]
        if any(path.startswith("meshnode.hooks") for path in applied):
            self._hook(new.meshnode.hooks)  # may be refused, so it comes first
        old_peers = running.peers_of(running.config)
        take_over(running.config, new, set(applied))
        for section, apply in self._appliers(old_peers).items():
            if any(path == section or path.startswith(f"{section}.") for path in applied):
                apply()
        return applied, waiting

    def _appliers(self, old_peers: list[PeerConfig]) -> Mapping[str, Callable[[], None]]:
        """What has to be done when a key of a section changed, beside keeping its new value."""
        return {
            "node.log_level": self._log,
            "meshnode.log.levels": self._log,
            "node.limits": self._settings,
            "node.rate_limit": self._settings,
            "node.retry": self._settings,
            "node.rekey": self._settings,
            "meshnode.access": self._access,
            "transports": self._transports,
            "peers": lambda: self._peers(old_peers, self._running.peers_of(self._running.config)),
        }

    def _hook(self, section: HooksSection) -> None:
        try:
            self._running.hooks.use(section.on_event, section.events)
        except HookError as error:
            raise ConfigError("policy", str(error), key="meshnode.hooks") from None

    def _log(self) -> None:
        config, log = self._running.config, self._running.log
        log.level = config.node.effective_log_level
        log.levels = config.meshnode.log.by_subsystem

    def _settings(self) -> None:
        node, section = self._running.node, self._running.config.node
        for name in ("limits", "rate_limit", "retry", "rekey"):
            _copy(getattr(section, name), getattr(node.settings, name))
        node.run(node.links.limits_changed)

    def _access(self) -> None:
        files = self._running.config.meshnode.access
        self._running.access.use(Path(files.allow_file), Path(files.deny_file))

    def _gateway(self, loaded: Loaded) -> None:
        """At each reload: one that could not start may have got what it lacked."""
        log = self._running.log
        done = ensureDeferred(self._running.gateway.follow(loaded.places))
        done.addCallbacks(
            lambda problem: None if problem is None else log("warn", problem, "config"),
            lambda reason: log("error", f"gateway: {reason.getErrorMessage()}", "config"),
        )

    def _transports(self) -> None:
        done = self._running.carriers.follow()
        done.addErrback(lambda reason: self._running.log("error", f"transports: {reason.getErrorMessage()}", "config"))

    def _peers(self, old: Iterable[PeerConfig], new: Iterable[PeerConfig]) -> None:
        node = self._running.node
        before = {peer.identity.node_addr: peer for peer in old}
        after = {peer.identity.node_addr: peer for peer in new}
        self._running.hosts.set_aliases(aliases(list(after.values())))
        for node_addr in before.keys() - after.keys():
            self._forget(before[node_addr])
        for node_addr, peer in after.items():
            if before.get(node_addr) != peer:
                node.register(peer.identity, peer.alias)
                node.run(partial(node.peering.configure, peer))

    def _forget(self, config: PeerConfig) -> None:
        """A peer is in the file no longer: it is not dialled any more, and a link that we dialled ends."""
        node, identity = self._running.node, config.identity
        node.peering.unconfigure(identity)
        node.links.cancel_dials(identity)
        node.names.aliases.pop(identity.node_addr, None)
        peer = node.links.peers.get(identity.node_addr)
        if peer is not None and not peer.inbound:
            node.peering.disconnect(identity)
            node.run(lambda now: node.links.disconnect(peer, DisconnectReason.CONFIGURATION_CHANGE, now))


def _plugins_differing(old: Config, new: Config) -> Iterator[str]:
    """Sections of transports from plug-ins that are other ones in `new`; those only a restart makes anew."""
    before, after = old.transports.others, new.transports.others
    for kind in sorted(before.keys() | after.keys()):
        if _plain(before.get(kind)) != _plain(after.get(kind)):
            yield f"transports.{kind}"


def _plain(at: Cursor | None) -> Any:
    """What a section says, or what is wrong with it."""
    try:
        return None if at is None else PlainReader().value(at)
    except ConfigError as error:
        return error.reason


def _copy(section: object, settings: Any) -> None:
    for field in fields(settings):
        setattr(settings, field.name, getattr(section, field.name))
