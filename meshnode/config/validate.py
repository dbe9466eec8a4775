"""Checks across keys (spec 05 section 6), our own refusals, and advice about what will not work as written."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from meshnode.config.errors import ConfigError, Place, Problem
from meshnode.config.meant import senseless_numbers
from meshnode.config.operator_sections import MESH
from meshnode.config.schema import Config, PeerSection
from meshnode.config.transport_sections import UdpSection, instance_path
from meshnode.config.yaml12 import clip
from meshnode.identity import IdentityError, PeerIdentity

CONTEXT: Final = "Failed to create node: config error: invalid configuration: "
NO_PLACES: Final[Mapping[str, Place]] = MappingProxyType({})
REKEY_JITTER_SECS: Final = 15
SIGNAL_TOLERANCE_SECS: Final = 120
MOST_OFFERS_PER_NPUB: Final = 2**61 - 1
MOST_PENDING_PER_FLOW: Final = 64
SMALLEST_MTU: Final = 78
SMALLEST_TUN_MTU: Final = 1280
_SERVICE_TYPE: Final = re.compile(r"_[A-Za-z0-9](?:[A-Za-z0-9-]{0,13}[A-Za-z0-9])?\._(?:udp|tcp)\.local\.")
_LOOPBACK_HOSTS: Final = frozenset({"localhost", "::1", "0:0:0:0:0:0:0:1"})


class Fault(NamedTuple):
    """One broken rule: the key to blame and what to say about it."""

    key: str
    text: str


Check = Callable[[Config], Iterator[Fault]]


def validate(config: Config, places: Mapping[str, Place] = NO_PLACES) -> None:
    """Raise `ConfigError` for the first broken rule."""
    for error in broken_rules(config, places):
        raise error


def broken_rules(config: Config, places: Mapping[str, Place] = NO_PLACES) -> Iterator[ConfigError]:
    """Every broken rule: those of every implementation in order, then our own."""
    for problem, checks in _CHECKS.items():
        for check in checks:
            for fault in check(config):
                yield ConfigError(problem, fault.text + where(fault.key, places), key="", context=CONTEXT)


def where(key: str, places: Mapping[str, Place]) -> str:
    """Say in which file and line `key` stands, in a form to append; nothing when that is not known."""
    place = places.get(key)
    return f" ({key} in {place.file} line {place.line})" if place else ""


def is_loopback(address: str) -> bool:
    """Whether `host:port` or `[host]:port` names this machine itself; no name is looked up."""
    if address.startswith("["):
        return address[1:].partition("]")[0] == "::1"
    host = address.rpartition(":")[0]
    return host in _LOOPBACK_HOSTS or host.startswith("127.")


def _named(npub: str) -> str:
    return "a secret key" if npub.lower().startswith("nsec1") else clip(npub, 70)


def _udp(config: Config) -> Iterator[tuple[str, str, UdpSection]]:
    for name, section in config.transports.udp.items():
        yield instance_path("udp", name), clip(name or "(unnamed)"), section


def _adverts_need_nostr(config: Config) -> Iterator[Fault]:
    if config.node.rendezvous.nostr.enabled:
        return
    for kind in ("udp", "tcp", "tor"):
        for name, section in getattr(config.transports, kind).items():
            if section.advertised:
                key = f"{instance_path(kind, name)}.advertise_on_nostr"
                yield Fault(
                    key,
                    "at least one transport has `advertise_on_nostr = true`, but `node.rendezvous.nostr.enabled` "
                    f"is false: set {key} to false or enable Nostr",
                )


def _peers_need_nostr(config: Config) -> Iterator[Fault]:
    for number, peer in enumerate(config.peers):
        if peer.via_nostr and not config.node.rendezvous.nostr.enabled:
            yield Fault(
                f"peers[{number}].via_nostr",
                "at least one peer has `via_nostr = true`, but `node.rendezvous.nostr.enabled` is false: "
                f"remove peers[{number}].via_nostr or enable Nostr",
            )


def _peers_need_addresses(config: Config) -> Iterator[Fault]:
    for number, peer in enumerate(config.peers):
        if not peer.addresses and not peer.via_nostr:
            yield Fault(
                f"peers[{number}]",
                f"peers[{number}] ({_named(peer.npub)}): must specify at least one address, or set `via_nostr: true`",
            )


def _nat_adverts(config: Config) -> Iterator[Fault]:
    nostr = config.node.rendezvous.nostr
    if not nostr.enabled or not any(udp.advertised and not udp.public for _, _, udp in _udp(config)):
        return
    for name in ("dm_relays", "stun_servers"):
        if not getattr(nostr, name):
            key = f"node.rendezvous.nostr.{name}"
            yield Fault(key, f"NAT UDP advert publishing requires `{key}` to name at least one server")


def _native_api(config: Config) -> Iterator[Fault]:
    api, section = config.node.native_api, "node.native_api"
    if api.backlog < 1:
        yield Fault(f"{section}.backlog", f"{section}.backlog is 0: write 1 or more, or no flow is ever admitted")
    if not 1 <= api.pending_per_flow <= MOST_PENDING_PER_FLOW:
        yield Fault(
            f"{section}.pending_per_flow",
            f"{section}.pending_per_flow is {api.pending_per_flow}: write 1 to {MOST_PENDING_PER_FLOW}",
        )


def _loopback_bind(config: Config) -> Iterator[Fault]:
    addresses = [a for peer in config.peers for a in peer.addresses if a.transport == "udp"]
    if all(is_loopback(a.addr) for a in addresses):
        return
    for path, shown, udp in _udp(config):
        if not udp.outbound_only and is_loopback(udp.bind_addr):
            yield Fault(
                f"{path}.bind_addr",
                f"transports.udp[{shown}].bind_addr is loopback ({udp.bind_addr}) while a peer has an address on "
                "another host: bind 0.0.0.0 or [::], or set outbound_only",
            )


def _qualified_addresses(config: Config) -> Iterator[Fault]:
    for number, peer in enumerate(config.peers):
        for index, address in enumerate(peer.addresses):
            kind, instance = split_transport(address.transport)
            if instance is None or (kind == "udp" and instance in config.transports.udp):
                continue
            reason = f"there is no transports.udp.{instance}" if kind == "udp" else f"{kind} takes no instance name"
            yield Fault(
                f"peers[{number}].addresses[{index}].transport",
                f"peer `{_named(peer.npub)}` has address `{clip(address.addr)}` on `{clip(address.transport)}`, "
                f"but {clip(reason)}: write `{clip(kind)}` alone or the name of an instance",
            )


def split_transport(text: str) -> tuple[str, str | None]:
    """Type and instance of a peer address; without a complete qualifier the whole text is the type."""
    kind, _, instance = text.partition("/")
    return (kind, instance) if kind and instance else (text, None)


def _rekey(config: Config) -> Iterator[Fault]:
    rekey = config.node.rekey
    if rekey.after_messages == 0:
        yield Fault(
            "node.rekey.after_messages",
            "`node.rekey.after_messages` must be at least 1: a very large number switches this trigger off",
        )
    if rekey.after_secs <= REKEY_JITTER_SECS:
        yield Fault(
            "node.rekey.after_secs",
            f"`node.rekey.after_secs` is {rekey.after_secs}, but must be greater than {REKEY_JITTER_SECS}, "
            "by which each session shifts its rekeys",
        )


def _rates(config: Config) -> Iterator[Fault]:
    limits = config.node.rate_limit
    for pair in ("established_handshake", "session_setup"):
        burst, rate = getattr(limits, f"{pair}_burst"), getattr(limits, f"{pair}_rate")
        key = f"node.rate_limit.{pair}"
        if burst == 0:
            yield Fault(f"{key}_burst", f"`{key}_burst` is 0, which would refuse everything: write 1 or more")
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            shown = "NaN" if math.isnan(rate) else f"{rate:g}"
            yield Fault(f"{key}_rate", f"`{key}_rate` is {shown}: write a number greater than 0")


def _nostr_windows(config: Config) -> Iterator[Fault]:
    nostr, section = config.node.rendezvous.nostr, "node.rendezvous.nostr"
    if nostr.signal_ttl_secs + SIGNAL_TOLERANCE_SECS >= nostr.replay_window_secs:
        yield Fault(
            f"{section}.signal_ttl_secs",
            f"`{section}.signal_ttl_secs` is {nostr.signal_ttl_secs}: with {SIGNAL_TOLERANCE_SECS} added it must stay "
            f"below replay_window_secs, which is {nostr.replay_window_secs}",
        )
    offers = nostr.max_concurrent_offers_per_npub
    if not 1 <= offers <= MOST_OFFERS_PER_NPUB:
        yield Fault(
            f"{section}.max_concurrent_offers_per_npub",
            f"`{section}.max_concurrent_offers_per_npub` is {offers}: write 1 to {MOST_OFFERS_PER_NPUB}",
        )


def _no_tick(config: Config) -> Iterator[Fault]:
    if config.node.tick_interval_secs == 0:
        yield Fault("node.tick_interval_secs", "`node.tick_interval_secs` is 0: write 1 or more")


def _no_queue(config: Config) -> Iterator[Fault]:
    used = {"packet_channel": True, "tun_channel": config.tun.enabled, "dns_channel": config.dns.enabled}
    for name, in_use in used.items():
        if in_use and getattr(config.node.buffers, name) == 0:
            yield Fault(f"node.buffers.{name}", f"`node.buffers.{name}` is 0: write 1 or more")


def _small_mtu(config: Config) -> Iterator[Fault]:
    for kind, name, section in config.transports.each():
        path, mtu = instance_path(kind, name), getattr(section, "mtu", None)
        if mtu is not None and mtu < SMALLEST_MTU:
            yield Fault(
                f"{path}.mtu",
                f"`{path}.mtu` is {mtu}, which leaves no room for a packet: write {SMALLEST_MTU} or more",
            )
    if config.tun.enabled and config.tun.mtu < SMALLEST_TUN_MTU:
        yield Fault("tun.mtu", f"`tun.mtu` is {config.tun.mtu}, but IPv6 needs {SMALLEST_TUN_MTU}: write that or more")


def _shared_ports(config: Config) -> Iterator[Fault]:
    taken: dict[str, str] = {}
    for path, _, udp in _udp(config):
        address = udp.effective_bind_addr
        if address in taken:
            yield Fault(
                f"{path}.bind_addr",
                f"`{path}.bind_addr` is {clip(address)}, which {taken[address]} uses already: give it another port",
            )
        if not address.endswith(":0"):
            taken[address] = path


def _service_type(config: Config) -> Iterator[Fault]:
    lan, key = config.node.rendezvous.lan, "node.rendezvous.lan.service_type"
    if lan.enabled and _SERVICE_TYPE.fullmatch(lan.service_type) is None:
        yield Fault(
            key, f"`{key}` is {clip(lan.service_type)}: write a DNS-SD type such as _fips._udp.local., dot included"
        )


def _web_on_the_mesh(config: Config) -> Iterator[Fault]:
    web, section = config.meshnode.web, "meshnode.web"
    if not web.enabled:
        return
    if web.listen.host == MESH and not config.tun.enabled:
        yield Fault(f"{section}.listen", f"`{section}.listen` is {web.listen}, but there is no TUN: set tun.enabled")
    if web.listen.host == MESH and not web.allow:
        yield Fault(f"{section}.allow", f"`{section}.allow` is empty: name the npubs that may see the page")
    for number, npub in enumerate(web.allow):
        try:
            PeerIdentity.from_npub(npub)
        except IdentityError as error:
            yield Fault(f"{section}.allow", f"`{section}.allow[{number}]` is not a public key: {error}")


def _shared_interfaces(config: Config) -> Iterator[Fault]:
    taken: dict[tuple[str, int], str] = {}
    for name, ethernet in config.transports.ethernet.items():
        path, wire = instance_path("ethernet", name), (ethernet.interface, ethernet.ethertype)
        if wire in taken:
            yield Fault(
                f"{path}.interface",
                f"`{path}.interface` is {clip(ethernet.interface)}, which {taken[wire]} uses already: remove one "
                "of the two or give it another ethertype",
            )
        taken[wire] = path


_CHECKS: Final[Mapping[Problem, tuple[Check, ...]]] = {
    "validation": (
        _adverts_need_nostr,
        _peers_need_nostr,
        _peers_need_addresses,
        _nat_adverts,
        _native_api,
        _loopback_bind,
        _qualified_addresses,
        _rekey,
        _rates,
        _nostr_windows,
    ),
    "policy": (_no_tick, _no_queue, _small_mtu, _shared_ports, _shared_interfaces, _service_type, _web_on_the_mesh),
}


def advice(config: Config) -> list[str]:
    """Warnings, one line each, about settings that load but do not do what one would expect."""
    return [
        *skipped_peers(config.peers),
        *_repeated_peers(config.peers),
        *senseless_numbers(config),
        *_timed_oddly(config),
        *_overridden(config),
    ]


def skipped_peers(peers: list[PeerSection]) -> Iterator[str]:
    """A line for each peer whose key is none, so that nobody will ever dial it."""
    for number, peer in enumerate(peers):
        try:
            PeerIdentity.from_npub(peer.npub)
        except IdentityError as error:
            reason = "it is a secret key; a peer is named by its npub" if "secret" in _named(peer.npub) else str(error)
            yield f"peers[{number}].npub is not a public key, the peer is skipped: {reason}"


def _repeated_peers(peers: list[PeerSection]) -> Iterator[str]:
    first: dict[str, int] = {}
    for number, peer in enumerate(peers):
        known = first.setdefault(peer.npub.lower(), number)
        if known != number:
            yield (
                f"peers[{number}] is the same node as peers[{known}]: they count as one, with the addresses of both "
                "and otherwise as the last one says; write it once"
            )


def _timed_oddly(config: Config) -> Iterator[str]:
    heartbeat, dead = config.node.heartbeat_interval_secs, config.node.link_dead_timeout_secs
    if heartbeat >= dead > 0:
        yield (
            f"node.heartbeat_interval_secs is {heartbeat}: links without traffic do not last, because "
            f"node.link_dead_timeout_secs is {dead}; write less, such as a third of that"
        )
    if config.dns.ttl > config.node.cache.coord_ttl_secs:
        yield "dns.ttl is longer than node.cache.coord_ttl_secs: names may outlive the routes behind them"


def _overridden(config: Config) -> Iterator[str]:
    local = config.meshnode.gateway
    if local.embedded and not local.proxy and (config.gateway is None or not config.gateway.enabled):
        yield "meshnode.gateway.embedded has no effect: gateway.enabled is not true"
    for path, _, udp in _udp(config):
        if udp.outbound_only and udp.bind_addr != type(udp)().bind_addr:
            yield f"{path}.bind_addr is ignored because outbound_only is true"
