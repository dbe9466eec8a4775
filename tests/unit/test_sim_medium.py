"""What links do to frames."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from meshnode.sim.clock import VirtualClock
from meshnode.sim.links import CLASSES, LinkSpec, Quality
from meshnode.sim.medium import Medium, Station

FRAME = b"\0" * 100


class Host:
    """Notes what a station hands over (`ITransportHost`)."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.frames: list[bytes] = []
        self.times: list[float] = []
        self.bursts = 0

    def frames_received(self, transport: Any, address: str, frames: list[bytes]) -> None:
        self.frames += frames
        self.times += [self.clock.seconds()] * len(frames)

    def burst_ended(self) -> None:
        self.bursts += 1

    def accepted(self) -> int:
        return len(self.frames)


class Wire:
    """Two stations, left and right."""

    def __init__(self, quality: Quality, back: Quality | None = None) -> None:
        self.clock = VirtualClock()
        self.medium = Medium(self.clock, Random(3))
        self.medium.connect("left", "right", LinkSpec(quality, back or quality))
        self.hosts = {name: Host(self.clock) for name in ("left", "right")}
        self.stations = {
            name: Station(self.medium, name, host, host.accepted)  # type: ignore[arg-type]
            for name, host in self.hosts.items()
        }
        for station in self.stations.values():
            station.start()
        self.right = self.hosts["right"]

    def send(self, *frames: bytes) -> None:
        self.stations["left"].send("right", list(frames))
        self.stations["left"].flush()

    def run(self, seconds: float = 10.0) -> None:
        self.clock.run_until(self.clock.seconds() + seconds)


def numbered(count: int, size: int = 100) -> list[bytes]:
    return [i.to_bytes(2, "big") + b"\0" * (size - 2) for i in range(256, 256 + count)]


def test_frames_arrive_after_the_delay_in_order_and_in_one_burst() -> None:
    wire = Wire(Quality(delay=0.25))
    frames = numbered(5)
    wire.send(*frames)
    wire.run(0.2)
    assert wire.right.frames == []
    wire.run(0.1)
    assert wire.right.frames == frames
    assert wire.right.times == [0.25] * 5
    assert wire.right.bursts == 1


def test_nothing_arrives_within_the_call_that_sends() -> None:
    wire = Wire(Quality(delay=0.0))
    wire.send(FRAME)
    assert wire.right.frames == []


def test_jitter_never_lets_frames_overtake_each_other() -> None:
    wire = Wire(Quality(delay=0.01, jitter=0.5))
    frames = numbered(50)
    for frame in frames:
        wire.send(frame)
        wire.run(0.001)
    wire.run()
    assert wire.right.frames == frames
    assert wire.right.times[-1] > 0.1


def test_directions_differ() -> None:
    wire = Wire(Quality(delay=0.1), back=Quality(delay=0.4))
    wire.send(FRAME)
    wire.stations["right"].send("left", [FRAME])
    wire.stations["right"].flush()
    wire.run()
    assert wire.right.times == [0.1]
    assert wire.hosts["left"].times == [0.4]


def test_a_share_of_frames_is_lost() -> None:
    wire = Wire(Quality(loss=0.3))
    for frame in numbered(3000):
        wire.send(frame)
    wire.run()
    assert 0.66 < len(wire.right.frames) / 3000 < 0.74
    assert wire.medium.counters.lost == 3000 - len(wire.right.frames)


def test_losses_come_in_bursts_of_the_length_asked_for() -> None:
    wire = Wire(Quality(loss=0.1, burst=5.0))
    frames = numbered(8000)
    for frame in frames:
        wire.send(frame)
    wire.run()
    arrived = [int.from_bytes(frame[:2], "big") for frame in wire.right.frames]
    gaps = [b - a - 1 for a, b in pairwise(arrived) if b - a > 1]
    assert 0.86 < len(arrived) / 8000 < 0.94
    assert 4.0 < sum(gaps) / len(gaps) < 6.0


def test_late_frames_come_after_those_sent_behind_them() -> None:
    wire = Wire(Quality(delay=0.01, reorder=0.2, lag=0.05))
    frames = numbered(400)
    for frame in frames:
        wire.send(frame)
        wire.run(0.01)
    wire.run()
    assert wire.right.frames != frames
    assert sorted(wire.right.frames) == frames


def test_copies_come_once_more_and_after_the_original() -> None:
    wire = Wire(Quality(duplicate=0.3))
    frames = [b"\0" + frame for frame in numbered(500)]
    for frame in frames:
        wire.send(frame)
    wire.run()
    extra = len(wire.right.frames) - 500
    assert 100 < extra < 200
    assert extra == wire.medium.counters.duplicated
    assert list(dict.fromkeys(wire.right.frames)) == frames


def test_a_node_that_takes_copies_for_new_is_found_out() -> None:
    wire = Wire(Quality(duplicate=1.0))
    wire.send(FRAME)
    wire.run()
    assert wire.stations["right"].replays_accepted == 1


def test_repeated_handshakes_are_nobodys_fault() -> None:
    wire = Wire(Quality(duplicate=1.0))
    wire.send(b"\1" + FRAME)
    wire.run()
    assert len(wire.right.frames) == 2
    assert wire.stations["right"].replays_accepted == 0


def test_bandwidth_spaces_frames_and_a_long_line_loses_the_rest() -> None:
    wire = Wire(Quality(delay=0.0, bandwidth=80_000, queue=0.5))
    wire.send(*numbered(100, size=1000))  # a tenth of a second each
    wire.run(20.0)
    assert len(wire.right.frames) == 6
    assert [round(when, 3) for when in wire.right.times] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert wire.medium.counters.queue_full == 94


def test_a_fast_line_hands_a_burst_over_together() -> None:
    wire = Wire(Quality(delay=0.001, bandwidth=1e9))
    wire.send(*numbered(40, size=1000))
    wire.run()
    assert len(wire.right.frames) == 40
    assert wire.right.bursts == 1


def test_the_sender_refuses_what_exceeds_the_link() -> None:
    wire = Wire(Quality(mtu=500))
    wire.send(b"\0" * 500, b"\0" * 501)
    wire.run()
    assert [len(frame) for frame in wire.right.frames] == [500]
    assert wire.stations["left"].stats()["mtu_exceeded"] == 1
    assert wire.stations["left"].link_mtu("right") == 500


def test_a_black_hole_swallows_large_frames_and_tells_nobody() -> None:
    wire = Wire(Quality(hidden_mtu=500))
    wire.send(b"\0" * 500, b"\0" * 501)
    wire.run()
    assert [len(frame) for frame in wire.right.frames] == [500]
    assert wire.stations["left"].stats()["mtu_exceeded"] == 0
    assert wire.medium.counters.too_big == 1


def test_a_cut_link_carries_nothing_and_loses_what_is_under_way() -> None:
    wire = Wire(Quality(delay=1.0))
    wire.send(FRAME)
    wire.run(0.5)
    wire.medium.switch("left", "right", False)
    wire.send(FRAME)
    wire.run(0.1)
    wire.medium.switch("left", "right", True)
    wire.run()
    assert wire.right.frames == []
    assert wire.medium.counters.cut == 2
    wire.send(FRAME)
    wire.run()
    assert wire.right.frames == [FRAME]


def test_nobody_hears_a_station_without_power_and_it_sends_nothing() -> None:
    wire = Wire(Quality(delay=1.0))
    wire.send(FRAME)
    wire.stations["left"].send("right", [FRAME])
    wire.stations["right"].cut()
    wire.stations["left"].cut()
    wire.stations["left"].flush()
    wire.run()
    assert wire.right.frames == []


def test_a_link_may_change_while_it_is_used() -> None:
    wire = Wire(Quality(delay=0.1))
    wire.medium.connect("left", "right", LinkSpec(Quality(delay=0.9, mtu=700), Quality(delay=0.9)))
    wire.send(FRAME)
    wire.run()
    assert wire.right.times == [0.9]
    assert wire.stations["left"].mtu == 700
    assert wire.stations["right"].mtu == 1472


def test_only_what_arrived_is_recorded_by_somebody_who_listens() -> None:
    wire, heard = Wire(Quality(loss=0.5)), list[bytes]()
    wire.medium.ways["left", "right"].tap = lambda way, frames: heard.extend(frames)
    for frame in numbered(50):
        wire.send(frame)
    wire.run()
    assert heard == wire.right.frames
    assert len(heard) < 50


def test_a_station_has_the_smallest_mtu_of_its_links() -> None:
    wire = Wire(Quality(mtu=1400))
    wire.medium.connect("left", "elsewhere", LinkSpec(Quality(mtu=1300), Quality(mtu=1500)))
    assert wire.stations["left"].mtu == 1300
    assert wire.stations["right"].mtu == 1400


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_links_of_every_class_carry_a_filter_announcement(name: str) -> None:
    spec = LinkSpec.of_class(name)
    for quality in (spec.there, spec.back):
        assert quality.mtu >= 1280
        assert 0 <= quality.loss < 0.05
        assert quality.delay > 0


def test_a_change_may_concern_one_direction_only() -> None:
    spec = LinkSpec.of_class("fibre").altered({"loss": 0.1}, {"mtu": 1300.0}, {"delay": 2.0})
    fibre = CLASSES["fibre"][0]
    assert spec.there == replace(fibre, loss=0.1, mtu=1300)
    assert spec.back == replace(fibre, loss=0.1, delay=2.0)
