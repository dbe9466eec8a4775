"""Transports in memory: the same promises as a real one, and faults that repeat exactly."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from meshnode.transports.interfaces import ITransport, TransportError
from meshnode.transports.memory import LinkQuality, MemoryNetwork, MemoryTransport, memory_pair
from tests.unit.udp_rig import RecordingHost

FRAMES = [bytes([number]) for number in range(200)]


class Pair:
    """Two stations; frames go from the left to the right one."""

    def __init__(self, quality: LinkQuality | None = None, seed: int = 1) -> None:
        self.clock = Clock()
        self.hosts = RecordingHost(), RecordingHost()
        self.left, self.right = memory_pair(self.clock, *self.hosts, seed=seed, quality=quality)

    def emit(self, frames: list[bytes]) -> None:
        self.left.send("memory:2", frames)
        self.left.flush()

    @property
    def arrived(self) -> list[bytes]:
        return self.hosts[1].frames


def test_it_is_a_transport() -> None:
    verifyObject(ITransport, Pair().left)


def test_a_batch_arrives_as_one_call_and_one_burst_after_the_flush() -> None:
    pair = Pair()
    pair.left.send("memory:2", FRAMES[:2])
    pair.left.send("memory:2", FRAMES[2:4])
    pair.clock.advance(1)
    assert pair.hosts[1].calls == []
    pair.left.flush()
    assert pair.hosts[1].calls == []
    pair.clock.advance(0)
    assert pair.hosts[1].calls == [("memory:1", FRAMES[:4]), None]


def test_delay_is_kept() -> None:
    pair = Pair(LinkQuality(delay=(0.05, 0.05)))
    pair.emit(FRAMES)
    pair.clock.advance(0.049)
    assert pair.arrived == []
    pair.clock.advance(0.001)
    assert pair.arrived == FRAMES


def test_batches_with_varying_delay_never_overtake_each_other() -> None:
    pair = Pair(LinkQuality(delay=(0.0, 0.5)))
    for frame in FRAMES:
        pair.emit([frame])
        pair.clock.advance(0.01)
    pair.clock.advance(1)
    assert pair.arrived == FRAMES


@pytest.mark.parametrize(
    "quality",
    [
        LinkQuality(loss=0.3),
        LinkQuality(duplicate=0.3, delay=(0.01, 0.2)),
        LinkQuality(loss=0.1, duplicate=0.1, reorder=0.2, delay=(0.0, 0.1)),
    ],
)
def test_the_same_seed_gives_the_same_faults(quality: LinkQuality) -> None:
    def run(seed: int) -> list[bytes]:
        pair = Pair(quality, seed)
        for start in range(0, len(FRAMES), 10):
            pair.emit(FRAMES[start : start + 10])
            pair.clock.advance(0.02)
        pair.clock.advance(1)
        return pair.arrived

    assert run(7) == run(7)
    assert run(7) != run(8)


def test_loss_takes_frames_away() -> None:
    pair = Pair(LinkQuality(loss=0.5))
    pair.emit(FRAMES)
    pair.clock.advance(1)
    assert 60 < len(pair.arrived) < 140
    assert pair.arrived == sorted(pair.arrived)
    assert pair.left.stats()["packets_sent"] == 200
    assert pair.right.stats()["packets_recv"] == len(pair.arrived)


def test_total_loss_is_silence() -> None:
    pair = Pair(LinkQuality(loss=1.0))
    pair.emit(FRAMES)
    pair.clock.advance(1)
    assert pair.hosts[1].calls == []


def test_duplicates_come_twice() -> None:
    pair = Pair(LinkQuality(duplicate=1.0))
    pair.emit(FRAMES[:3])
    pair.clock.advance(1)
    assert pair.arrived == [FRAMES[0]] * 2 + [FRAMES[1]] * 2 + [FRAMES[2]] * 2


def test_reordered_frames_come_behind_their_batch() -> None:
    pair = Pair(LinkQuality(reorder=0.2))
    pair.emit(FRAMES)
    pair.clock.advance(0)
    in_time = list(pair.arrived)
    assert 120 < len(in_time) < 190
    pair.clock.advance(0.01)
    assert sorted(pair.arrived) == FRAMES
    assert pair.arrived != FRAMES


def test_each_direction_can_be_given_its_own_quality_and_have_it_taken_back() -> None:
    clock, hosts = Clock(), (RecordingHost(), RecordingHost())
    network = MemoryNetwork(clock)
    left, right = (MemoryTransport(network, name, 1, host) for name, host in zip("ab", hosts, strict=True))
    left.start()
    right.start()
    network.set_quality("a", "b", LinkQuality(loss=1.0))
    for station, peer in ((left, "b"), (right, "a"), (left, "b")):
        station.send(peer, [b"frame"])
        station.flush()
        clock.advance(0)
        if station is right:
            network.set_quality("a", "b", None)
    assert [len(host.frames) for host in hosts] == [1, 1]


def test_an_answer_sent_at_the_end_of_a_burst_arrives_later_not_within_it() -> None:
    pair = Pair()
    depth = 0

    def answer(transport: ITransport, address: str, frames: list[bytes]) -> None:
        nonlocal depth
        depth += 1
        assert depth == 1
        if frames[0][0] < 5:
            transport.send(address, [bytes([frames[0][0] + 1])])
            transport.flush()
        depth -= 1

    for host in pair.hosts:
        host.on_frames = answer
    pair.emit([b"\x00"])
    for _ in range(10):
        pair.clock.advance(0.001)
    assert pair.hosts[1].frames == [b"\x00", b"\x02", b"\x04"]
    assert pair.hosts[0].frames == [b"\x01", b"\x03", b"\x05"]


def test_rounding_of_times_never_stalls_the_clock() -> None:
    pair = Pair(LinkQuality(delay=(0.1, 0.1)))
    for _ in range(100):
        pair.clock.advance(0.1)
        pair.emit([b"frame"])
    pair.clock.advance(0.2)
    assert len(pair.arrived) == 100


def test_one_call_at_most_is_pending_however_much_is_under_way() -> None:
    pair = Pair(LinkQuality(delay=(0.0, 1.0)))
    for frame in FRAMES:
        pair.emit([frame])
        assert len(pair.clock.getDelayedCalls()) == 1
    pair.clock.advance(2)
    assert pair.arrived == FRAMES
    assert pair.clock.getDelayedCalls() == []


def test_oversized_frames_are_refused_and_counted() -> None:
    pair = Pair()
    pair.emit([bytes(1280), bytes(1281)])
    pair.clock.advance(0)
    assert [len(frame) for frame in pair.arrived] == [1280]
    assert pair.left.stats()["mtu_exceeded"] == 1


def test_an_address_with_nobody_behind_it_is_a_send_error() -> None:
    pair = Pair()
    pair.left.send("memory:3", [b"frame"])
    pair.left.flush()
    assert pair.left.stats()["send_errors"] == 1
    assert pair.left.stats()["packets_sent"] == 0


def test_a_stopped_station_sends_nothing_and_loses_what_was_under_way() -> None:
    pair = Pair(LinkQuality(delay=(0.1, 0.1)))
    pair.left.send("memory:2", [b"frame"])
    pair.left.stop()
    assert (pair.left.state, pair.left.local_address) == ("down", None)
    pair.left.send("memory:2", [b"frame"])
    assert pair.left.stats()["send_errors"] == 1
    pair.right.stop()
    pair.clock.advance(1)
    assert pair.hosts[1].calls == []
    pair.left.start()
    assert pair.left.state == "up"


def test_two_stations_cannot_share_an_address() -> None:
    network = MemoryNetwork(Clock())
    first, second = (MemoryTransport(network, "here", number, RecordingHost()) for number in (1, 2))
    first.start()
    with pytest.raises(TransportError, match="already in use"):
        second.start()
    assert second.state == "failed"
    with pytest.raises(TransportError, match="already started"):
        first.start()


def test_a_roaming_station_is_found_at_its_new_address_only() -> None:
    pair = Pair()
    pair.left.move("memory:9")
    pair.emit([b"frame"])
    pair.clock.advance(0)
    assert pair.hosts[1].runs == [("memory:9", [b"frame"])]
    pair.right.send("memory:1", [b"lost"])
    pair.right.send("memory:9", [b"found"])
    pair.right.flush()
    pair.clock.advance(0)
    assert pair.hosts[0].frames == [b"found"]
    assert pair.right.stats()["send_errors"] == 1


def test_it_dials_only_while_up() -> None:
    pair = Pair()
    assert pair.left.can_dial("memory:2")
    pair.left.stop()
    assert not pair.left.can_dial("memory:2")
    assert pair.left.link_mtu("memory:2") == 1280
