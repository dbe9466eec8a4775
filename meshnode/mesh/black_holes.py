"""Finding out that a peer drops what is led through it: a black hole, by a fault or on purpose.

The wire carries no receipts between nodes. But who relays at all also sends a datagram back that is addressed to the
very neighbour it came from. So whoever leads traffic through a peer asks it for one every few seconds. A peer that does
not return them, although its link works, is given up as a relay: as parent and as next hop it comes after everybody
else. When its neighbours do so one by one, the tree and the traffic of everybody go around it.

A peer that returns these and drops the rest is given up on the evidence of our sessions: several of those that lead
through it are silent, and none is heard through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from math import ceil, log

from meshnode.mesh.coordinates import NodeAddr
from meshnode.mesh.mmp.quality import Health
from meshnode.mesh.neighbour import Neighbour, Neighbours
from meshnode.mesh.relay_record import Evidence, RelayRecord, Silence
from meshnode.wire.datagram import SessionDatagram

CHANCE_OF_ERROR = 1e-6
MOST_DELIVERED = 0.95
"""No link is taken for better than this; what it loses is no sign of anything."""

SETTLING_SECS = 12.0
"""How long it may take until sessions are heard again by another way."""

MAX_RECORDS = 1024
TTL = 64
PROOF_SIZE = 76
_MESSAGE_PREFIX = b"\0\0" + PROOF_SIZE.to_bytes(2, "little")


class BlackHoles:
    """Watches the neighbours that traffic is led through, and keeps `Neighbour.black_hole` up to date.

    `send` queues a link message for a neighbour, `link_health` tells how well the link to it works, None where that is
    not known. `due` is when `look` wants to be called at the latest.
    """

    __slots__ = ("_entropy", "_link_health", "_me", "_neighbours", "_records", "_send", "_verdicts", "due")

    def __init__(
        self,
        me: NodeAddr,
        neighbours: Neighbours,
        send: Callable[[NodeAddr, bytes], None],
        entropy: Callable[[int], bytes],
        link_health: Callable[[NodeAddr], Health | None],
    ) -> None:
        self._me = me
        self._neighbours = neighbours
        self._send = send
        self._entropy = entropy
        self._link_health = link_health
        self._records: dict[NodeAddr, RelayRecord] = {}
        self._verdicts: list[tuple[NodeAddr, bool]] = []
        self.due: float | None = None

    def met(self, neighbour: Neighbour) -> None:
        """A link came up: who was given up as a relay does not become one by dialling anew."""
        record = self._records.get(neighbour.address)
        neighbour.black_hole = record is not None and record.given_up_at is not None

    def woke(self) -> None:
        """Time passed in which we did not listen: what was not heard then means nothing."""
        for record in self._records.values():
            record.abandon()
            record.blame({}, 0.0)

    def returned(self, proofs: Iterable[bytes], now: float) -> None:
        """These came back, whoever brought them: a relay may know a better way to us than the link between us."""
        came = set(proofs)
        answered = [record for record in self._records.values() if record.proof and record.proof in came]
        for record in answered:
            record.answered(now)
        if answered:
            self.due = min((r.ask_at for r in self._records.values() if r.proof), default=None)

    def testify(self, evidence: Evidence, now: float) -> None:
        """Take what our sessions say at this moment; once a second.

        Of the neighbours that a silent session leads through any may be the reason. Blame falls on the one that most
        have in common, on one at a time, and on none while it may yet help that another was given up.
        """
        heard, well = evidence.relays_heard(), evidence.well()
        for address, record in self._records.items():
            record.review(well, SETTLING_SECS, now)
            if address in heard:
                record.heard_through(now)
        accusers = self._accusers(evidence.silent, heard, now)
        blamed = max(accusers, key=lambda address: (sum(accusers[address].values()), address), default=None)
        if blamed is not None:
            self._records.setdefault(blamed, RelayRecord())
        for address, record in self._records.items():
            record.blame(accusers[address] if address == blamed else {}, now)

    def _accusers(
        self, silent: Sequence[Silence], heard: Set[NodeAddr], now: float
    ) -> dict[NodeAddr, dict[NodeAddr, int]]:
        """The remotes whose silence speaks against each neighbour that none is heard through, and how much.

        A link that is silent itself explains why the sessions over it are.
        """
        given_up = {a: r.given_up_at for a, r in self._records.items() if r.given_up_at is not None}
        settling = {address for address, since in given_up.items() if now - since < SETTLING_SECS}
        telling = {a for a, neighbour in self._neighbours.items() if not neighbour.doubtful} - settling
        accusers: dict[NodeAddr, dict[NodeAddr, int]] = {}
        for remote, relays, weight in silent:
            if relays <= telling:
                for relay in relays - given_up.keys() - heard:
                    accusers.setdefault(relay, {})[remote] = weight
        return accusers

    def look(self, relays: Set[NodeAddr], now: float) -> bool:
        """Ask those of `relays` whose turn it is, and judge; True when there is a new verdict."""
        self.due = None
        before = len(self._verdicts)
        watched = relays | {address for address, record in self._records.items() if record.is_suspect}
        for address, neighbour in self._neighbours.items():
            if address in watched or neighbour.black_hole:
                self._watch(neighbour, now)
        if len(self._records) > MAX_RECORDS:
            self._forget()
        return len(self._verdicts) > before

    def take_verdicts(self) -> list[tuple[NodeAddr, bool]]:
        """The neighbours given up (True) and relied on again (False) since the last time."""
        verdicts, self._verdicts = self._verdicts, []
        return verdicts

    def _watch(self, neighbour: Neighbour, now: float) -> None:
        record = self._records.setdefault(neighbour.address, RelayRecord())
        if neighbour.doubtful:
            record.abandon()  # a silent link says nothing about the peer behind it
            return
        health = self._link_health(neighbour.address)
        if now >= record.ask_at:
            record.ask(lambda: self._entropy(PROOF_SIZE), health, now)
            envelope = SessionDatagram(TTL, min(neighbour.link_mtu, 65535), self._me, self._me, b"")
            self._send(neighbour.address, envelope.encode() + _MESSAGE_PREFIX + record.proof)
        if record.proof:
            self.due = record.ask_at if self.due is None else min(self.due, record.ask_at)
        record.judge(patience_with(health), health, now)
        black_hole = record.given_up_at is not None
        if black_hole != neighbour.black_hole:
            neighbour.black_hole = black_hole
            self._verdicts.append((neighbour.address, black_hole))

    def _forget(self) -> None:
        """Drop those of strangers, the ones relied on first."""
        gone = [address for address in self._records if address not in self._neighbours]
        gone.sort(key=lambda address: self._records[address].given_up_at or 0.0)
        for address in gone[: len(self._records) - MAX_RECORDS]:
            del self._records[address]


def patience_with(health: Health | None) -> int:
    """How many questions in a row may go unanswered: so many that a link like this hardly ever loses them all."""
    delivered = MOST_DELIVERED if health is None else min(health.delivered, MOST_DELIVERED)
    return ceil(log(CHANCE_OF_ERROR) / log(1.0 - delivered))
