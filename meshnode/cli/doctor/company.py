"""What the peers tell about this machine: whether its clock is right, and how long frames to them may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median_low
from typing import Any

from ..tables import count, duration
from .verdicts import Patient, Verdict

_TOLERATED_SECS = 30
"""Announces are dated in whole seconds, and may take a moment; a clock that matters to nobody is not worth a word."""
_SET_CLOCK = "timedatectl set-ntp true, or set it by hand"


def clocks(patient: Patient) -> Iterator[Verdict]:
    """Do the clocks of the peers agree with the one here? Announces are dated; nothing else on a link needs a clock."""
    dated = [row for row in patient.peers if "clock_ahead_secs" in row]
    ahead = [row for row in dated if row["clock_ahead_secs"] > _TOLERATED_SECS]
    behind = [row for row in dated if row["clock_ahead_secs"] < -_TOLERATED_SECS]
    most = max(ahead, behind, key=len)
    if len(dated) > 1 and 2 * len(most) > len(dated):
        off = median_low(row["clock_ahead_secs"] for row in most)
        where = "behind" if off > 0 else "ahead of"
        text = f"the clock here is {duration(abs(off))} {where} those of {len(most)} of {count(len(dated), 'peer')}"
        yield Verdict("clock", "bad", text, _SET_CLOCK)
        return
    for row in (*ahead, *behind):
        yield Verdict(
            "clock",
            "hint",
            f"the clock of {row['display_name']} is {_difference(row)} this one",
            "links work all the same; certificates, Tor and dates in logs do not: compare `date` on both machines",
        )


def _difference(row: Mapping[str, Any]) -> str:
    off = row["clock_ahead_secs"]
    least = "" if row["clock_ahead_is_exact"] else "at least "
    return f"{least}{duration(abs(off))} {'ahead of' if off > 0 else 'behind'}"


def frames(patient: Patient) -> Iterator[Verdict]:
    """Does a path swallow frames that its transport promises to carry?"""
    for row in patient.peers:
        if "promised_mtu" in row:
            yield Verdict(
                "packet sizes",
                "hint",
                f"the path to {row['display_name']} swallows frames of more than {row['link_mtu']} bytes, though its "
                f"{row.get('transport_type', 'transport')} promises {row['promised_mtu']}",
                "the node keeps to that by itself; look for a smaller MTU and for dropped ICMP on the way "
                f"(tracepath {_host(row)}), or write mtu: {row['link_mtu']} for the transport",
            )


def relays(patient: Patient) -> Iterator[Verdict]:
    """Does a peer drop what is led through it?"""
    for row in patient.peers:
        if row.get("trust") == "black_hole":
            yield Verdict(
                "relays",
                "hint",
                f"{row['display_name']} does not pass on what is sent through it",
                "traffic for others goes around it as far as there is another way, and every node finds that out for "
                f"itself; ask whoever runs it, or deny it: meshctl acl deny {row['npub']}",
            )


def knocks(patient: Patient) -> Iterator[Verdict]:
    """Does somebody dial this node by another key?"""
    wrong = patient.answers.get("show_metrics", {}).get("link", {}).get("wrong_key", 0)
    if wrong:
        yield Verdict(
            "keys",
            "hint",
            f"{count(wrong, 'handshake')} for another key than this node's came in",
            f"somebody dials here with an old or mistyped npub; this node is {patient.status['npub']}",
        )


def _host(row: Mapping[str, Any]) -> str:
    return str(row["transport_addr"]).rpartition(":")[0].strip("[]") or "ADDRESS"


CHECKS = (clocks, frames, relays, knocks)
