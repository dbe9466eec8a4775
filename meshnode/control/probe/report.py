"""What a probe found out, as it is told (spec 06 section 7.2)."""

from __future__ import annotations

from typing import Any

from meshnode.mesh.coordinates import Coordinates, common_suffix, distance
from meshnode.mesh.next_hop import RouteClass

from ..view import hex_list, without_unknown
from .job import Job
from .stage import Verdict

_ON_THE_TREE = frozenset((RouteClass.TREE_UP, RouteClass.TREE_DOWN, RouteClass.DIRECT_PEER))


def report(job: Job, now: float, tick: float) -> dict[str, Any]:
    """The report at `now`, also while the probe runs. `tick` is the time between its steps, in seconds."""
    end = now if job.ended_at is None else job.ended_at
    return {
        "probe_id": job.number,
        "elapsed_ms": int((end - job.began) * 1000),
        "tick_ms": int(tick * 1000),
        "overall": overall(job),
        "target": {
            "npub": job.identity.npub,
            "node_addr": job.target.hex(),
            "display_name": job.node.names.display(job.target),
            "ipv6_addr": job.identity.ipv6_text,
        },
        "bloom": {**job.bloom.report(), "fanout": job.fanout},
        "discovery": _discovery(job),
        "path": {**job.path.report(), **_path(job)},
        "session": _session(job),
        "rtt": _rtt(job),
        "cleanup": _cleanup(job),
    }


def overall(job: Job) -> str:
    if job.is_cancelled:
        return "cancelled"
    if not job.is_done:
        return "running"
    if any(stage.verdict is Verdict.FAILED for stage in (job.bloom, job.discovery, job.session)):
        return "failed"
    return "ok" if job.rtt.verdict is Verdict.OK else "partial"


def _discovery(job: Job) -> dict[str, Any]:
    return {
        **job.discovery.report(),
        "source": job.source,
        "attempts": job.attempts,
        "attempt_timeouts_secs": list(job.node.settings.lookup.attempt_timeouts_secs),
    }


def _path(job: Job) -> dict[str, Any]:
    ours, theirs = job.our_coordinates, job.their_coordinates
    known = ours is not None and theirs is not None
    return {
        "computed_locally": True,
        "observed": False,
        "coords_known": theirs is not None,
        "our_coords": hex_list(ours) if known and ours else [],
        "their_coords": hex_list(theirs or []),
        "our_depth": len(ours) - 1 if known and ours else None,
        "their_depth": len(theirs) - 1 if theirs else None,
        "next_hop": _next_hop(job),
        "no_hop_reason": job.no_hop_reason() if job.path.has_ended else "no_coords",
        **_tree(ours if known else None, theirs),
        "hops": [_named(job, address) for address in _tree_path(ours, theirs)],
    }


def _tree(ours: Coordinates | None, theirs: Coordinates | None) -> dict[str, Any]:
    """How the two places lie to each other along the tree; nulls while one of them is not known."""
    names = ("same_root", "lca", "lca_depth", "tree_hops_up", "tree_hops_down", "tree_distance")
    if ours is None or theirs is None:
        return dict.fromkeys(names)
    common = common_suffix(ours, theirs)
    if not common:
        return {**dict.fromkeys(names), "same_root": False}
    return {
        "same_root": True,
        "lca": ours[len(ours) - common].hex(),
        "lca_depth": common - 1,
        "tree_hops_up": len(ours) - common,
        "tree_hops_down": len(theirs) - common,
        "tree_distance": distance(ours, theirs),
    }


def _tree_path(ours: Coordinates | None, theirs: Coordinates | None) -> Coordinates:
    """The nodes along the tree from us to the target, both included: the way of packets that find no short cut."""
    if not ours or not theirs or not (common := common_suffix(ours, theirs)):
        return []
    up = ours[: len(ours) - common + 1]
    down = theirs[: len(theirs) - common]
    return [*up, *reversed(down)]


def _named(job: Job, address: bytes) -> dict[str, str]:
    own = address == job.node.identity.node_addr
    return {"node_addr": address.hex(), "display_name": "this node" if own else job.node.names.display(address)}


def _next_hop(job: Job) -> dict[str, Any] | None:
    hop = job.hop
    if hop is None or job.their_coordinates is None:
        return None
    kind = job.node.router.route_class(job.target, hop)
    return {
        "node_addr": hop.hex(),
        "display_name": job.node.names.display(hop),
        "class": kind.value,
        "direct_peer": hop == job.target,
        "leaves_tree_walk": kind not in _ON_THE_TREE,
    }


def _session(job: Job) -> dict[str, Any]:
    rows = {
        **job.session.report(),
        "preexisting": job.preexisting,
        "established": job.was_established,
    }
    return rows if job.path_mtu is None else {**rows, "path_mtu": job.path_mtu}


def _rtt(job: Job) -> dict[str, Any]:
    reports, samples, zeros, failures = job.deltas()
    return {
        **job.rtt.report(),
        "reports_seen": reports,
        "samples": samples,
        "zero_samples": zeros,
        "arith_failures": failures,
        **without_unknown({"rtt_ms": job.rtt_ms, "srtt_ms": job.srtt_ms}),
    }


def _cleanup(job: Job) -> dict[str, Any]:
    return {
        "session_created_and_torn_down": job.torn_down,
        "session_left_intact": job.left_intact_reason is not None,
        "left_intact_reason": job.left_intact_reason,
        "lookup_issued": job.lookup_issued,
        "coords_were_cached": job.coords_were_cached,
        "identity_was_cached": job.identity_was_cached,
        "warmups_sent": job.warmups_sent,
    }
