"""Events: one for each thing that happens to a node, told to everybody who listens, and bounded."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from meshnode.mesh.link import LinkCounters
from meshnode.mesh.session import SessionCounters
from meshnode.mesh.settings import LimitSettings, MeshSettings, RekeySettings
from meshnode.node import events
from meshnode.node.events import EVENTS, KEPT, KINDS, Event, EventHub, LimitReached, PeerSilent, Record
from meshnode.transports.memory import LinkQuality
from meshnode.wire.link import DisconnectReason
from tests.unit.node_rig import MeshNet

SAMPLES: dict[str, Any] = {"str": "x", "int": 3, "float": 2.5, "bool": True, "list[str]": ["a.b"]}


def sample(kind: type[Event]) -> Event:
    return kind(**{field.name: SAMPLES[str(field.type)] for field in fields(kind)})


def kinds(records: list[Record]) -> list[str]:
    return [record.event.KIND for record in records]


def test_every_event_class_is_listed_once() -> None:
    defined = {
        value
        for value in vars(sys.modules[events.__name__]).values()
        if isinstance(value, type) and issubclass(value, Event) and value is not Event
    }
    assert defined == set(EVENTS)
    assert len(set(KINDS)) == len(EVENTS)


def test_the_reference_page_is_current() -> None:
    script = Path(__file__).parents[2] / "script" / "gen-events-reference"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", EVENTS, ids=KINDS)
def test_every_event_has_a_line_a_level_and_values_a_client_can_read(kind: type[Event]) -> None:
    event = sample(kind)
    assert "\n" not in event.text()
    assert event.level in ("trace", "debug", "info", "warn", "error")
    row = json.loads(json.dumps(Record(1, 2.5, event).as_dict()))
    assert (row["event"], row["time_ms"], row["number"]) == (kind.KIND, 2500, 1)
    assert {field.name for field in fields(kind)} <= set(row)
    assert kind.__doc__


class Meeting:
    """a, who notes every event, and b."""

    def __init__(self, settings: MeshSettings | None = None) -> None:
        self.net = MeshNet(settings)
        self.a, self.b = (self.net.host(name) for name in "ab")
        self.records: list[Record] = []
        self.a.node.events.subscribe(self.records.append)

    def begin(self) -> Meeting:
        self.b.start()
        self.a.start(self.b)
        self.net.run(3)
        return self

    def of(self, kind: str) -> list[Record]:
        return [record for record in self.records if kind == record.event.KIND]


def test_the_life_of_a_link_is_told() -> None:
    meeting = Meeting().begin()
    (up,) = meeting.of("peer_up")
    assert up.event.values() == {
        "npub": meeting.b.identity.npub,
        "name": "b",
        "transport": "memory",
        "address": "b",
        "direction": "outbound",
    }
    meeting.b.node.stop()
    meeting.net.run(3)
    (down,) = meeting.of("peer_down")
    assert down.event.values()["reason"] == "disconnected by peer (shutdown)"


def test_a_peer_that_fell_silent_and_speaks_again_is_told_as_both() -> None:
    meeting = Meeting().begin()
    meeting.net.run(10)
    for loss in (1.0, 0.0):
        for one, other in (("a", "b"), ("b", "a")):
            meeting.net.medium.set_quality(one, other, LinkQuality(delay=(0.001, 0.002), loss=loss))
        meeting.net.run(10)
    told = [record for record in meeting.records if record.event.KIND in ("peer_silent", "peer_heard", "peer_down")]
    assert kinds(told) == ["peer_silent", "peer_heard"]
    assert told[1].event.values()["npub"] == meeting.b.identity.npub


def test_a_change_of_parent_and_sessions_are_told() -> None:
    meeting = Meeting().begin()
    for _ in range(3):
        meeting.a.send(meeting.b, b"x")
        meeting.b.send(meeting.a, b"x")
        meeting.net.run(1)
    assert len(meeting.of("session_up")) == 1
    other: list[Record] = []
    meeting.b.node.events.subscribe(other.append)
    assert "parent_changed" in kinds(meeting.records) + kinds(list(meeting.b.node.events.since(0)))


def test_new_keys_of_links_and_sessions_are_told() -> None:
    meeting = Meeting(MeshSettings(rekey=RekeySettings(after_secs=31))).begin()
    for _ in range(100):
        meeting.a.send(meeting.b, b"x")
        meeting.b.send(meeting.a, b"x")
        meeting.net.run(1)
    layers = {record.event.values()["layer"] for record in meeting.of("rekey")}
    assert layers == {"link", "session"}


def test_a_dial_in_vain_is_told_with_its_reason() -> None:
    meeting = Meeting(MeshSettings())
    meeting.a.start(meeting.b)
    meeting.b.transport.stop()
    meeting.net.run(40)
    failure = meeting.of("dial_failed")[0].event
    assert failure.values()["reason"] == "no answer to the handshake"
    assert "not welcome" in failure.text()


def test_a_dial_of_somebody_who_turned_us_away_says_so() -> None:
    meeting = Meeting().begin()
    peer = next(iter(meeting.b.node.links.peers.values()))
    meeting.b.node.run(lambda now: meeting.b.node.links.disconnect(peer, DisconnectReason.SECURITY_VIOLATION, now))
    meeting.b.transport.stop()
    meeting.net.run(40)
    assert "its access control list denies this node" in meeting.of("dial_failed")[0].event.text()


def test_a_full_node_says_so_once_a_minute() -> None:
    net = MeshNet(MeshSettings(limits=LimitSettings(max_peers=1)))
    hub, *guests = (net.host(name) for name in ("hub", "one", "two", "three"))
    records: list[Record] = []
    hub.node.events.subscribe(records.append)
    hub.start()
    for guest in guests:
        guest.start(hub)
    net.run(70)
    reached = [record for record in records if record.event.KIND == "limit_reached"]
    assert 1 <= len(reached) <= 2
    event = reached[0].event
    assert isinstance(event, LimitReached)
    assert event.limit == "node.limits.max_peers"
    assert event.refused >= 1


def test_a_name_that_is_asked_for_a_thousand_times_is_told_once_a_minute() -> None:
    meeting = Meeting()
    for number in range(1000):
        meeting.a.node.chronicle.name_resolved(meeting.b.identity.peer, number * 0.1)
    assert len(meeting.of("name_resolved")) == 2


def test_a_limit_is_told_with_what_was_refused_since_the_last_time() -> None:
    meeting, link, session = Meeting(), LinkCounters(), SessionCounters()
    for moment, count in ((0.0, 5), (1.0, 9), (61.0, 12)):
        link.rate_limited, session.setup_rate_limited = count, count // 5
        meeting.a.node.chronicle.limits(link, session, moment)
    told = [
        (record.event.values()["limit"], record.event.values()["refused"]) for record in meeting.of("limit_reached")
    ]
    assert told == [
        ("node.rate_limit.handshake_rate", 5),
        ("node.rate_limit.session_setup_rate", 1),
        ("node.rate_limit.handshake_rate", 7),
        ("node.rate_limit.session_setup_rate", 1),
    ]


def test_the_log_has_the_line_of_every_event() -> None:
    meeting = Meeting().begin()
    lines = [text for _, text in meeting.a.log]
    assert all(record.event.text() in lines for record in meeting.records)


# -- the hub


def test_the_latest_events_can_be_asked_for_and_no_more_are_kept() -> None:
    hub = EventHub(lambda: 1.0, lambda level, text: None)
    for number in range(KEPT + 88):
        hub.publish(PeerSilent("npub1x", str(number)))
    kept = list(hub.since(0))
    assert len(kept) == KEPT
    assert kept[-1].number == hub.last_number == KEPT + 88
    assert [record.number for record in hub.since(KEPT + 86)] == [KEPT + 87, KEPT + 88]


def test_who_no_longer_listens_hears_nothing_more_even_in_the_midst_of_telling() -> None:
    hub, heard = EventHub(lambda: 1.0, lambda level, text: None), []

    def once(record: Record) -> None:
        heard.append(record)
        stop()

    stop = hub.subscribe(once)
    hub.subscribe(heard.append)
    for _ in range(2):
        hub.publish(PeerSilent("npub1x", "x"))
    assert len(heard) == 3
    stop()
