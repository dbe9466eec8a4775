"""The page: what it serves, whom it lets in, who may change something, and that nothing comes from elsewhere."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from meshnode.config.operator_sections import Endpoint
from meshnode.control import http
from meshnode.control.http import MOST_CONNECTIONS
from meshnode.control.web import site as web
from meshnode.control.web.guard import Guard, TokenError, read_token
from meshnode.identity import Identity
from tests.unit.test_control_state import Chain
from tests.unit.web_rig import Served

LOCAL, MESH, SOCKET = Endpoint(None, "127.0.0.1", 9718), Endpoint(None, "mesh", 80), Endpoint("/run/x", "", 0)
OWN, FRIEND = Identity(b"\5" * 32).peer, Identity(b"\6" * 32).peer
TOKEN = "correct horse"
JSON = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


@pytest.fixture(scope="module")
def served(chain: Chain) -> Iterator[Served]:
    guard = Guard(LOCAL, chain.hosts[0].identity.peer, (), TOKEN)
    one = Served(web.site(chain.operators[0].state, guard))
    yield one
    one.stop()


@pytest.mark.parametrize(
    ("path", "kind"), [("/", "html"), ("/page.css", "css"), *((f"/{name}", "javascript") for name in web.SCRIPTS)]
)
def test_the_page_and_its_files_are_served_and_closed_to_everything_else(served: Served, path: str, kind: str) -> None:
    status, headers, body = served.request("GET", path)
    assert status == 200
    assert kind in headers["content-type"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert not re.search(rb"(src|href|url|import|@import)\W{1,4}(https?:)?//", body)


def test_the_page_names_every_script_in_their_order() -> None:
    page = Path(web.__file__).with_name("page.html").read_text()
    assert re.findall(r'<script src="([^"]+)" defer>', page) == list(web.SCRIPTS)


def test_everything_the_page_asks_is_served(served: Served) -> None:
    script = "".join(Path(web.__file__).with_name(name).read_text() for name in web.SCRIPTS)
    asked = set(re.findall(r'"(show_\w+|connect|disconnect|peer_(?:add|remove))"', script))
    assert asked <= web.SHOWN | web.CHANGING
    assert {"show_status", "show_tree", "show_events", "show_stats_history_all_peers", "connect", "disconnect"} <= asked


@pytest.mark.parametrize("command", sorted(web.SHOWN))
def test_a_query_is_answered_as_on_the_control_socket(served: Served, chain: Chain, command: str) -> None:
    query = "?metric=srtt_ms" if command == "show_stats_history_all_peers" else ""
    status, headers, body = served.request("GET", f"/api/{command}{query}")
    assert (status, headers["content-type"]) == (200, "application/json")
    params = {"metric": "srtt_ms"} if query else None
    assert json.loads(body)["data"].keys() == chain.operators[0].ask(command, params).keys()


def test_parameters_are_taken_from_the_query(served: Served) -> None:
    answer = served.json("/api/show_stats_all_history?window=20s")
    assert answer["data"]["window_seconds"] == 20
    assert served.json("/api/show_stats_all_history?window=x") == {
        "status": "error", "message": "invalid duration: x",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/api/show_acl", "/api/log_level", "/api", "/else", "/../etc/passwd"])
def test_nothing_else_is_there(served: Served, path: str) -> None:
    assert served.request("GET", path)[0] in (404, 405)


def test_a_page_under_a_foreign_name_is_not_served(served: Served) -> None:
    status, _, body = served.request("GET", "/", {"Host": "evil.example"})
    assert status == 403
    assert b"this is not the address of this page" in body
    assert served.request("GET", "/", {"Host": "localhost:9718"})[0] == 200


def test_the_page_knows_whether_there_is_a_token(served: Served) -> None:
    assert served.json("/api/page") == {"can_change": True}


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Content-Type": "application/json"}, "the token is wrong"),
        ({**JSON, "Authorization": "Bearer wrong"}, "the token is wrong"),
        ({**JSON, "Content-Type": "text/plain"}, "has to be JSON"),
    ],
)
def test_nothing_changes_without_the_token_or_from_a_form(served: Served, headers: dict[str, str], words: str) -> None:
    status, _, body = served.request("POST", "/api/disconnect", headers, b"{}")
    assert (status, words in body.decode()) == (403, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"[" * 3000, 400), (b"\xff\xfe", 400), (b'{"npub": NaN}', 400), (b"{", 400), (b'{"npub": "npub1x"}', 200)],
)
def test_a_body_that_is_no_json_is_refused(served: Served, body: bytes, status: int) -> None:
    assert served.request("POST", "/api/disconnect", JSON, body)[0] == status


@pytest.mark.parametrize("framing", ["Content-Length: 1000000000000", "Transfer-Encoding: chunked"])
def test_a_long_body_is_cut_off_and_nowhere_kept(served: Served, framing: str) -> None:
    """Before anything is known of who sends it."""
    answer: list[bytes] = []
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.setblocking(False)
        client.send(f"POST / HTTP/1.1\r\nHost: elsewhere\r\n{framing}\r\n\r\n".encode())

        def is_cut_off() -> bool:
            with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                client.send(b"1000\r\n" + bytes(0x1000) + b"\r\n")
            with suppress(BlockingIOError):
                answer.append(client.recv(65536))
            return bool(answer)

        served.turn_until(is_cut_off)
    assert answer[0].startswith(b"HTTP/1.1 413 ")
    assert served.json("/api/show_status")["status"] == "ok"


def test_a_body_too_long_that_comes_at_once_is_not_acted_upon(served: Served) -> None:
    assert served.request("POST", "/api/disconnect", JSON, b'{"npub": "npub1x"}' + b" " * 4096)[0] == 413


def test_strangers_do_not_fill_the_log(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    @implementer(ILogObserver)
    def observer(event: LogEvent) -> None:
        said.append(formatEvent(event))

    monkeypatch.setattr(http, "_TIMEOUT_SECS", 0.02)
    served = Served(web.site(chain.operators[0].state, Guard(LOCAL, chain.hosts[0].identity.peer, (), TOKEN)))
    globalLogPublisher.addObserver(observer)
    try:
        assert served.request("HEAD", "/")[0] == 200
        with socket.create_connection(("127.0.0.1", served.port)) as silent:
            silent.setblocking(False)
            served.turn_until(lambda: is_ended(silent))
    finally:
        globalLogPublisher.removeObserver(observer)
        served.stop()
    assert said == []


def test_what_is_no_utf8_is_read_as_something_else(served: Served) -> None:
    assert served.json("/api/show_status?%ff=%fe")["status"] == "ok"
    headers = {**JSON, "Authorization": "Bearer \u00ff"}
    assert served.request("POST", "/api/disconnect", headers, b"{}")[0] == 403


def test_connections_that_say_nothing_neither_pile_up_nor_keep_anybody_out(served: Served) -> None:
    with ExitStack() as stack:
        silent = []
        for _ in range(100):
            silent.append(stack.enter_context(socket.create_connection(("127.0.0.1", served.port))))
            served.reactor.iterate(0.001)
        assert served.json("/api/show_status")["status"] == "ok"
        served.turn_until(lambda: len(served.server._site.protocols) < MOST_CONNECTIONS)
        for one in silent:
            one.setblocking(False)
        ended = [number for number, one in enumerate(silent) if is_ended(one)]
    assert len(silent) - MOST_CONNECTIONS <= len(ended) <= len(silent) - MOST_CONNECTIONS + 1
    assert ended == list(range(len(ended)))


def is_ended(one: socket.socket) -> bool:
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("limit", ["1", "-1", "9" * 4400, "x"])
def test_a_limit_that_is_none_limits_nothing(served: Served, limit: str) -> None:
    assert served.json(f"/api/show_peers?limit={limit}")["status"] == "ok"
    assert served.json(f"/api/show_stats_all_history?window={limit}s")["status"] in ("ok", "error")


def test_peers_are_changed_with_the_token(served: Served) -> None:
    status, _, body = served.request("POST", "/api/disconnect", JSON, json.dumps({"npub": FRIEND.npub}).encode())
    assert (status, json.loads(body)["message"]) == (200, f"peer not found: {FRIEND.npub}")
    assert served.request("POST", "/api/disconnect", JSON, b"{")[0] == 400
    assert served.request("GET", "/api/disconnect")[0] == 405


def asking(host: str = "127.0.0.1:9718", client: str = "127.0.0.1") -> Any:
    headers = {"host": host}
    return SimpleNamespace(
        getHeader=lambda name: headers.get(name.decode(), "").encode() or None,
        getClientAddress=lambda: SimpleNamespace(host=client),
    )


def test_over_the_mesh_only_the_listed_see_the_page() -> None:
    guard = Guard(MESH, OWN, [FRIEND.npub], None)
    name = f"{OWN.npub}.fips"
    assert guard.refusal(asking(f"[{OWN.ipv6_text}]:80", FRIEND.ipv6_text)) is None
    assert guard.refusal(asking(name, FRIEND.ipv6_text)) is None
    assert guard.refusal(asking(name, OWN.ipv6_text)) == "this node does not show its page to you"
    assert guard.refusal(asking(name, "127.0.0.1")) == "this node does not show its page to you"
    assert guard.refusal(asking("evil.example", FRIEND.ipv6_text)) == "this is not the address of this page"


def test_on_this_machine_everybody_does() -> None:
    assert Guard(LOCAL, OWN, (), None).refusal(asking()) is None
    assert Guard(LOCAL, OWN, (), None).refusal(asking("[::1]:9718")) is None
    assert Guard(SOCKET, OWN, (), None).refusal(asking("whatever")) is None


def test_without_a_token_nothing_can_be_changed() -> None:
    guard = Guard(LOCAL, OWN, (), None)
    assert not guard.can_change
    assert guard.may_change(asking()) == "nothing can be changed here: meshnode.web.token_file is not set"


def test_the_token_is_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = read_token(path)
    assert len(token) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_token(path) == token
    with pytest.raises(TokenError, match="token of the web page cannot be kept"):
        read_token(tmp_path / "missing" / "token")


def test_a_token_is_read_and_made_in_a_file_of_its_own(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "token", tmp_path / "elsewhere"
    path.write_text("")
    path.chmod(0o644)
    assert read_token(path) + "\n" == path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600

    path.unlink()
    path.symlink_to(elsewhere)  # laid by somebody else
    read_token(path)
    assert not elsewhere.exists()
    assert not path.is_symlink()

    path.write_bytes(b"\xff")
    with pytest.raises(TokenError, match="is no text"):
        read_token(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(TokenError, match="not a regular file"):
        read_token(path)
