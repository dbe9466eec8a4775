"""A side that dies without a word and comes back carries traffic again within seconds, whoever dialled."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.rigs import traffic
from tests.rigs.labs import Lab, Pair

pytestmark = pytest.mark.net

_LIMIT = 5.0


@pytest.mark.parametrize("victim", ["the dialling side", "the listening side", "one of two that dial"])
def test_traffic_resumes_after_a_side_was_killed_and_started_again(
    lab: Lab, victim: str, measured: Callable[[str], None]
) -> None:
    pair = Pair(lab).left_dials()
    if victim == "one of two that dial":
        pair.right_dials()
    pair.start()
    gone, survivor = (pair.left, pair.right) if victim == "the dialling side" else (pair.right, pair.left)
    with traffic.pinging(survivor.host, gone.address) as echoes:
        echoes.first(5)
        gone.kill()
        restarted = time.time()
        gone.start()
        seconds = echoes.reply_after(restarted, 2 * _LIMIT).at - restarted
    measured(f"{seconds:.2f} s after the start of the new process")
    assert seconds <= _LIMIT


def test_an_open_connection_survives_the_restart_of_the_other_side(lab: Lab) -> None:
    """A TCP connection belongs to the kernel; the mesh address comes back, so it goes on where it was."""
    pair = Pair(lab).left_dials().start()
    with traffic.listening_socket(pair.left.host, pair.left.address) as listener, pair.right.host.socket() as client:
        client.settimeout(15)
        client.connect((pair.left.address, listener.getsockname()[1]))
        server, _ = listener.accept()
        with server:
            server.settimeout(15)
            client.sendall(b"before")
            assert server.recv(6) == b"before"
            pair.left.kill()
            pair.left.start()
            client.sendall(b"after")
            assert server.recv(5) == b"after"


def test_a_node_that_was_killed_finds_its_own_remains_and_starts(lab: Lab) -> None:
    pair = Pair(lab).left_dials().start()
    pair.left.kill()
    assert pair.left.control_socket.exists()
    pair.left.start()
    pair.left.wait_ready()
    assert pair.left.status()["pid"] == pair.left.pid
