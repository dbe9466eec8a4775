"""Is the node well? If not, what is wrong and what to do: judged from its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .tables import count, duration, percent

Data = Mapping[str, Any]

LOSSY = 0.05
SLOW_MS = 1000.0
PATIENCE_SECS = 4.0
RESTLESS = 6
ASKED = (
    "show_status", "show_peers", "show_known_peers", "show_transports", "show_mmp", "show_acl", "show_log",
    "show_stats_history",
)  # fmt: skip
"""What has to be asked; a command a node does not have is left out of the answers."""

_NO_INTERFACE = "no TUN interface, everything else works: "
"""How lines of the log begin that say why there is none."""

PARENT_CHANGES = {"metric": "parent_switches", "window": "10m"}
"""The parameters of `show_stats_history`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. `grave` things keep the node from its work."""

    text: str
    remedy: str
    grave: bool = True


def findings(answers: Mapping[str, Data], now: float) -> list[Finding]:
    """What is wrong, the gravest first. `now` is Unix time in seconds."""
    found = [finding for check in _CHECKS for finding in check(answers, now)]
    return sorted(found, key=lambda finding: not finding.grave)


def _state(answers: Mapping[str, Data], now: float) -> Iterator[Finding]:
    status = answers["show_status"]
    if status["state"] == "degraded":
        warnings = [line["text"] for line in _of(answers, "show_log", "lines") if line["level"] in ("warn", "error")]
        why = f": {warnings[0]}" if warnings else ""
        yield Finding(
            f"the node runs without a part of it{why}", "mend that and restart it; `meshctl log show` has more"
        )
    elif status["state"] != "running":
        yield Finding(f"the node is {status['state']}", "wait, then look again")
    if status["tun_state"] == "failed":
        reasons = [line["text"] for line in _of(answers, "show_log", "lines") if line["text"].startswith(_NO_INTERFACE)]
        why = f": {reasons[-1].removeprefix(_NO_INTERFACE)}" if reasons else ""
        remedy = "mend that; where it came up once it is tried again by itself" if why else "start the node as root"
        yield Finding(f"there is no network interface, so programs cannot use the mesh{why}", remedy)


def _peers(answers: Mapping[str, Data], now: float) -> Iterator[Finding]:
    known = [peer for peer in _of(answers, "show_known_peers", "peers") if peer["is_configured"]]
    if not answers["show_status"]["peer_count"]:
        remedy = "see below" if known else "add one: meshctl peer add NPUB ADDRESS udp --save"
        yield Finding("the node has no peer and reaches nobody", remedy)
    for line in _of(answers, "show_known_peers", "passed_over"):
        yield Finding(line, "mend the key of that peer in the configuration, then: meshctl reload")
    for peer in known:
        if not peer["is_connected"] and peer["wish"] != "none":
            yield _absent(peer, now)


def _absent(peer: Data, now: float) -> Finding:
    return Finding(absent_text(peer, now), f"meshctl trace {peer['display_name']}")


def absent_text(peer: Data, now: float) -> str:
    """What is known of a peer that should be connected and is not, in one sentence."""
    name, attempts = peer["display_name"], peer["vain_attempts"]
    due = peer["next_attempt_ms"]
    again = "" if due is None else f", the next in {duration(due / 1000 - now)}"
    places = ", ".join(f"{one['transport']} {one['address']}" for one in peer["addresses"]) or "no address"
    tried = f"{count(attempts, 'attempt')} in vain{again}" if attempts else _dialled(peer, now)
    return f"peer {name} ({places}) is not connected: {tried}{_failure(peer)}"


def _dialled(peer: Data, now: float) -> str:
    """What there is to say before the first dial has failed; a handshake that works takes a moment, and fails late."""
    since = peer.get("dialling_since_ms")
    if since is None or now - since / 1000 < PATIENCE_SECS:
        return "being dialled"
    return f"dialled for {duration(now - since / 1000)} without an answer ({peer['no_answer_hint']})"


def _failure(peer: Data) -> str:
    """Why the last dial failed, in a form to append."""
    last = peer.get("last_failure")
    if last is None:
        return ""
    hint = "" if last["hint"] is None else f" ({last['hint']})"
    return f"; {last['reason']}{hint}"


def _transports(answers: Mapping[str, Data], now: float) -> Iterator[Finding]:
    for row in _of(answers, "show_transports", "transports"):
        if row["state"] != "up":
            name = row.get("name") or row["transport_id"]
            yield Finding(f"transport {row['type']} {name} is {row['state']}", "the log says why: meshctl log show")


def _links(answers: Mapping[str, Data], now: float) -> Iterator[Finding]:
    for row in _of(answers, "show_peers", "peers"):
        if row["connectivity"] != "connected":
            yield Finding(
                f"peer {row['display_name']} is silent and not relied on",
                "wait; it is dropped or comes back",
                grave=False,
            )
        quality = row.get("mmp", {})
        loss, srtt = quality.get("smoothed_loss") or 0.0, quality.get("srtt_ms") or 0.0
        if loss > LOSSY:
            yield Finding(f"the link to {row['display_name']} loses {percent(loss)}", "meshctl show mmp", grave=False)
        if srtt > SLOW_MS:
            yield Finding(f"a round trip to {row['display_name']} takes {srtt:.0f} ms", "meshctl show mmp", grave=False)


def _access(answers: Mapping[str, Data], now: float) -> Iterator[Finding]:
    acl = answers.get("show_acl", {})
    for problem in acl.get("problems", ()):
        yield Finding(f"access list: {problem}", "mend the file; the node reads it within a second", grave=False)


def _restlessness(answers: Mapping[str, Data], now: float) -> Iterator[Finding]:
    values = _of(answers, "show_stats_history", "values")
    changes = int(sum(value for value in values if value))
    if changes > RESTLESS:
        yield Finding(
            f"the parent in the tree changed {changes} times in 10 minutes",
            "meshctl show mmp: links that waver",
            grave=False,
        )


def _identity(answers: Mapping[str, Data], now: float) -> Iterator[Finding]:
    if not answers["show_status"]["persistent"]:
        yield Finding(
            "the node has another name after its next start", "set node.identity.persistent: true", grave=False
        )


_CHECKS: tuple[Callable[[Mapping[str, Data], float], Iterator[Finding]], ...] = (
    _state,
    _peers,
    _transports,
    _links,
    _access,
    _restlessness,
    _identity,
)


def _of(answers: Mapping[str, Data], command: str, key: str) -> list[Any]:
    """The rows of an answer; none when the node does not have the command."""
    return list(answers.get(command, {}).get(key, ()))
