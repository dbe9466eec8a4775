"""Renewals of keys between us and the reference, which uses new keys unproved and repeats no answer.

Both sides talk all the while, and in each case one single message is lost.
"""

from __future__ import annotations

import pytest

from meshnode.mesh.session import SessionRekeyed
from meshnode.mesh.settings import MeshSettings, RekeySettings

from .daemon_rig import Daemon, DaemonSessions
from .link_rig import LinkHost, LinkNet
from .session_rig import A_SECRET, ACK, B_SECRET, MSG3, SETUP, Net, lose_first

STEP = 1 / 32

# -- links


class OneLost:
    """Loses the frame number `number` of those that are no more than handshakes or the first under new keys."""

    def __init__(self, net: LinkNet, number: int) -> None:
        self.number, self.seen, self.heads = number, 0, set[tuple[str, bytes]]()
        self.lost = b""
        net.wire = self

    def __call__(self, source: str, target: str, frame: bytes) -> list[bytes]:
        head = source, frame[4:8]
        if frame[0] == 0 and head in self.heads:
            return [frame]
        self.heads.add(head)
        self.seen += 1
        if self.seen == self.number:
            self.lost = frame
            return []
        return [frame]


class LinkTalk:
    """A message each way every `STEP`; `gaps` are the longest times in which none arrived, there and back."""

    def __init__(
        self, rekey: RekeySettings, renews_at: float, we_are: str, phase: float, they_dial: bool = False
    ) -> None:
        hosts = [LinkHost(name, seed, MeshSettings(rekey=rekey)) for name, seed in (("h1", 1), ("h2", 2))]
        small, large = sorted(hosts, key=lambda host: host.identity.node_addr)
        self.us, them = (small, large) if we_are == "smaller" else (large, small)
        self.them = Daemon(them, phase, renews_at)
        self.net = LinkNet(self.us, self.them)  # type: ignore[arg-type]
        if they_dial:
            self.them.dial(self.us.identity.peer, (1, self.us.name), self.net.now)
        else:
            self.net.dial(self.us, them)
        self.net.settle()
        self.gaps = [0.0, 0.0]

    def go_on(self, seconds: float) -> None:
        silent = [0.0, 0.0]
        for _ in range(round(seconds / STEP)):
            self.us.received.clear()
            self.them.received.clear()
            self.net.run(STEP, STEP)
            peer = self.us.layer.peers.get(self.them.identity.node_addr)
            if peer is not None:
                self.us.layer.send(peer, b"\x99there", self.net.now)
            self.them.say(b"\x99back", self.net.now)
            self.net.settle()
            for way, text, host in ((0, b"\x99there", self.them), (1, b"\x99back", self.us)):
                silent[way] = 0.0 if text in host.received else silent[way] + STEP
                self.gaps[way] = max(self.gaps[way], silent[way])

    def fail(self, seconds: float, ways: set[str]) -> None:
        """Nothing of what leaves those named arrives, until it is over."""
        self.net.wire = lambda source, _target, frame: [] if source in ways else [frame]
        self.go_on(seconds)
        self.net.wire = lambda _source, _target, frame: [frame]
        self.gaps = [0.0, 0.0]


BOTH = RekeySettings(after_secs=45, after_messages=100)
OFTEN, NEVER = 40.0, float("inf")


@pytest.mark.parametrize("phase", [0.0625, 0.9375])
@pytest.mark.parametrize("we_are", ["smaller", "larger"])
@pytest.mark.parametrize("number", range(3, 11))
def test_no_lost_message_interrupts_a_link_whose_keys_the_reference_renews(
    number: int, we_are: str, phase: float
) -> None:
    """Which it does first where both have the same settings."""
    talk = LinkTalk(BOTH, OFTEN, we_are, phase)
    wire = OneLost(talk.net, number)
    talk.go_on(100)
    assert wire.lost
    assert talk.them.renewals >= 2
    assert talk.them.resets == 0
    assert "PeerDown" not in talk.us.names()
    assert max(talk.gaps) <= STEP


@pytest.mark.parametrize("phase", [0.0625, 0.9375])
@pytest.mark.parametrize("we_are", ["smaller", "larger"])
@pytest.mark.parametrize("number", range(3, 7))
def test_where_the_reference_renews_nothing_only_its_lost_answer_costs_a_moment(
    number: int, we_are: str, phase: float
) -> None:
    """Ours is then the only one to start, and nothing repeats that answer (spec 01 section 18.1)."""
    talk = LinkTalk(BOTH, NEVER, we_are, phase)
    wire = OneLost(talk.net, number)
    talk.go_on(115)
    assert wire.lost
    answer_lost = wire.lost[0] == 2
    assert talk.them.resets == answer_lost
    assert max(talk.gaps) <= (0.3 if answer_lost else STEP)


@pytest.mark.parametrize("they_dial", [True, False], ids=["it dialled", "we dialled"])
@pytest.mark.parametrize("we_are", ["smaller", "larger"])
@pytest.mark.parametrize(("start", "end"), [(26, 29), (26, 31), (20, 45)])
def test_the_keys_that_end_a_silence_are_those_of_both(start: float, end: float, we_are: str, they_dial: bool) -> None:
    """What asks for a silent peer is answered once the link is 30 s old there, which it may not be yet here.

    The answer is then no crossing dial: whoever went back to the old keys would be deaf when they are forgotten, and
    whoever kept its K bit with the new ones would be refused at the next renewal (spec 01 sections 5.2 and 7.4).
    """
    talk = LinkTalk(BOTH, NEVER, we_are, 0.9375, they_dial)
    talk.go_on(start)
    talk.fail(end - start, {talk.us.name, talk.them.name})
    talk.go_on(0.5)
    talk.gaps = [0.0, 0.0]
    talk.go_on(120)
    assert talk.them.renewals >= 2
    assert talk.them.resets == 0
    assert "PeerDown" not in talk.us.names()
    assert max(talk.gaps) <= STEP
    assert talk.us.layer.peers[talk.them.identity.node_addr].k_bit == talk.them.k


@pytest.mark.parametrize("we_are", ["smaller", "larger"])
def test_a_reference_that_met_us_anew_and_we_who_did_not_use_the_same_k_bit(we_are: str) -> None:
    """It did not hear us for long enough to forget us; we heard it all the time, and renew the keys when it stops."""
    talk = LinkTalk(BOTH, NEVER, we_are, 0.9375)
    talk.go_on(5)
    talk.fail(40, {talk.us.name})
    assert talk.them.resets == 1
    talk.go_on(10)
    talk.gaps = [0.0, 0.0]
    talk.go_on(120)
    assert talk.them.renewals >= 1
    assert talk.them.resets == 1
    assert "PeerDown" not in talk.us.names()
    assert max(talk.gaps) <= STEP


# -- sessions


class SessionTalk:
    """A message each way every tenth of a second between us and the reference; `lost` are those that did not arrive."""

    def __init__(self, we_are: str, ours: int, theirs: int, latency: float) -> None:
        self.net = Net(latency)
        secrets = (A_SECRET, B_SECRET) if we_are == "smaller" else (B_SECRET, A_SECRET)
        self.us = self.net.node(secrets[0], MeshSettings(rekey=RekeySettings(after_secs=ours)))
        self.them = DaemonSessions(self.net, secrets[1], 7, MeshSettings(rekey=RekeySettings(after_secs=theirs)))
        self.net.nodes[self.them.address] = self.them
        self.lost = 0
        self.us.send(self.them, b"hello")
        self.net.run(1)

    def go_on(self, seconds: float) -> None:
        expected = []
        for number in range(round(seconds * 10)):
            text = str(number).encode()
            self.us.send(self.them, text)
            self.them.send(self.us, text)
            expected.append(text)
            self.net.run(0.1)
        self.net.run(3)
        self.lost = max(len(set(expected) - set(node.received)) for node in (self.us, self.them))

    def renewals(self) -> int:
        return sum(isinstance(event, SessionRekeyed) for event in self.us.events)


@pytest.mark.parametrize("kind", [SETUP, ACK, MSG3])
@pytest.mark.parametrize("we_are", ["smaller", "larger"])
@pytest.mark.parametrize("latency", [0.005, 0.4])
@pytest.mark.parametrize("theirs", [60, 10_000])
def test_no_lost_message_costs_a_session_with_the_reference_anything(
    kind: int, we_are: str, latency: float, theirs: int
) -> None:
    """We renew first, also where both have the same settings, and our messages are the ones that find a way."""
    talk = SessionTalk(we_are, 60, theirs, latency)
    talk.net.lose = lose_first(kind)
    talk.go_on(150)
    assert talk.lost == 0
    assert talk.renewals() >= 2


@pytest.mark.parametrize("kind", [SETUP, ACK, MSG3])
@pytest.mark.parametrize("we_are", ["smaller", "larger"])
@pytest.mark.parametrize("latency", [0.005, 0.4])
def test_a_reference_that_renews_alone_loses_nothing_and_is_stuck_only_by_its_lost_setup(
    kind: int, we_are: str, latency: float
) -> None:
    """Which it waits for ever for the answer to."""
    talk = SessionTalk(we_are, 10_000, 45, latency)
    talk.net.lose = lose_first(kind)
    talk.go_on(150)
    assert talk.lost == 0
    assert talk.renewals() == 0 if kind == SETUP else talk.renewals() >= 2


def test_a_reference_that_waits_for_ever_and_has_the_larger_address_is_asked() -> None:
    talk = SessionTalk("smaller", 100, 45, 0.005)
    talk.net.lose = lose_first(SETUP)
    talk.go_on(150)
    assert talk.renewals() >= 1
    assert talk.lost == 0
