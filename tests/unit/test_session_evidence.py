"""What silent sessions tell about the neighbours they lead through."""

from __future__ import annotations

from meshnode.mesh.relay_record import SILENT, SILENT_THOUGH_ALIVE, Evidence, Silence
from meshnode.mesh.session import LookupWanted
from meshnode.mesh.session.evidence import TELLING_SECS, UNREPORTED_SECS
from tests.unit.session_rig import Net, Node, established, pair

CARRIER, BRINGER = b"c" * 16, b"b" * 16


def _talk(net: Net, a: Node, b: Node, seconds: int) -> None:
    """Both send something every second, b by way of another neighbour of a than a does."""
    for _ in range(seconds):
        for sender, receiver in ((a, b), (b, a)):
            sender.send(receiver, b"and so on")
        net.run(1.0)


def _through_neighbours() -> tuple[Net, Node, Node]:
    net, a, b = established()
    a.router.hop = CARRIER
    receive = a.layer.receive

    def by_way_of_the_bringer(source, link_peer, *rest):  # type: ignore[no-untyped-def]
        return receive(source, BRINGER, *rest)

    a.layer.receive = by_way_of_the_bringer  # type: ignore[method-assign]
    _talk(net, a, b, 10)
    assert a.layer.evidence(net.now) == Evidence([], {b.address: BRINGER})
    return net, a, b


def test_sessions_that_are_heard_speak_for_the_neighbour_that_brings_what_is_heard() -> None:
    _through_neighbours()


def test_a_session_that_fell_silent_speaks_against_the_neighbour_that_brought_what_was_heard() -> None:
    net, a, b = _through_neighbours()
    net.lose = lambda source, message: source is b
    _talk(net, a, b, 8)
    assert a.layer.evidence(net.now) == Evidence([Silence(b.address, {BRINGER}, SILENT)], {})


def test_it_weighs_more_when_a_lookup_has_found_its_remote_since() -> None:
    net, a, b = _through_neighbours()
    net.lose = lambda source, message: source is b
    _talk(net, a, b, 8)
    a.layer.lookup_succeeded(b.address, net.now)
    assert a.layer.evidence(net.now).silent == [Silence(b.address, {BRINGER}, SILENT_THOUGH_ALIVE)]


def test_a_remote_that_is_silent_for_long_is_gone_and_nobody_to_blame() -> None:
    net, a, b = _through_neighbours()
    net.lose = lambda source, message: source is b
    net.run(TELLING_SECS + 15)
    a.layer.tick(net.now)
    assert a.layer.evidence(net.now) == Evidence([], {})


def test_a_remote_that_is_heard_and_tells_no_more_that_it_hears_us_speaks_against_the_next_hop() -> None:
    net, a, b = _through_neighbours()
    net.lose = lambda source, message: source is a
    _talk(net, a, b, int(UNREPORTED_SECS) + 3)
    evidence = a.layer.evidence(net.now)
    assert evidence.silent == [Silence(b.address, {CARRIER}, SILENT_THOUGH_ALIVE)]
    assert evidence.heard == {b.address: BRINGER}
    assert evidence.relays_heard() == {BRINGER}


def test_a_direct_peer_speaks_against_nobody() -> None:
    net, a, b = established()
    _talk(net, a, b, 5)
    net.lose = lambda source, message: True
    _talk(net, a, b, 12)
    assert a.session(b).offers
    assert a.layer.evidence(net.now) == Evidence([], {})


def test_an_opening_without_an_answer_counts_when_a_lookup_just_found_the_remote() -> None:
    net, a, b = pair()
    a.router.hop = CARRIER
    net.lose = lambda source, message: True
    a.open(b)
    net.run(12)
    assert a.layer.evidence(net.now) == Evidence([], {})
    a.layer.lookup_succeeded(b.address, net.now)
    net.run(5)
    parent = a.router.own_coordinates[1]
    assert a.layer.evidence(net.now).silent == [Silence(b.address, {CARRIER, parent}, SILENT_THOUGH_ALIVE)]


def test_an_opening_that_was_hardly_repeated_tells_nothing() -> None:
    net, a, b = pair()
    a.router.hop = CARRIER
    net.lose = lambda source, message: True
    a.open(b)
    a.layer.lookup_succeeded(b.address, net.now)
    net.run(2)
    assert a.session(b).resend_count == 1
    assert a.layer.evidence(net.now).silent == []


def test_who_has_hardly_sent_anything_cannot_miss_reports_of_it() -> None:
    net, a, b = _through_neighbours()
    for _ in range(20):
        b.send(a, b"only one of us talks")
        net.run(0.5)
    session = a.session(b)
    session.sent_by_report = session.measurement.sender.packets_sent - 2
    session.reported_at = net.now - 100
    assert a.layer.evidence(net.now).silent == []
    session.sent_by_report -= 1
    assert a.layer.evidence(net.now).silent == [Silence(b.address, {CARRIER}, SILENT_THOUGH_ALIVE)]


def test_a_remote_that_has_not_reported_yet_tells_nothing() -> None:
    net, a, b = established()
    a.router.hop = CARRIER
    assert a.session(b).reported_at is None
    assert a.layer.evidence(net.now).silent == []


def test_a_lookup_that_ended_as_the_remote_fell_silent_does_not_show_that_it_is_there() -> None:
    net, a, b = _through_neighbours()
    net.lose = lambda source, message: source is b
    _talk(net, a, b, 1)
    a.layer.lookup_succeeded(b.address, net.now)
    _talk(net, a, b, 7)
    assert a.layer.evidence(net.now).silent == [Silence(b.address, {BRINGER}, SILENT)]


def test_a_remote_that_ceased_to_report_is_looked_for_now_and_then_for_a_minute_though_we_have_nothing_to_say() -> None:
    net, a, b = _through_neighbours()
    net.lose = lambda source, message: source is b
    a.events.clear()
    net.run(200)
    looked_for = [event for event in a.events if isinstance(event, LookupWanted) and event.remote == b.address]
    assert 4 <= len(looked_for) <= 6
