"""Links across changes of address, across sleep, and in search of a peer that is elsewhere (spec 01 section 9.3)."""

from __future__ import annotations

import pytest

from meshnode.mesh.link import PeerDown
from meshnode.mesh.link.epoch import LinkEpoch
from meshnode.mesh.settings import RekeySettings
from meshnode.noise import IkResponder
from meshnode.wire.link import Msg1

from .link_rig import LinkHost, LinkNet
from .test_link_layer import exchange, linked

NEVER = RekeySettings(enabled=False)
STEP = 1 / 64


def moved(net: LinkNet, host: LinkHost, name: str) -> None:
    """Give `host` another address; what is sent to the old one is lost."""
    del net.hosts[host.name]
    host.name = name
    net.hosts[name] = host


def carries(net: LinkNet, host: LinkHost, other: LinkHost) -> bool:
    return host.peer(other).path == (1, other.name) and other.peer(host).path == (1, host.name)


@pytest.mark.parametrize("role", ["dialling", "listening"])
def test_a_changed_address_is_followed_with_the_first_frame(role: str) -> None:
    net, small, large = linked()
    net.run(5)
    host, other = (small, large) if role == "dialling" else (large, small)
    moved(net, host, "elsewhere")
    host.layer.show_ourselves(net.now)
    net.run(0.25)
    assert carries(net, host, other)
    exchange(net, small, large)
    assert "PeerDown" not in small.names() + large.names()


def test_signs_of_life_are_repeated_because_one_may_be_lost() -> None:
    net, small, large = linked()
    net.run(5)
    lost: list[bytes] = []

    def drop_two(source: str, target: str, frame: bytes) -> list[bytes]:
        if source == "elsewhere" and len(lost) < 2:
            lost.append(frame)
            return []
        return [frame]

    net.wire = drop_two
    moved(net, small, "elsewhere")
    small.layer.show_ourselves(net.now)
    net.run(1, step=0.05)
    assert len(lost) == 2
    assert carries(net, small, large)


def test_both_sides_moving_at_once_find_each_other_by_another_address() -> None:
    """Nothing that either sends reaches the other any more, until one of them asks at the second address it knows."""
    net, small, large = linked()
    net.run(10)
    moved(net, small, "small elsewhere")
    moved(net, large, "large elsewhere")
    while not small.peer(large).doubtful:
        net.run(0.25)
    small.layer.probe_elsewhere(small.peer(large), [(1, "nowhere"), (1, "large elsewhere")], net.now)
    net.run(3)
    assert carries(net, small, large)
    exchange(net, small, large)
    assert "PeerDown" not in small.names() + large.names()


def test_an_answer_from_elsewhere_moves_nobody_who_is_where_he_was() -> None:
    net, small, large = linked()
    net.run(40)
    net.wire = lambda source, target, frame: [frame] if frame[0] != 2 else []
    small.layer._initiator.rekey(small.peer(large), net.now)
    net.settle()
    (answer,) = [frame for _, _, frame in net.log if frame[0] == 2][-1:]
    net.wire = lambda source, target, frame: [frame]
    net.inject("attacker", small, answer)
    net.settle()
    assert small.peer(large).path == (1, large.name)
    exchange(net, small, large)


# -- a translator that forgot us


def test_a_stream_that_stops_is_answered_with_a_sign_of_life() -> None:
    net, small, large = linked(rekey=NEVER)
    net.run(3)

    def stream(frames: int) -> None:
        for _ in range(frames):
            large.layer.send(large.peer(small), b"\x51", net.now)
            net.run(STEP, step=STEP)

    stream(128)
    moved(net, small, "new mapping")  # only the translator knows
    stream(20)
    assert carries(net, small, large)


def test_an_idle_peer_is_not_nudged() -> None:
    net, small, large = linked(rekey=NEVER)
    net.run(20)
    before = small.peer(large).packets_sent
    net.run(10)
    assert small.peer(large).packets_sent - before <= 32
    assert not small.peer(large).busy


# -- sleep


def sleep(net: LinkNet, sleeper: LinkHost, seconds: float) -> None:
    """Stop `sleeper` for a while; the others go on."""
    del net.hosts[sleeper.name]
    net.run(seconds)
    net.hosts[sleeper.name] = sleeper
    sleeper.layer.woke(seconds, net.now)


def test_a_short_sleep_leaves_the_link_as_it_is() -> None:
    net, small, large = linked()
    net.run(40)
    sleep(net, small, 20)
    net.run(1)
    exchange(net, small, large)
    assert "PeerDown" not in small.names() + large.names()
    assert not small.peer(large).distrusted


def test_silence_that_was_slept_through_is_not_held_against_the_peer() -> None:
    net, small, large = linked()
    net.run(40)
    net.now += 29
    small.layer.woke(29, net.now)
    small.layer.tick(net.now)
    assert not small.peer(large).distrusted


@pytest.mark.parametrize("sleeper", ["dialling", "listening"])
def test_after_a_long_sleep_both_meet_as_for_the_first_time(sleeper: str) -> None:
    net, small, large = linked()
    net.run(40)
    asleep = small if sleeper == "dialling" else large
    sleep(net, asleep, 120)
    net.run(1)
    exchange(net, small, large)
    assert small.names().count("PeerDown") == large.names().count("PeerDown") == 1


# -- a peer that was led astray by an old first message (spec 01 section 18.2)


def led_astray(age: float) -> tuple[LinkNet, LinkHost, LinkHost]:
    """A link whose larger side uses what came of the replayed dial of the smaller one, as a v0.4 responder does."""
    net, small, large = linked(rekey=NEVER)
    net.run(age)
    lead_astray(net, small, large)
    return net, small, large


def lead_astray(net: LinkNet, small: LinkHost, large: LinkHost) -> None:
    recorded = [frame for source, _, frame in net.log if frame[0] == 1 and source == small.name][-1]
    message = Msg1.parse(recorded)
    noise = IkResponder(large.identity, large.layer._table.startup_epoch)
    noise.read_message1(message.noise)
    noise.write_message2(bytes(31) + b"\x07")
    index = large.layer._table.new_index()
    assert index is not None
    false = LinkEpoch(noise.keys, index, message.sender_index, False, net.now)
    large.layer._table.cut_over(large.peer(small), false, net.now)

    def young_sessions_are_not_renewed(source: str, target: str, frame: bytes) -> list[bytes]:
        return [] if frame[0] == 1 and small.identity.node_addr in large.layer.peers else [frame]

    net.wire = young_sessions_are_not_renewed


def cures(host: LinkHost) -> int:
    downs = [event for event in host.events if isinstance(event, PeerDown)]
    return sum(event.reason == "it uses keys of an old handshake" for event in downs)


def test_a_peer_led_astray_is_met_again_while_it_still_hears_us() -> None:
    net, small, large = led_astray(40)
    net.run(8)
    exchange(net, small, large)
    assert cures(small) == 1


def test_the_cure_cannot_be_provoked_more_than_once_a_minute() -> None:
    """Whoever can lead the peer astray can do it again; a link has to be 30 s old for it."""
    net, small, large = led_astray(40)
    net.run(8)
    assert cures(small) == 1
    net.run(40)
    lead_astray(net, small, large)
    net.run(9)
    assert cures(small) == 1
    net.run(9)
    assert cures(small) == 2


def test_frames_that_do_not_open_end_no_link_that_works() -> None:
    net, small, large = linked(rekey=NEVER)
    net.run(40)
    for number in range(2000):
        (frame,) = large.layer.seal(large.peer(small), b"", [b"\x51"], 0, 0, net.now)
        net.inject(large.name, small, frame)
        net.inject("attacker", small, frame[:-1] + bytes((frame[-1] ^ 1,)))
        net.inject("attacker", small, frame)
        if number % 100 == 0:
            net.run(0.5)
    assert "PeerDown" not in small.names() + large.names()
    exchange(net, small, large)
