"""Error signals of nodes on the way: which are believed, and what follows."""

from __future__ import annotations

import pytest

from meshnode.mesh.session import LookupWanted, PathMtuChanged, PathMtuReleased, SessionEvent
from meshnode.wire import CoordinatesRequired, MtuExceeded, PathBroken, Signal
from meshnode.wire.session import CP

from .session_rig import Net, Node, established, pair
from .vectors import load, unhex

REPORTER = b"\x22" * 16


def all_about(destination: bytes) -> list[Signal]:
    return [
        CoordinatesRequired(destination, REPORTER),
        PathBroken(destination, REPORTER, [destination, bytes(16)]),
        MtuExceeded(destination, REPORTER, 1280),
    ]


def unbound(node: Node) -> tuple[int, int, int, int, int]:
    errors = node.layer.errors
    unknown = node.layer.counters.unknown_session
    return errors.unbound_coords, errors.unbound_broken, errors.unbound_mtu, errors.unbound_forged, unknown


def feed(node: Node, signal: Signal, source: bytes = REPORTER) -> list[SessionEvent]:
    """Hand a signal over and return the events it caused."""
    before = len(node.events)
    node.receive(source, signal.encode())
    return node.events[before:]


@pytest.fixture
def two() -> tuple[Net, Node, Node]:
    net, a, b = established()
    a.router.cache[b.address] = [b.address, bytes(16)]
    return net, a, b


def test_coordinates_required_is_answered_with_a_warmup_a_lookup_and_coordinates(
    two: tuple[Net, Node, Node],
) -> None:
    """Spec 03, section 10.4."""
    _net, a, b = two
    assert feed(a, CoordinatesRequired(b.address, REPORTER)) == [LookupWanted(b.address)]
    assert [message[1] & CP for _to, message in a.sent] == [CP]
    assert a.session(b).warmup_remaining == 5
    assert b.address in a.router.cache
    assert a.layer.errors.coords_required == 1


def test_a_broken_path_also_forgets_coordinates_and_path_mtu(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    a.session(b).path_mtu.seed(1300)
    net.lose = lambda source, message: True
    net.run(2.5)
    a.sent.clear()
    events = feed(a, PathBroken(b.address, REPORTER, []))
    assert events == [LookupWanted(b.address), PathMtuReleased(b.address)]
    assert b.address not in a.router.cache
    assert a.session(b).path_mtu.current == 65535
    assert a.session(b).warmup_remaining == 5
    assert len(a.sent) == 1


def test_a_broken_path_to_a_peer_we_hear_costs_a_lookup_and_nothing_more(two: tuple[Net, Node, Node]) -> None:
    """Whoever is on the mesh can say that a path is broken: a transfer must not stop because of it."""
    net, a, b = two
    a.session(b).path_mtu.seed(1300)
    b.send(a, b"I am here")
    net.run(0.1)
    for _ in range(100):
        assert PathMtuReleased(b.address) not in feed(a, PathBroken(b.address, REPORTER, []))
    assert b.address in a.router.cache
    assert a.session(b).path_mtu.current == 1300
    assert sum(event == LookupWanted(b.address) for event in a.events) == 1


def test_warmups_in_response_share_one_limiter(two: tuple[Net, Node, Node]) -> None:
    """Spec 03, section 10.4."""
    net, a, b = two
    for _ in range(10):
        feed(a, CoordinatesRequired(b.address, REPORTER))
        feed(a, PathBroken(b.address, REPORTER, []))
    assert len(a.sent) == 1
    net.run(2.1)
    a.sent.clear()
    feed(a, PathBroken(b.address, REPORTER, []))
    assert len(a.sent) == 1


def test_a_smaller_mtu_is_taken_at_once(two: tuple[Net, Node, Node]) -> None:
    _net, a, b = two
    assert feed(a, MtuExceeded(b.address, REPORTER, 1299)) == [PathMtuChanged(b.address, 1299)]
    assert a.session(b).path_mtu.current == 1299


def test_a_claimed_mtu_is_tried_again_soon(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    feed(a, MtuExceeded(b.address, REPORTER, 300))
    net.run(7.0)
    assert a.session(b).path_mtu.current == 1400
    assert a.events[-1] == PathMtuChanged(b.address, 1400)
    assert feed(a, MtuExceeded(b.address, REPORTER, 300)) == []


def test_a_claimed_mtu_is_not_believed_while_larger_frames_arrive(two: tuple[Net, Node, Node]) -> None:
    net, a, b = two
    for _ in range(60):
        a.send(b, *[bytes(1000)] * 5)
        feed(a, MtuExceeded(b.address, REPORTER, 300))
        net.run(0.1)
    before = a.session(b).path_mtu.current
    for _ in range(300):
        a.send(b, *[bytes(1000)] * 5)
        feed(a, MtuExceeded(b.address, REPORTER, 300))
        net.run(0.1)
        assert a.session(b).path_mtu.current == before == 1400


def test_nor_is_one_between_the_sizes_of_long_and_short_frames_that_arrive(two: tuple[Net, Node, Node]) -> None:
    """Data one way and acknowledgements of data the other: the mean size of frames tells nothing."""
    net, a, b = two
    believed = 0
    for step in range(600):
        a.send(b, *[bytes(1200)] * 5, *[bytes(40)] * 10)
        for claim in (1200, 1250, 900 + step % 300):
            feed(a, MtuExceeded(b.address, REPORTER, claim))
        net.run(0.1)
        believed += a.session(b).path_mtu.current != 1400
    assert believed <= 65  # the first claim, until it has been tried


def test_a_claim_that_is_true_is_believed_nearly_all_the_time(two: tuple[Net, Node, Node]) -> None:
    """Whoever says so is right: what is longer vanishes on the way, and others say so too."""
    net, a, b = two
    net.lose = lambda source, message: source is a and len(message) > 1200
    believed = 0
    for _ in range(600):
        a.send(b, *[bytes(1200)] * 5, *[bytes(40)] * 10)
        feed(a, MtuExceeded(b.address, REPORTER, 1200))
        net.run(0.1)
        believed += a.session(b).path_mtu.current == 1200
    assert believed >= 500


def test_an_mtu_below_the_floor_is_only_counted(two: tuple[Net, Node, Node]) -> None:
    _net, a, b = two
    before = a.session(b).path_mtu.current
    assert feed(a, MtuExceeded(b.address, REPORTER, 255)) == []
    assert a.session(b).path_mtu.current == before
    assert a.layer.errors.mtu_exceeded_below_floor == 1


@pytest.mark.parametrize("at", range(3))
def test_signals_about_ourselves_or_from_the_destination_are_forged(two: tuple[Net, Node, Node], at: int) -> None:
    """Spec 03, section 10.3."""
    _net, a, b = two
    expected = [0, 0, 0, 2, 2]
    expected[at] = 2
    assert feed(a, all_about(a.address)[at]) == []
    assert feed(a, all_about(b.address)[at], source=b.address) == []
    assert list(unbound(a)) == expected
    assert a.sent == []


@pytest.mark.parametrize("at", range(3))
def test_signals_without_a_session_are_unbound(at: int) -> None:
    _net, a, b = pair()
    expected = [0, 0, 0, 0, 1]
    expected[at] = 1
    assert feed(a, all_about(b.address)[at]) == []
    assert list(unbound(a)) == expected


@pytest.mark.parametrize("at", range(3))
def test_signals_about_a_half_open_entry_of_the_peer_are_unbound(at: int) -> None:
    net, a, b = pair()
    net.lose = lambda source, message: source is b
    a.open(b)
    net.run(0.1)
    assert feed(b, all_about(a.address)[at]) == []
    assert unbound(b)[at] == 1


def test_signals_about_a_session_we_are_opening_are_admitted() -> None:
    net, a, b = pair()
    net.lose = lambda source, message: True
    a.open(b)
    assert feed(a, CoordinatesRequired(b.address, REPORTER)) == [LookupWanted(b.address)]
    net.run(0.5)
    assert feed(a, PathBroken(b.address, REPORTER, [])) == [LookupWanted(b.address), PathMtuReleased(b.address)]
    assert a.phases() == [1]


@pytest.mark.parametrize(
    "text",
    [
        "00040000",
        "0004010020",
        "00040100 23",
        "000401002000",
        "00042400 21" + 33 * "00" + "0100",
        "0004000022" + 33 * "11",
    ],
)
def test_malformed_signals_do_nothing(two: tuple[Net, Node, Node], text: str) -> None:
    _net, a, _b = two
    before = len(a.events)
    a.receive(REPORTER, unhex(text))
    assert len(a.events) == before
    assert a.sent == []


def test_signals_recorded_from_a_daemon_are_understood() -> None:
    _net, a, _b = pair()
    scenario = next(entry for entry in load("live")["scenarios"] if entry["name"] == "transit")
    for event in scenario["events"]:
        if event["layer"] == "fsp":
            a.receive(bytes.fromhex(event["remote"]), bytes.fromhex(event["fsp"]))
    errors = a.layer.errors
    assert (errors.coords_required, errors.path_broken, errors.mtu_exceeded) == (2, 2, 1)
    assert (errors.unbound_coords, errors.unbound_broken, errors.unbound_mtu) == (2, 2, 1)
