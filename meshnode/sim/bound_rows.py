"""Every table and queue of a node: how large it may become, what happens then, and which counter tells.

The page docs/reference/bounds.md is written from these rows, and a test walks over nodes under attack: a table that is
in no row, or larger than its row allows, fails it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from meshnode.mesh.link.mtu_probe import COPIES, MAX_RUNGS
from meshnode.mesh.mmp.receiver import MOST_DELAY_SAMPLES
from meshnode.mesh.settings import MeshSettings

NO_LIMIT = 4096
"""What is checked where the settings lift a limit (0): large for any test, small for a leak."""

Limit = Callable[[MeshSettings], int]


class Row(NamedTuple):
    """`paths` are where the table hangs in a node; `bound` says in words what `limit` says in numbers."""

    paths: tuple[str, ...]
    what: str
    bound: str
    limit: Limit
    full: str
    counter: str


def at_most(number: int) -> Limit:
    return lambda _settings: number


def _peers(settings: MeshSettings) -> int:
    return settings.limits.max_peers or NO_LIMIT


def _epochs(settings: MeshSettings) -> int:
    """Current and draining keys of every peer, and those of candidates."""
    return 24 * _peers(settings) + settings.limits.max_pending_inbound


_PEER = "links._table.peers[]"
_SESSION = "sessions._core.sessions[]"

STRANGERS = (
    Row(
        ("links._responder._budget._sources", "links._responder._budget._addresses", "links._responder._budget._peers"),
        "buckets of sources of first messages",
        "3 x 2,048 slots, made at start",
        at_most(2048),
        "sources share slots",
        "`link.rate_limited`",
    ),
    Row(
        (
            "links._table.candidates._by_ephemeral",
            "links._table.candidates._by_identity",
            "links._table.candidates._by_identity[]",
        ),
        "answered first messages nobody proved yet",
        "`node.limits.max_pending_inbound`, 4 per identity, an eighth per source, 30 s",
        lambda s: s.limits.max_pending_inbound,
        "the oldest of the same identity or source gives way, else the oldest",
        "",
    ),
    Row(
        ("links._table.candidates._by_source", "links._table.candidates._by_source[]"),
        "the same by source",
        "as above",
        lambda s: s.limits.max_pending_inbound,
        "as above",
        "",
    ),
    Row(
        ("links._table.candidates._used",),
        "keys of first messages answered before",
        "8,192",
        at_most(8192),
        "the oldest is forgotten; a replay of it makes a candidate that nobody proves",
        "`link.replayed_handshake`",
    ),
    Row(
        ("links._responder._denied",),
        "keys of first messages the access control list refused",
        "1,024",
        at_most(1024),
        "the oldest is forgotten and decrypted once more",
        "`link.acl_denied`",
    ),
)

LINKS = (
    Row(
        ("links._table.peers", "links._table.by_path", "links._table.replies", "router.neighbours", "router._judged"),
        "peers",
        "`node.limits.max_peers`",
        _peers,
        "a proved newcomer is refused",
        "`link.no_room`",
    ),
    Row(
        ("links._table.epochs",),
        "indices and keys frames may come under",
        "current and draining ones (10 s) of peers, and those of candidates",
        _epochs,
        "a peer renews keys at most twice a second",
        "`link.rate_limited`",
    ),
    Row(
        (f"{_PEER}.draining", "links._table.epochs[]"),
        "keys of one peer that still open",
        "those replaced in the last 10 s",
        at_most(40),
        "as above",
        "",
    ),
    Row(
        ("links._table.handshakes",),
        "dials and renewals under way",
        "`node.limits.max_connections` and one per peer",
        lambda s: (s.limits.max_connections + _peers(s)) or NO_LIMIT,
        "the dial is refused",
        "",
    ),
    Row(
        ("links._initiator._cures",),
        "peers started over with because of a replayed handshake",
        "those of the last minute, each of which was a proved peer",
        lambda s: 4 * _peers(s),
        "forgotten after a minute",
        "",
    ),
    Row((f"{_PEER}.alternatives",), "other open paths of a peer", "8", at_most(8), "the oldest is dropped", ""),
    Row(
        (f"{_PEER}.mtu_probe._ladder", f"{_PEER}.mtu_probe._train.sizes"),
        "sizes to try on a path",
        "40",
        at_most(COPIES * MAX_RUNGS),
        "made at once",
        "",
    ),
    Row(
        tuple(
            f"{owner}.measurement.{name}"
            for owner in (_PEER, _SESSION)
            for name in ("quality._rtt_samples", "quality._towards_peer._samples", "quality._towards_us._samples")
        ),
        "samples of round trips and losses",
        "256",
        at_most(256),
        "the oldest is dropped",
        "",
    ),
    Row(
        (f"{_PEER}.measurement.receiver._delays", f"{_SESSION}.measurement.receiver._delays"),
        "samples of one-way delay",
        "`node.mmp.owd_window_size`, 4,096 at most",
        lambda s: min(max(s.mmp.owd_window_size, s.session_mmp.owd_window_size), MOST_DELAY_SAMPLES),
        "the oldest is dropped",
        "",
    ),
    Row(
        ("connections._idle_since", "connections._reopening", "transports._limits"),
        "connections and limits of paths",
        "one per peer's path",
        lambda s: 2 * _peers(s),
        "forgotten with the path",
        "",
    ),
    Row(
        ("connections._better._searches",),
        "peers that may be reached on a better path",
        "one per peer",
        _peers,
        "forgotten with the peer",
        "",
    ),
)

ROUTING = (
    Row(
        ("router.coordinate_cache._entries",),
        "places of other nodes",
        "`node.cache.coord_size`; 8 addresses for each in all; 100 new ones a second from one neighbour",
        lambda s: s.cache.coord_size,
        "the one used longest ago is forgotten; beyond a neighbour's budget nothing is learnt",
        "`refused.places`",
    ),
    Row(
        ("router.coordinate_cache._entries[].coordinates",),
        "one place",
        "128 addresses",
        at_most(128),
        "not kept",
        "",
    ),
    Row(
        (
            "router._withholding._looks[].path",
            "router.neighbours[].position.ancestry",
            "router.neighbours[].position.coordinates",
            "router.tree._ancestry",
            "router.tree.coordinates",
        ),
        "a neighbour's path to the root, and ours",
        "as many entries as an announce of ours has room for on our widest link, at least 35 and at most 128",
        at_most(128),
        "the announce is not accepted",
        "`tree.ancestry_invalid`",
    ),
    Row(
        ("router.lookups.recent", "router.lookups._held"),
        "requests seen lately",
        "4,096 in 10 s; 200 a second from one neighbour",
        at_most(4096),
        "a request of the neighbour with the most gives way",
        "`lookup.req_dedup_cache_full`, `refused.requests`",
    ),
    Row(
        ("router.lookups._relayed._given",),
        "relayed requests answered lately, with whose answers went back",
        "4,096, 8 neighbours of each; 20 s",
        at_most(4096),
        "the oldest is forgotten",
        "",
    ),
    Row(
        ("router.lookups._relayed._held_back", "router.lookups._relayed._given[]", "router.lookups.recent[].doubted"),
        "answers that wait for another neighbour's, and whom they are from",
        "one per request seen lately, 0.25 s",
        at_most(4096),
        "forgotten with the request",
        "",
    ),
    Row(
        ("router.lookups.pending",),
        "lookups of our own",
        "1,024",
        at_most(1024),
        "not started",
        "",
    ),
    Row(
        ("router.lookups.asked",),
        "request numbers of our own",
        "8,192, 30 s",
        at_most(8192),
        "the oldest is forgotten; its answer is too late",
        "`refused.unasked_answers`",
    ),
    Row(
        ("router.lookups._forward_limit._budgets",),
        "budgets of targets per neighbour",
        "1,024",
        at_most(1024),
        "the one used longest ago starts anew",
        "`lookup.req_forward_rate_limited`",
    ),
    Row(
        (
            "router.lookups._forward_limit._repeats._admitted",
            "router.lookups._forward_limit._seconds._admitted",
            "router.signals._intervals._admitted",
        ),
        "when something was last relayed or signalled",
        "4,096",
        at_most(4096),
        "the oldest is forgotten and admitted anew",
        "`refused.signals`",
    ),
    Row(
        ("router.lookups.backoff._failures",),
        "targets that could not be found",
        "4,096",
        at_most(4096),
        "the oldest is forgotten",
        "`lookup.req_backoff_suppressed`",
    ),
    Row(
        ("router._missed",), "targets nobody could be asked for", "256, 15 s", at_most(256), "the oldest is dropped", ""
    ),
    Row(
        ("router._decisions._made", "router._decisions._previous"),
        "next hops decided in this second and the last",
        "4,096 each",
        at_most(4096),
        "all are decided anew",
        "",
    ),
    Row(
        ("router.tree.disputes._times",),
        "peers whose word about their place others contradict",
        "1,024; 30 s after the last time",
        at_most(1024),
        "the one contradicted longest ago is forgotten, and believed once more for a moment",
        "",
    ),
    Row(
        ("router._withholding._looks",),
        "filters compared with the places of those who sent them",
        "one per peer",
        _peers,
        "goes with the peer",
        "",
    ),
    Row(
        ("router.black_holes._records", "router.black_holes._verdicts"),
        "neighbours watched as relays",
        "1,024 and one per peer",
        lambda s: 1024 + _peers(s),
        "those that are gone and were relied on are forgotten, then those given up longest ago",
        "",
    ),
    Row(
        ("router.black_holes._records[]._under_way",),
        "questions of one that may not have arrived yet",
        "64",
        at_most(64),
        "the oldest is not waited for",
        "",
    ),
    Row(("router.tree._review._escapes",), "parents left lately", "3", at_most(3), "the oldest is dropped", ""),
    Row(("forwarding._congested",), "congested peers", "one per peer", _peers, "judged anew every second", ""),
)

SESSIONS = (
    Row(
        ("sessions._core.sessions",),
        "sessions",
        "16,384; beyond half of that, strangers get in at 16 a second through one neighbour",
        at_most(16384),
        "a stranger's request is refused",
        "`session.setup_rate_limited`",
    ),
    Row(
        (
            "sessions._core.half_open._by_link",
            "sessions._core.half_open._by_link[]",
            "sessions._core.half_open._link_of",
        ),
        "those of them that are half-open",
        "4,096; 1,024 through one neighbour; 30 s",
        at_most(4096),
        "the oldest through the same neighbour, else through the busiest, gives way",
        "`session.crowded_out`",
    ),
    Row(
        (f"{_SESSION}.answers", f"{_SESSION}.rekey.armed"),
        "answered requests of one source",
        "8, 3 through one neighbour, 30 s",
        at_most(8),
        "the oldest through the busiest neighbour gives way",
        "`session.rekey_expired`",
    ),
    Row(
        ("sessions._core._deadlines",),
        "times at which sessions want service",
        "a few per session",
        at_most(4 * 16384),
        "dropped when their time comes",
        "",
    ),
    Row(
        ("sessions._core.packets.queues", "sessions._core.datagrams.queues"),
        "destinations for which something waits",
        "`node.session.pending_max_destinations`, 15 s",
        lambda s: s.session.pending_max_destinations,
        "refused",
        "",
    ),
    Row(
        ("sessions._core.packets.queues[].items", "sessions._core.datagrams.queues[].items"),
        "what waits for one",
        "`node.session.pending_packets_per_dest`",
        lambda s: s.session.pending_packets_per_dest,
        "the oldest is dropped",
        "",
    ),
    Row(("sessions._core.early.queues",), "sources whose data came early", "256, 15 s", at_most(256), "refused", ""),
    Row(("sessions._core.early.queues[].items",), "data of one", "16", at_most(16), "the oldest is dropped", ""),
    Row(
        ("sessions._limiter._links",),
        "buckets of neighbours for session requests",
        "4,096, 300 s",
        at_most(4096),
        "the one used longest ago starts anew",
        "`session.setup_rate_limited`",
    ),
    Row(
        ("sessions._limiter._names._admitted",),
        "known sources that asked in the last half second",
        "4,096",
        at_most(4096),
        "the oldest is forgotten and admitted anew",
        "`session.setup_rate_limited`",
    ),
    Row(
        ("identities._heard", "identities._used"),
        "keys behind addresses",
        "`node.cache.identity_size`, and the configured ones",
        lambda s: s.cache.identity_size,
        "one that was never used gives way first",
        "",
    ),
    Row(
        ("ipv6.adapter._ceilings._by_peer",),
        "segment sizes per destination",
        "4,096",
        at_most(4096),
        "the one learnt first is forgotten",
        "",
    ),
    Row(
        ("ipv6.adapter._limiter._last",),
        "when a host was last told that a packet is too big",
        "4,096",
        at_most(4096),
        "the oldest is forgotten",
        "`too_big_limited`",
    ),
    Row(
        ("ipv6._long",),
        "the last long packet per destination, for telling its sender of a narrower way",
        "64",
        at_most(64),
        "the one kept first is forgotten",
        "",
    ),
)

OURSELVES = (
    Row(
        ("identities._pinned", "names.aliases", "peering.known._peers", "peering.retries", "peering._attempts"),
        "configured and discovered peers",
        "those of the configuration, and 1,024 discovered ones",
        at_most(4096),
        "the discovered one heard of longest ago gives way",
        "",
    ),
    Row(
        (
            "peering.known._peers[].wishes",
            "peering.known._peers[].candidates",
            "peering.known._peers[].configured.addresses",
        ),
        "where one of them may be, and who wants it",
        "8 addresses from each source",
        at_most(64),
        "those of the best priority stay",
        "",
    ),
    Row(
        ("events._kept",),
        "events that operators can ask for",
        "512",
        at_most(512),
        "the oldest is dropped",
        "",
    ),
    Row(
        ("events._listeners", "chronicle._counted", "chronicle._limits._admitted"),
        "who watches, and what was said",
        "one per open connection; a fixed set of names",
        at_most(256),
        "connections are refused",
        "",
    ),
    Row(("chronicle._asked._admitted",), "names asked for lately", "4,096", at_most(4096), "the oldest is dropped", ""),
    Row(
        ("chronicle._dismissals",),
        "peers that turned this node away",
        "256",
        at_most(256),
        "the oldest is forgotten, and a later dial of it tells less",
        "",
    ),
)

EMPTIED = (
    Row(
        (
            "links._table.events",
            "links._table.notices",
            "links._table.outbound",
            "router.events",
            "router.outbound",
            "router.lookups.failed",
            "router.lookups.found",
            "sessions._core.events",
            "sessions._core.outbound",
            "ipv6.adapter._coalescer.waiting",
            "ipv6.adapter._coalescer._runs",
            "transports._touched",
        ),
        "what machines put out",
        "emptied before the call returns",
        at_most(64),
        "",
        "",
    ),
)

FIXED = (
    "ports",
    "sessions._on_ack",
    "sessions._on_setup",
    "transports._by_id",
    "router.lookups._settings.attempt_timeouts_secs",
)
"""Made at start and never changed."""

SECTIONS: dict[str, tuple[Row, ...]] = {
    "Strangers": STRANGERS,
    "Links": LINKS,
    "Tree, filters, routes": ROUTING,
    "Sessions and packets": SESSIONS,
    "What the operator wants": OURSELVES,
    "Between machines": EMPTIED,
}
LIMITS: dict[str, Limit] = {path: row.limit for rows in SECTIONS.values() for row in rows for path in row.paths}
