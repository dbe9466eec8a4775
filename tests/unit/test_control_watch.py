"""The stream of events on the control socket: what comes, how much waits, and how it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.task import Clock

from meshnode.cli.commands.watch import CHATTY, line
from meshnode.control.commands import CommandError
from meshnode.control.events import show_events
from meshnode.control.exchange import ALIVE_SECS, WRITE_SECS, Exchange
from meshnode.control.watch import MOST_WATCHERS, QUEUED, Watchers
from meshnode.node.events import KINDS, EventHub, PeerMoved, PeerSilent, StoodStill


class Wire:
    """The far end of a stream, which takes pieces when the test says so."""

    def __init__(self) -> None:
        self.received = b""
        self.end: str | None = None
        self._producer: Any = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer
        producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def write(self, data: bytes) -> None:
        self.received += data

    def abortConnection(self) -> None:
        self.end = "aborted"

    def take(self) -> list[dict[str, Any]]:
        """Take all there is; the rows of it, empty lines left out."""
        before = -1
        while before != len(self.received):
            before = len(self.received)
            self._producer.resumeProducing()
        lines, self.received = self.received.splitlines(), b""
        return [json.loads(text) for text in lines if text]


class Watch:
    """A hub, and one client that watches it."""

    def __init__(self, params: Any = None, hub: EventHub | None = None) -> None:
        self.hub = hub or EventHub(lambda: 1_700_000_000.0, lambda level, text: None)
        self.clock, self.wire = Clock(), Wire()
        self.watchers = Watchers(self.hub)
        self.exchange = Exchange(self, self.clock.callLater, lambda exchange: None)
        self.exchange.makeConnection(self.wire)  # type: ignore[no-untyped-call]
        self.exchange.dataReceived(json.dumps({"command": "watch", "params": params}).encode() + b"\n")

    def answer(self, command: str, params: Any) -> Any:
        assert command == "watch"
        return self.watchers.watch(params)

    def happen(self, *names: str) -> None:
        for name in names:
            self.hub.publish(PeerSilent("npub1x", name))


def test_the_answer_comes_first_and_then_each_event_when_it_happens() -> None:
    watch = Watch()
    (head,) = watch.wire.take()
    assert head["status"] == "ok"
    assert head["data"]["last_number"] == 0
    watch.happen("ann")
    (row,) = watch.wire.take()
    assert (row["event"], row["name"], row["number"], row["level"]) == ("peer_silent", "ann", 1, "info")
    watch.happen("bob", "cat")
    assert [row["name"] for row in watch.wire.take()] == ["bob", "cat"]
    assert line(row).endswith("peer_silent     peer ann is silent and not relied on until it speaks")


def test_only_the_wanted_kinds_come() -> None:
    watch = Watch({"events": ["roam"]})
    watch.happen("ann")
    watch.hub.publish(PeerMoved("npub1x", "bob", "a", "b"))
    assert [row["event"] for row in watch.wire.take()[1:]] == ["roam"]


def test_events_of_before_come_when_asked_for() -> None:
    hub = EventHub(lambda: 0.0, lambda level, text: None)
    for name in ("ann", "bob"):
        hub.publish(PeerSilent("npub1x", name))
    watch = Watch({"since": 1}, hub)
    assert [row.get("name") for row in watch.wire.take()[1:]] == ["bob"]


def test_a_slow_client_loses_the_oldest_and_is_told_how_many() -> None:
    watch = Watch()
    watch.wire.take()
    watch.happen(*(str(number) for number in range(QUEUED + 11)))
    lost, *rest = [row for row in watch.wire.take() if row.get("name") != "0"]
    assert (lost["event"], lost["count"]) == ("lost", 10)
    assert [row["name"] for row in rest] == [str(number) for number in range(11, QUEUED + 11)]


def test_a_stream_without_news_shows_that_it_lives_and_ends_when_nobody_takes_that() -> None:
    watch = Watch()
    watch.wire.take()
    watch.clock.advance(ALIVE_SECS)
    assert watch.wire.received == b"\n"
    watch.clock.advance(WRITE_SECS)
    assert watch.wire.end == "aborted"


def test_a_client_that_left_is_forgotten() -> None:
    watch = Watch()
    assert len(watch.watchers._streams) == len(watch.hub._listeners) == 1
    watch.exchange.readConnectionLost()
    assert len(watch.watchers._streams) == 1
    watch.exchange.connectionLost()
    watch.happen("ann")
    assert len(watch.watchers._streams) == len(watch.hub._listeners) == 0


def test_there_is_a_limit_to_those_who_watch() -> None:
    watchers = Watchers(EventHub(lambda: 0.0, lambda level, text: None))
    streams = [watchers.watch(None) for _ in range(MOST_WATCHERS)]
    with pytest.raises(CommandError, match="watch already"):
        watchers.watch(None)
    streams[0].close()
    watchers.watch(None)


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"events": ["peer_up", "nonsense"]}, "unknown event 'nonsense'; there are peer_up, "),
        ({"events": [["x"]]}, "unknown event"),
        ({"since": "1"}, "'since' has to be"),
        ({"since": True}, "'since' has to be"),
    ],
)
def test_what_cannot_be_watched_is_refused_in_one_line(params: Any, reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        Watchers(EventHub(lambda: 0.0, lambda level, text: None)).watch(params)


def test_who_looks_now_and_then_is_given_what_is_kept() -> None:
    hub = EventHub(lambda: 1000.0, lambda level, text: None)
    hub.publish(PeerSilent("npub1a", "a"))
    hub.publish(StoodStill(3.0))
    hub.publish(PeerSilent("npub1b", "b"))

    def numbers(**params: Any) -> list[int]:
        return [row["number"] for row in show_events(hub, params)["events"]]

    assert show_events(hub, None)["last_number"] == 3
    assert numbers() == [1, 2, 3]
    assert numbers(since=1) == [2, 3]
    assert numbers(events=["peer_silent"]) == [1, 3]
    with pytest.raises(CommandError, match="unknown event 'weather'"):
        show_events(hub, {"events": ["weather"]})


def test_the_tool_leaves_out_events_that_exist() -> None:
    assert set(KINDS) > CHATTY
