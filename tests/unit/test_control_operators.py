"""The operators' side as a part of the service: samples by the second, with and without a socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from meshnode.config.schema import MeshnodeSection
from meshnode.control.operators import OperatorSide
from meshnode.control.state import NodeState
from meshnode.control.status import Daemon
from tests.unit.node_rig import MeshNet


class FakeReactor(Clock):
    """Time, and descriptors nobody looks at."""

    def addReader(self, reader: Any) -> None: ...

    def removeReader(self, reader: Any) -> None: ...


def side(
    socket_path: str | None, reactor: Any, lines: list[str], section: MeshnodeSection | None = None
) -> OperatorSide:
    net = MeshNet()
    daemon = Daemon("", True, (), lambda: ("-", "disabled"))
    node = net.host("a").node
    state = NodeState(node, daemon, reactor)
    section = section or MeshnodeSection()
    return OperatorSide(
        node, state, socket_path, section, reactor, lambda level, text: lines.append(f"{level}: {text}")
    )


def finished(result: Deferred[None]) -> bool:
    done: list[None] = []
    result.addCallback(done.append)
    return bool(done)


def test_a_sample_is_taken_every_second_even_without_a_socket() -> None:
    reactor = FakeReactor()
    operators = side(None, reactor, [])
    operators.start()
    for second in range(3):
        assert operators.state.history.samples_taken == second
        reactor.advance(1)
    assert finished(ensureDeferred(operators.stop()))
    reactor.advance(5)
    assert operators.state.history.samples_taken == 3
    assert reactor.getDelayedCalls() == []


def test_the_socket_is_announced_and_removed(tmp_path: Path) -> None:
    lines: list[str] = []
    path = tmp_path / "control.sock"
    operators = side(str(path), FakeReactor(), lines)
    operators.start()
    assert lines[-1] == f"info: Control socket at {path}"
    assert path.is_socket()
    assert finished(ensureDeferred(operators.stop()))
    assert not path.exists()


def test_a_socket_that_cannot_be_is_one_warning(tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "control.sock").write_text("")
    operators = side(str(tmp_path / "control.sock"), FakeReactor(), lines)
    operators.start()
    (line,) = lines
    assert line.startswith("warn: control socket")
    assert line.endswith("the node runs without it")
    assert finished(ensureDeferred(operators.stop()))
