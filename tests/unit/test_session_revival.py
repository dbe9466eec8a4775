"""A peer that lost its keys is offered fresh ones; a peer that is merely quiet is left in peace."""

from __future__ import annotations

import itertools

import pytest

from meshnode.mesh.settings import MeshSettings, RekeySettings

from .session_rig import ACK, MSG3, SETUP, Net, Node, established, exchange, lose_first


def talk(net: Net, a: Node, b: Node, seconds: float, every: float = 0.2, back: bool = True) -> None:
    """Data from A, and answers if B is up to it."""
    for _ in range(round(seconds / every)):
        a.send(b, b"ping")
        if back and b.alive:
            b.send(a, b"pong")
        net.run(every)


def kill(node: Node) -> None:
    node.alive = False


@pytest.fixture
def two() -> tuple[Net, Node, Node]:
    net, a, b = established()
    talk(net, a, b, 5)
    a.sent.clear()
    return net, a, b


@pytest.mark.parametrize("who", ["smaller", "larger"])
@pytest.mark.parametrize("down", [0.1, 0.7, 1.3, 2.5, 4.1, 6.0, 9.9, 17.0, 30.0, 45.0])
@pytest.mark.parametrize("every", [0.05, 1.0])
def test_a_restarted_listener_is_reached_again_within_five_seconds(
    two: tuple[Net, Node, Node], who: str, down: float, every: float
) -> None:
    """The restarted node itself sends nothing: only the other side's traffic can heal the session."""
    net, a, b = two
    sender, listener = (a, b) if who == "smaller" else (b, a)
    kill(listener)
    talk(net, sender, listener, down, every, back=False)
    listener.restart()
    restarted = net.now
    while not listener.received and net.now < restarted + 20:
        talk(net, sender, listener, every, every, back=False)
    assert net.now - restarted <= 5.0
    net.run(0.5)
    assert exchange(net, sender, listener)


@pytest.mark.parametrize("who", ["smaller", "larger"])
@pytest.mark.parametrize("both_talk", [True, False])
@pytest.mark.parametrize("down", [0.1, 1.9, 2.1, 5.0, 12.0, 40.0])
def test_a_restarted_talker_is_understood_at_once(
    two: tuple[Net, Node, Node], who: str, both_talk: bool, down: float
) -> None:
    net, a, b = two
    talker, other = (a, b) if who == "smaller" else (b, a)
    kill(talker)
    talk(net, other, talker, down, back=False) if both_talk else net.run(down)
    talker.restart()
    other.received.clear()
    talker.send(other, b"I am back")
    for _ in range(12):
        if both_talk:
            other.send(talker, b"are you?")
        net.run(0.1)
        if other.received:
            break
    assert other.received == [b"I am back"]
    net.run(1)
    assert exchange(net, a, b)


@pytest.mark.parametrize("lost", [SETUP, ACK, MSG3])
def test_an_offer_survives_the_loss_of_one_of_its_messages(two: tuple[Net, Node, Node], lost: int) -> None:
    net, a, b = two
    b.restart()
    net.lose = lose_first(lost)
    restarted = net.now
    while not b.received and net.now < restarted + 20:
        talk(net, a, b, 0.2, back=False)
    assert net.now - restarted <= 5.0


def test_a_changed_epoch_moves_both_ends_to_the_new_keys_at_once(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    b.restart()
    b.open(a)
    net.run(0.1)
    assert a.session(b).pending is None
    assert a.session(b).k
    assert a.session(b).warmup_remaining == 5
    assert b.session(a).unproven is None


def test_offers_are_the_same_setup_at_a_bounded_rate(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    kill(b)
    a.sent.clear()
    start = net.now
    times = []
    for _ in range(1400):
        before = a.phases().count(SETUP)
        a.send(b, b"x")
        net.run(0.1)
        times += [round(net.now - start)] * (a.phases().count(SETUP) - before)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert times[:4] == [2, 4, 8, 12]
    assert max(gaps) <= 31
    assert sum(gap <= 5 for gap in gaps) <= 16
    setups = [message for _to, message in a.sent if message[0] == SETUP]
    assert len(set(setups)) < len(setups) / 2


def test_no_offers_without_data_or_after_a_single_packet(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    kill(b)
    a.sent.clear()
    net.run(10)
    a.send(b, b"x")
    net.run(20)
    assert SETUP not in a.phases()


def test_no_offers_without_a_route_and_one_soon_after_it_returns(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    kill(b)
    a.sent.clear()
    a.router.routed = False
    talk(net, a, b, 20)
    assert SETUP not in a.phases()
    a.router.routed = True
    talk(net, a, b, 1.2)
    assert SETUP in a.phases()


def test_a_fresh_path_hastens_the_next_offer(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    kill(b)
    talk(net, a, b, 130)
    b.restart()
    a.layer.lookup_succeeded(b.address, net.now)
    a.drain()
    talk(net, a, b, 0.5, back=False)
    assert b.received


def test_traffic_in_one_direction_only_causes_no_offers(two: tuple[Net, Node, Node]) -> None:
    """The peer's reports are sign of life enough."""
    net, a, b = two
    talk(net, a, b, 100, back=False)
    assert SETUP not in a.phases()


@pytest.mark.parametrize("mode", ["lightweight", "minimal"])
def test_a_peer_that_reports_little_causes_no_offers(mode: str) -> None:
    settings = MeshSettings()
    settings.session_mmp.mode = mode  # type: ignore[assignment]
    net, a, b = established(settings)
    talk(net, a, b, 100, back=False)
    assert SETUP not in a.phases()


def test_a_peer_that_stops_reporting_is_offered_keys_less_and_less_often(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    b.settings.session_mmp.mode = "minimal"
    net.lose = lambda source, message: len(message) == 36  # its PathMtuNotifications
    talk(net, a, b, 100, back=False)
    assert 1 <= a.phases().count(SETUP) <= 7
    assert len(b.received) > 490


def test_an_outage_of_the_network_heals_without_new_keys_or_with(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    net.lose = lambda source, message: True
    talk(net, a, b, 20)
    net.lose = lambda source, message: False
    talk(net, a, b, 0.5)
    assert exchange(net, a, b)
    talk(net, a, b, 5)
    assert exchange(net, a, b)
    assert a.session(b).offers == b.session(a).offers == 0


def test_a_long_round_trip_is_given_its_time() -> None:
    net, a, b = established(MeshSettings(rekey=RekeySettings(after_secs=300)), latency=0.01)
    net.latency = 0.9
    talk(net, a, b, 60, every=1.0)
    a.sent.clear()
    b.sent.clear()
    talk(net, a, b, 50, every=1.0)
    assert a.session(b).patience > 5
    assert SETUP not in a.phases() + b.phases()


def test_a_session_never_proven_is_offered_anew_after_thirty_seconds() -> None:
    net, a, b = established()
    session = a.session(b)
    b.layer.sessions.clear()
    a.layer.sessions.clear()
    a.send(b, b"x")
    net.run(0.015)
    net.lose = lambda source, message: message[0] & 15 == MSG3 or (source is b and message[0] & 15 == 0)
    net.run(29)
    session = a.session(b)
    assert session.unproven is not None
    assert a.phases().count(SETUP) == 1
    net.run(4)
    assert a.phases().count(SETUP) == 2


def test_both_ends_restarting_is_an_ordinary_opening(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    a.restart()
    b.restart()
    a.send(b, b"x")
    b.send(a, b"y")
    net.run(0.2)
    assert (a.received, b.received) == ([b"y"], [b"x"])


@pytest.mark.parametrize("seed", range(6))
def test_restarts_under_traffic_and_loss_always_heal(seed: int) -> None:
    net, a, b = established(latency=0.03, seed=seed)
    net.lose = lambda source, message: source.random.random() < 0.05
    for round_ in range(6):
        victim, other = (a, b) if (seed + round_) % 2 else (b, a)
        talk(net, a, b, 7)
        kill(victim)
        talk(net, other, victim, 1.0 + round_, back=False)
        victim.restart()
        talk(net, a, b, 6)
        assert len(a.received) > 10 or len(b.received) > 10
        a.received.clear()
        b.received.clear()
        talk(net, a, b, 2)
        assert a.received
        assert b.received
