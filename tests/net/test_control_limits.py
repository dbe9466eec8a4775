"""The control socket of a running node bears requests that are too large, too many, unfinished or nonsense."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.rigs import control
from tests.rigs.labs import Lab
from tests.rigs.nodes import Node

pytestmark = pytest.mark.net

_LIMIT = 4096


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as laboratory:
        yield laboratory


@pytest.fixture(scope="module")
def node(lab: Lab) -> Node:
    node = lab.node("alone", lab.host("alone"))
    node.start()
    node.wait_ready()
    return node


def _answer(node: Node, request: bytes) -> Any:
    return json.loads(control.exchange(node.control_socket, request))


def test_a_request_of_exactly_the_limit_is_served(node: Node) -> None:
    request = b'{"command":"show_status"}'
    assert _answer(node, request + b" " * (_LIMIT - len(request) - 1) + b"\n")["status"] == "ok"


@pytest.mark.parametrize("size", [_LIMIT + 1, 1_000_000])
def test_a_longer_request_is_refused(node: Node, size: int) -> None:
    answer = _answer(node, b'{"command":"' + b"x" * (size - 15) + b'"}\n')
    assert answer == {"status": "error", "message": "read error: request too large"}


def test_an_endless_line_is_refused_without_waiting_for_its_end(node: Node) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(3)
        connection.connect(str(node.control_socket))
        connection.sendall(b"x" * (_LIMIT + 1))
        assert b"request too large" in connection.recv(4096)


@pytest.mark.parametrize(
    ("request_bytes", "message"),
    [
        (b"", "empty request"),
        (b"hello\n", "invalid request"),
        (b"\xff\xfe\n", "read error: stream did not contain valid UTF-8"),
        (b'{"command":"show_nothing"}\n', "unknown command: show_nothing"),
    ],
)
def test_nonsense_gets_one_error(node: Node, request_bytes: bytes, message: str) -> None:
    answer = _answer(node, request_bytes)
    assert answer["status"] == "error"
    assert answer["message"].startswith(message)


def test_a_hundred_silent_connections_do_not_keep_others_waiting(node: Node) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(100)]
    try:
        for connection in silent:
            connection.connect(str(node.control_socket))
        assert node.status()["npub"] == node.npub
    finally:
        for connection in silent:
            connection.close()


def test_connecting_to_what_is_no_node_is_one_error(node: Node) -> None:
    with pytest.raises(control.ControlError):
        node.ask("connect", npub="npub1nonsense", address="10.0.0.1:2121", transport="udp")
    assert node.status()["state"] == "running"
