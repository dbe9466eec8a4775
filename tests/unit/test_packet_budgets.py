"""What a packet may cost in things that can be counted: calls, memory held, system calls, wake-ups of an idle node.

No clock decides here. Each budget is what was counted when it was written, and a tenth more. Whoever lowers a figure
lowers its budget; whoever needs a higher one says in the commit what it buys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from meshnode.ipv6.testing import FakeTunSystem
from meshnode.transports.udp_testing import FakeSocket
from tests.unit.packet_rig import Row, calls_in, memory_of

SLACK = 1.1
BURST = 40
SEGMENT, SMALL = 1168, 64

Measure = Callable[[Callable[[], None]], int]


class Path(Row):
    """Three nodes in a row: one sends, one relays, one receives."""

    def __init__(self) -> None:
        super().__init__(3)
        self.reads = dict(
            zip(
                ("sender", "transit", "receiver"),
                (self.first.device.doRead, self.machines[1].udp.doRead, self.last.udp.doRead),
                strict=True,
            )
        )

    def burst(self, kind: str, count: int, measure: Measure) -> dict[str, int]:
        """Let `count` packets travel the path; returns what `measure` says about each node on it."""
        if kind == "stream":
            self.first.tun.incoming += self.first.stream(self.last, count, SEGMENT)
        else:
            self.first.tun.incoming += self.first.datagrams(self.last, count, SMALL)
        costs = {name: measure(read) for name, read in self.reads.items()}
        assert len(self.last.tun.packets()) == count
        return costs


@pytest.fixture(scope="module")
def warm() -> Path:
    """The path, after everything that happens once has happened."""
    path = Path()
    path.run(1.0)
    for kind in ("stream", "datagrams"):
        for count in (1, BURST):
            path.burst(kind, count, calls_in)
    return path


@pytest.fixture
def path(warm: Path) -> Iterator[Path]:
    """The path with nothing under way."""
    warm.run(0.1)
    yield warm
    assert not warm.last.tun.frames


@pytest.mark.parametrize(
    ("kind", "budgets"),
    [
        ("stream", {"sender": 15.2, "transit": 13.4, "receiver": 16.3}),
        ("datagrams", {"sender": 13.2, "transit": 13.4, "receiver": 16.4}),
    ],
)
def test_calls_for_each_packet_more_in_a_burst(path: Path, kind: str, budgets: dict[str, float]) -> None:
    one, many = (path.burst(kind, count, calls_in) for count in (1, BURST))
    for name, budget in budgets.items():
        assert (many[name] - one[name]) / (BURST - 1) <= budget * SLACK, name


def test_calls_for_a_lone_packet(path: Path) -> None:
    costs = path.burst("datagrams", 1, calls_in)
    for name, budget in {"sender": 95, "transit": 105, "receiver": 119}.items():
        assert costs[name] <= budget * SLACK, name


@pytest.mark.parametrize(
    ("kind", "budgets"),
    [
        ("stream", {"sender": 5230, "transit": 4130, "receiver": 5230}),
        ("datagrams", {"sender": 710, "transit": 720, "receiver": 740}),
    ],
)
def test_memory_held_for_each_packet_of_a_burst(path: Path, kind: str, budgets: dict[str, int]) -> None:
    costs = path.burst(kind, BURST, memory_of)
    for name, budget in budgets.items():
        assert costs[name] / BURST <= budget * SLACK, name


@pytest.mark.parametrize("kind", ["stream", "datagrams"])
def test_system_calls_for_a_burst(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One read per packet from the host and one that finds nothing; else one call for the burst."""
    counted: list[str] = []

    def counting(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def call(self: object, *arguments: object) -> object:
            counted.append(name)
            return original(self, *arguments)

        monkeypatch.setattr(owner, name, call)

    for name in ("sendto", "sendmsg", "recvmsg"):
        counting(FakeSocket, name)
    for name in ("read", "write"):
        counting(FakeTunSystem, name)

    def calls(read: Callable[[], None]) -> int:
        counted.clear()
        read()
        return len(counted)

    assert path.burst(kind, BURST, calls) == {"sender": BURST + 2, "transit": 3, "receiver": 3}


def test_an_idle_node_wakes_once_a_second(path: Path) -> None:
    before = path.reactor.wake_ups
    path.run(60.0)
    assert (path.reactor.wake_ups - before) / 60 / len(path.machines) <= 1.0 * SLACK
