"""Filters under whatever peers do in whatever order: what holds after every step (spec 03 section 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from meshnode.mesh.bloom import FILTER_FRAME_SIZE, false_positive_rate, filter_of, member_mask
from meshnode.mesh.neighbour import Neighbour
from meshnode.wire.bloom import FilterAnnounce
from tests.unit.mesh_rig import addr
from tests.unit.test_bloom import ME, Exchange, Peer

INTERVAL = 0.5
CAP = 0.20
FULLEST_BELOW_CAP = 5936
PEERS = [addr(n) for n in range(1, 5)]
MEMBERS = [addr(n) for n in range(100, 107)]

peers = st.sampled_from(PEERS)
steps = st.sampled_from([-1, 0, 1, 1, 2, 2**32])
contents = st.lists(st.sampled_from([ME, *MEMBERS, *PEERS]), max_size=4).map(filter_of)
fullness = st.sampled_from([FULLEST_BELOW_CAP, 5944, 8191, 8192]).map(lambda bits: (1 << bits) - 1)


Method = TypeVar("Method", bound=Callable[..., None])


def event(**arguments: st.SearchStrategy[Any]) -> Callable[[Method], Method]:
    """Mark what may happen. Not a rule of its own: Hypothesis leaves out most rules of a run, and few things meet."""

    def mark(method: Method) -> Method:
        EVENTS.append((method.__name__, st.fixed_dictionaries(arguments)))
        return method

    return mark


EVENTS: list[tuple[str, st.SearchStrategy[dict[str, Any]]]] = []


class Filters(RuleBasedStateMachine):
    """A node whose peers come, go, change place and announce at will; beside it, what each is known to have said."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.tree_peers = PEERS[:3]
        self.exchange = Exchange(PEERS, self.tree_peers)
        self.filters = self.exchange.filters
        self.neighbours = self.exchange.neighbours
        self.filters.mark_all()
        self.stored: dict[bytes, tuple[int, int]] = {}  # sequence and content of the last filter accepted on the link
        self.told: dict[bytes, list[tuple[float, FilterAnnounce]]] = {}  # to whom, on the link there is
        self.last_sequence = 0
        self.received = 0

    @rule(data=st.data())
    def something_happens(self, data: st.DataObject) -> None:
        name, arguments = data.draw(st.sampled_from(EVENTS))
        getattr(self, name)(**data.draw(arguments))

    # The world around the machine, which does what a router does on each occasion (section 5.6)

    @event(peer=peers, mtu=st.sampled_from([FILTER_FRAME_SIZE - 1, FILTER_FRAME_SIZE, 1472]))
    def comes(self, peer: bytes, mtu: int) -> None:
        """A link comes up, perhaps in the place of one there was: both sides start anew."""
        self.forget(peer)
        self.neighbours[peer] = Neighbour(Peer(peer), mtu)
        self.neighbours[peer].filter_announce.pending = True
        self.filters.mark_changed(excluded=peer)

    @event(peer=peers)
    def goes(self, peer: bytes) -> None:
        if self.neighbours.pop(peer, None) is not None:
            self.filters.mark_all()
        self.forget(peer)

    def forget(self, peer: bytes) -> None:
        self.stored.pop(peer, None)
        self.told.pop(peer, None)
        self.exchange.held_back.discard(peer)

    @event(peer=peers)
    def changes_place(self, peer: bytes) -> None:
        if peer in self.tree_peers:
            self.tree_peers.remove(peer)
        else:
            self.tree_peers.append(peer)
        self.filters.mark_changed(excluded=peer)

    @event(peer=peers, trusted=st.booleans())
    def is_trusted_or_not(self, peer: bytes, trusted: bool) -> None:
        if peer in self.neighbours:
            self.neighbours[peer].trusted = trusted
            self.filters.mark_changed(excluded=b"")

    @event(peer=peers)
    def has_an_announce_coming(self, peer: bytes) -> None:
        self.exchange.held_back ^= {peer} & set(self.neighbours)

    @event(peer=peers, bits=contents)
    def announces(self, peer: bytes, bits: int) -> None:
        self.check_announced(peer, 1, bits)

    @event(peer=peers, bits=fullness)
    def announces_much(self, peer: bytes, bits: int) -> None:
        self.check_announced(peer, 1, bits)

    @event(peer=peers, step=steps, bits=contents)
    def announces_out_of_order(self, peer: bytes, step: int, bits: int) -> None:
        self.check_announced(peer, step, bits)

    @event(peer=peers, hashes=st.sampled_from([1, 4, 6, 255]))
    def announces_with_other_hashes(self, peer: bytes, hashes: int) -> None:
        self.check_announced(peer, 1, 0, hashes)

    def check_announced(self, peer: bytes, step: int, bits: int, hashes: int = 5) -> None:
        """Sections 5.3 and 5.4: taken from peers only, never a sequence twice or an older one, nothing over-full."""
        refused = self.exchange.refused.filters
        sequence = max(0, self.stored.get(peer, (0, 0))[0] + step)
        body = FilterAnnounce(sequence, hashes, 1, bits.to_bytes(1024, "little")).encode()[1:]
        taken = self.hear(peer, body)
        fresh = peer in self.neighbours and sequence > self.stored.get(peer, (0, 0))[0]
        within_budget = self.exchange.refused.filters == refused
        assert taken is (fresh and within_budget and hashes == 5 and false_positive_rate(bits) <= CAP)
        if taken:
            self.stored[peer] = sequence, bits
            self.filters.mark_changed(excluded=peer)

    @event(peer=peers, noise=st.binary(max_size=1040))
    def babbles(self, peer: bytes, noise: bytes) -> None:
        before = self.filters.counters.decode_error
        assert not self.hear(peer, noise)
        assert self.filters.counters.decode_error == before + 1 or len(noise) == 1034

    def hear(self, peer: bytes, body: bytes) -> bool:
        self.received += 1
        return self.filters.receive(peer, body, self.now)

    @event(pause=st.sampled_from([0.0, 0.1, 0.4999, 0.5, 3.0]))
    def time_passes(self, pause: float) -> None:
        self.now += pause
        self.flush()
        deadline = self.filters.next_deadline()
        assert deadline is None or deadline > self.now

    @event()
    def sleeps_until_the_deadline(self) -> None:
        """A deadline is met by sending, or by giving up where the link is too narrow: never by waking again."""
        deadline = self.filters.next_deadline()
        if deadline is not None:
            counters = self.filters.counters
            before = counters.sent + counters.send_failed
            self.now = max(self.now, deadline)
            self.flush()
            assert counters.sent + counters.send_failed > before

    @event()
    def quiet_comes(self) -> None:
        """Section 5.6: once nothing holds anything back, every peer has been told how things are."""
        self.exchange.held_back.clear()
        self.now += INTERVAL
        self.flush()
        for address, neighbour in self.neighbours.items():
            assert not neighbour.filter_announce.pending
            if neighbour.link_mtu >= FILTER_FRAME_SIZE:
                assert content(self.told[address][-1][1]) == self.behind_others(address)

    def flush(self) -> None:
        waiting = {address for address, n in self.neighbours.items() if n.filter_announce.pending}
        self.filters.flush(self.now)
        sent = [peer for peer, _ in self.exchange.sent]
        assert len(sent) == len(set(sent))
        assert set(sent) <= waiting - self.exchange.held_back
        for peer, message in self.exchange.sent:
            self.check_sent(peer, message)
        self.exchange.sent.clear()

    def check_sent(self, peer: bytes, message: FilterAnnounce) -> None:
        """Sections 5.1, 5.5 and 5.6."""
        assert self.neighbours[peer].link_mtu >= FILTER_FRAME_SIZE
        assert (message.hash_count, message.size_class) == (5, 1)
        assert message.sequence > self.last_sequence
        assert content(message) == self.behind_others(peer)
        told = self.told.setdefault(peer, [])
        assert not told or self.now >= told[-1][0] + INTERVAL
        told.append((self.now, message))
        self.last_sequence = message.sequence

    def behind_others(self, target: bytes) -> int:
        """Section 5.5: ourselves and what the trusted tree peers other than `target` told; so no peer hears itself."""
        result = member_mask(ME)
        for peer, (_, bits) in self.stored.items():
            if peer != target and peer in self.tree_peers and self.neighbours[peer].trusted:
                result |= bits
        return result

    # What holds at any time

    @invariant()
    def split_horizon_holds_and_cross_links_are_not_passed_on(self) -> None:
        assert self.filters.outgoing() == {peer: self.behind_others(peer) for peer in self.neighbours}

    @invariant()
    def what_is_kept_is_what_was_accepted_on_the_link_there_is(self) -> None:
        kept = {a: (n.filter_sequence, n.filter) for a, n in self.neighbours.items() if n.filter is not None}
        assert kept == self.stored

    @invariant()
    def every_announce_is_counted_once(self) -> None:
        """Section 13."""
        c = self.filters.counters
        refused = c.decode_error + c.invalid + c.non_v1 + c.unknown_peer + c.stale + c.fill_exceeded
        assert c.received == self.received == refused + self.exchange.refused.filters + c.accepted
        assert self.filters.sequence == c.sent + c.send_failed

    @invariant()
    def the_size_is_told_when_there_are_filters_to_tell_it(self) -> None:
        """Section 5.7."""
        union = member_mask(ME)
        for _, bits in self.stored.values():
            union |= bits
        assert (self.filters.mesh_size() is not None) is (bool(self.stored) and false_positive_rate(union) <= CAP)


def content(message: FilterAnnounce) -> int:
    return int.from_bytes(message.bits, "little")


def test_filters_keep_their_promises_whatever_peers_do() -> None:
    often = settings(max_examples=40, stateful_step_count=60, deadline=None, derandomize=True)
    run_state_machine_as_test(Filters, settings=often)  # type: ignore[no-untyped-call]
