"""Metrics as a scraper sees them: over loopback and over a Unix socket, text that the library reads back."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import ensureDeferred
from twisted.internet.epollreactor import EPollReactor

from meshnode.config.operator_sections import Endpoint
from meshnode.control.http import HttpServer, ServeError
from meshnode.control.metrics.families import FAMILIES, PREFIX
from meshnode.control.metrics.site import site
from tests.unit.test_control_state import Chain

LOOPBACK = Endpoint(None, "127.0.0.1", 0)
ROUNDS = 2000


class Browser:
    """Asks a server that runs on a reactor turned by hand."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.reactor: Any = EPollReactor()  # type: ignore[no-untyped-call]
        self.server = HttpServer("metrics", endpoint, site(Chain().hosts[0].node), self.reactor)
        self.place = self.server.start()

    def get(self, path: str) -> tuple[str, bytes]:
        """The head and the body of an answer."""
        client = self._connection()
        client.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        client.setblocking(False)
        received: list[bytes] = []
        self._turn_until(lambda: self._reads_end(client, received))
        client.close()
        head, _, body = b"".join(received).partition(b"\r\n\r\n")
        return head.decode(), body

    def _connection(self) -> socket.socket:
        path = self.server.endpoint.path
        client = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX)
        client.connect(path or ("127.0.0.1", self.server._port.getHost().port))
        return client

    def _reads_end(self, client: socket.socket, received: list[bytes]) -> bool:
        try:
            received.append(client.recv(65536))
        except BlockingIOError:
            return False
        return not received[-1]

    def _turn_until(self, done: Callable[[], bool]) -> None:
        for _ in range(ROUNDS):
            if done():
                return
            self.reactor.iterate(0.005)
        raise AssertionError("no answer")

    def stop(self) -> None:
        stopped: list[None] = []
        ensureDeferred(self.server.stop()).addCallback(stopped.append)
        self._turn_until(lambda: bool(stopped))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    one = Browser(LOOPBACK)
    yield one
    one.stop()


def test_a_scrape_reads_back_as_the_families_we_promise(browser: Browser) -> None:
    head, body = browser.get("/metrics")
    assert head.startswith("HTTP/1.0 200")
    assert "text/plain" in head
    read = {family.name: family for family in text_string_to_metric_families(body.decode())}
    promised = {f"{PREFIX}{name.removesuffix('_total')}" for name in FAMILIES} - {f"{PREFIX}transport_connections"}
    assert set(read) == promised
    assert read["meshnode_peers"].samples[0].value == 1
    assert read["meshnode_peer_sent_bytes"].type == "counter"
    helps = {f"{PREFIX}{name.removesuffix('_total')}": family.help for name, family in FAMILIES.items()}
    assert all(family.documentation == helps[name] for name, family in read.items())


def test_the_root_says_where_they_are_and_the_rest_is_not_found(browser: Browser) -> None:
    assert browser.get("/")[1] == b"metrics are at /metrics\n"
    assert browser.get("/else")[0].startswith("HTTP/1.0 404")


def test_the_place_is_told_as_a_browser_wants_it(browser: Browser) -> None:
    assert browser.place.startswith("http://127.0.0.1:")


def test_a_port_in_use_is_one_line(browser: Browser) -> None:
    taken = Endpoint(None, "127.0.0.1", browser.server._port.getHost().port)
    with pytest.raises(ServeError, match=r"^metrics cannot be served at 127\.0\.0\.1:\d+: Address already in use$"):
        Browser(taken)


def test_a_unix_socket_serves_too_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    browser = Browser(Endpoint(str(path), "", 0))
    assert path.stat().st_mode & 0o777 == 0o660
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    with pytest.raises(ServeError, match=r"metrics\.sock"):
        Browser(Endpoint(str(path), "", 0))
    browser.stop()


def test_what_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    path.write_text("mine")
    with pytest.raises(ServeError):
        Browser(Endpoint(str(path), "", 0))
    assert path.read_text() == "mine"
