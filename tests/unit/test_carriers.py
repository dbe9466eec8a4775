"""Which transports are started, in what order, and what becomes of those that cannot be."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from meshnode import carriers
from meshnode.carriers import RETRY_SECS, Carriers, plugin_kinds
from meshnode.config.features import unusable_addresses
from meshnode.config.load import parse
from meshnode.transports.interfaces import TransportError


class Factory:
    """Makes transports that only remember what they were made from."""

    def __init__(self, kind: str, outcome: Any = None) -> None:
        self.kind = kind
        self.outcome = outcome

    def create(self, transport_id: int, name: str | None, section: Any, host: object, reactor: object) -> Any:
        return SimpleNamespace(kind=self.kind, transport_id=transport_id, name=name, section=section, start=self._start)

    def _start(self) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Table(list[Any]):
    """As much of the table of transports as starting them needs."""

    add = list.append


class Rig:
    def __init__(self, text: str, monkeypatch: pytest.MonkeyPatch, **outcomes: Any) -> None:
        made = {kind: Factory(kind, outcomes.get(kind)) for kind in ("udp", "tcp", "pigeon", "drum")}
        monkeypatch.setattr(carriers, "factories", lambda: made)
        monkeypatch.setattr(carriers, "factory", made.__getitem__)
        self.added = Table()
        self.degraded: list[str] = []
        self.warned: list[str] = []
        self.made = made
        self.clock = Clock()
        self.news: list[str] = []
        peering = SimpleNamespace(surroundings_changed=lambda now: self.news.append("dial"))
        node: Any = SimpleNamespace(transports=self.added, peering=peering, run=lambda action: action(0.0))
        self.config, _ = parse(text)
        warn, came_late = self.warned.append, lambda: self.news.append("late")
        self.carriers = Carriers(node, self.config, {}, self.clock, Path(), self.degraded.append, warn, came_late)
        self.carriers.start()

    @property
    def started(self) -> list[tuple[int, str, str | None]]:
        return [(made.transport_id, made.kind, made.name) for made in self.added]


def test_ours_come_first_then_those_of_plugins_in_the_order_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "transports: {pigeon: {loft: 3}, drum: {near: {}, far: {}}, tcp: {}, udp: {b: {}, a: {bind_addr: '[::]:1'}}}"
    rig = Rig(text, monkeypatch)
    assert rig.started == [
        (1, "udp", "b"),
        (2, "udp", "a"),
        (3, "tcp", None),
        (4, "pigeon", None),
        (5, "drum", "near"),
        (6, "drum", "far"),
    ]
    assert rig.added[3].section == {"loft": 3}
    assert rig.carriers.kinds == ["drum", "pigeon", "tcp", "udp"]
    assert rig.degraded == rig.warned == []


def test_one_that_cannot_start_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    late: Deferred[None] = Deferred()
    rig = Rig("transports: {udp: {}, tcp: {}, pigeon: {}}", monkeypatch, udp=TransportError("port taken"), pigeon=late)
    assert rig.started == [(2, "tcp", None), (3, "pigeon", None)]
    assert rig.degraded == ["port taken"]
    late.errback(TransportError("no pigeons"))
    assert rig.degraded == ["port taken", "no pigeons"]


def test_one_that_cannot_start_yet_is_tried_again_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spec 04, section 1.3: the reference never tries again. An address may come later, a port become free."""
    rig = Rig("transports: {udp: {}, tcp: {}}", monkeypatch, udp=TransportError("no such address"))
    rig.clock.pump([RETRY_SECS] * 3)
    assert (rig.degraded, rig.news) == (["no such address"], [])
    rig.made["udp"].outcome = TransportError("port taken")
    rig.clock.pump([RETRY_SECS] * 3)
    assert rig.degraded == ["no such address", "port taken"]
    rig.made["udp"].outcome = None
    rig.clock.advance(RETRY_SECS)
    assert rig.started == [(2, "tcp", None), (1, "udp", None)]
    assert rig.news == ["dial", "late"]
    assert rig.clock.getDelayedCalls() == []


def test_one_that_waits_for_its_start_follows_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "transports: {udp: {a: {}, b: {}}, pigeon: {}}"
    rig = Rig(text, monkeypatch, udp=TransportError("port taken"), pigeon=TransportError("no pigeons"))
    del rig.config.transports.udp["b"]
    rig.config.transports.udp["a"].bind_addr = "192.0.2.1:2121"
    for factory in rig.made.values():
        factory.outcome = None
    rig.carriers.follow()
    assert [(made.name, made.section.bind_addr) for made in rig.added] == [("a", "192.0.2.1:2121")]
    rig.clock.advance(RETRY_SECS)
    assert [(made.kind, made.name) for made in rig.added] == [("udp", "a"), ("pigeon", None)]


def test_after_the_stop_nothing_is_started_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig("transports: {udp: {}, tcp: {}}", monkeypatch, udp=TransportError("port taken"))
    rig.carriers.stop()
    assert rig.clock.getDelayedCalls() == []


def test_a_kind_nobody_knows_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig("transports: {udb: {}, whistle: 5, udp: {}}", monkeypatch)
    assert rig.started == [(1, "udp", None)]
    assert rig.warned == [
        "transports.udb is ignored: there is no such transport; did you mean `udp`?",
        "transports.whistle is ignored: there is no such transport; is the plug-in that brings it installed here?",
    ]


def test_a_plugin_section_that_is_no_section_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig("transports: {pigeon: 5, udp: {}}", monkeypatch)
    assert rig.started == [(1, "udp", None)]
    assert len(rig.degraded) == 1
    assert "transports.pigeon" in rig.degraded[0]


def test_nobody_looks_for_plugins_that_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise AssertionError("plug-ins were looked for")

    monkeypatch.setattr(carriers, "factories", fail)
    assert plugin_kinds(parse("transports: {udp: {}}")[0]) == []


def test_addresses_of_plugins_are_usable() -> None:
    npub = "npub1sjlh2c3x9w7kjsqg2ay080n2lff2uvt325vpan33ke34rn8l5jcqawh57m"
    config, _ = parse(f"peers: [{{npub: {npub}, addresses: [{{transport: pigeon, addr: loft}}]}}]")
    assert len(unusable_addresses(config)) == 1
    assert unusable_addresses(config, ["pigeon"]) == []
