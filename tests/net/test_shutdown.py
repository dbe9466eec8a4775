"""SIGTERM ends a node without a trace, and its peers know at once."""

from __future__ import annotations

import signal

import pytest

from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import TUN
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net


@pytest.fixture
def pair(lab: Lab) -> Pair:
    return Pair(lab).left_dials().start()


@pytest.mark.parametrize("stopping", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_node_leaves_nothing_behind(pair: Pair, stopping: signal.Signals) -> None:
    node = pair.left
    assert node.host.has_interface(TUN)
    assert node.process is not None
    node.process.send_signal(stopping)
    assert node.process.wait(5) == 0
    assert not node.host.has_interface(TUN)
    assert not node.control_socket.exists()
    assert "FIPS shutdown complete" in node.log()
    assert "Traceback" not in node.log()


@pytest.mark.parametrize("which", ["left", "right"])
def test_the_peer_of_a_stopped_node_is_told(pair: Pair, which: str) -> None:
    stopped, other = (pair.left, pair.right) if which == "left" else (pair.right, pair.left)
    stopped.stop()
    wait_until(lambda: not other.is_connected_to([stopped]), 1.0, "the peer has let go of the link")
    assert other.status()["peer_count"] == 0


def test_a_stopped_node_comes_back_as_itself(pair: Pair) -> None:
    pair.right.stop()
    pair.right.start()
    pair.right.wait_ready()
    pair.wait_connected(deadline=15)
    assert pair.right.status()["npub"] == pair.right.npub
