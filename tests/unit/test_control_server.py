"""The socket itself, on real reactors and a real file system: taking over, modes, many clients, the end."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.epollreactor import EPollReactor

from meshnode.control import socketfile
from meshnode.control.encoding import Answer
from meshnode.control.server import MOST_CONNECTIONS, ControlServer
from meshnode.control.socketfile import LONGEST_PATH, SocketFile, SocketFileError
from tests.unit.control_rig import TableAnswers
from tests.unit.udp_rig import log_lines

ROUNDS = 2000


class JumpingReactor(EPollReactor):
    """A reactor whose clock can be put forward."""

    ahead = 0.0

    def seconds(self) -> float:
        return float(super().seconds()) + self.ahead


class Rig:
    """A server on its own reactor, turned by hand."""

    def __init__(self, path: Path, table: dict[str, Answer] | None = None) -> None:
        self.path = path
        self.reactor: Any = JumpingReactor()  # type: ignore[no-untyped-call]
        self.answers = TableAnswers(table or {"show_links": {"links": []}})
        self.server = ControlServer(str(path), self.answers, self.reactor, {})

    def turn_until(self, done: Callable[[], bool]) -> None:
        for _ in range(ROUNDS):
            if done():
                return
            self.reactor.iterate(0.005)
        raise AssertionError("nothing happened")

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(self.path))
        client.setblocking(False)
        return client

    def read_to_end(self, client: socket.socket) -> bytes:
        received: list[bytes] = []

        def ended() -> bool:
            try:
                received.append(client.recv(65536))
            except BlockingIOError:
                return False
            return not received[-1]

        self.turn_until(ended)
        return b"".join(received)

    def ask(self, request: bytes, *, half_close: bool = True) -> Any:
        with self.connect() as client:
            client.sendall(request)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            return json.loads(self.read_to_end(client))

    def stop(self) -> None:
        ensureDeferred(self.server.stop())
        for _ in range(5):
            self.reactor.iterate(0)
        self.reactor.disconnectAll()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "control.sock")
    with log_lines():
        assert rig.server.start() is None
        yield rig
        rig.stop()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("half_close", [True, False])
def test_a_request_is_answered_whether_or_not_the_client_closes_its_half(rig: Rig, half_close: bool) -> None:
    assert rig.ask(b'["show_links"]\n', half_close=half_close) == {"status": "ok", "data": {"links": []}}


@pytest.mark.parametrize("half_close", [True, False])
def test_a_request_that_is_there_is_answered_in_one_turn(rig: Rig, half_close: bool) -> None:
    with rig.connect() as client:
        client.sendall(b'["show_links"]\n')
        if half_close:
            client.shutdown(socket.SHUT_WR)
        rig.reactor.iterate(0)
        assert json.loads(client.recv(65536)) == {"status": "ok", "data": {"links": []}}
        assert client.recv(1) == b""


def test_a_long_answer_takes_turns_with_packets(rig: Rig) -> None:
    rig.answers.table["show_links"] = {"links": iter([{"text": "x" * 100} for _ in range(1000)])}
    with rig.connect() as client:
        client.sendall(b'["show_links"]\n')
        rig.reactor.iterate(0)
        assert len(client.recv(1_000_000)) < 20_000
        assert len(rig.read_to_end(client)) > 80_000


@pytest.mark.parametrize("request_", [b"", b'["show_links"]\n'])
def test_a_client_that_is_gone_at_once_harms_nobody(rig: Rig, request_: bytes) -> None:
    with rig.connect() as client:
        client.sendall(request_)
    for _ in range(3):
        rig.reactor.iterate(0)
    assert rig.ask(b'["show_links"]\n')["status"] == "ok"


def test_clients_are_served_side_by_side(rig: Rig) -> None:
    silent = [rig.connect() for _ in range(20)]
    assert rig.ask(b'["show_links"]\n')["status"] == "ok"
    for client in silent:
        client.close()


def test_an_answer_larger_than_any_buffer_arrives_whole(rig: Rig) -> None:
    rows = [{"text": "x" * 1000} for _ in range(5000)]
    rig.answers.table["show_links"] = {"links": iter(rows)}
    assert rig.ask(b'["show_links"]\n')["data"]["links"] == rows


def test_a_client_that_sends_far_too_much_reads_why(rig: Rig) -> None:
    with rig.connect() as client:
        sent = 0
        while sent < 1_000_000:
            try:
                sent += client.send(b"x" * 100_000)
            except BlockingIOError:
                rig.reactor.iterate(0.005)
            except (BrokenPipeError, ConnectionResetError):
                break
        assert json.loads(rig.read_to_end(client))["message"] == "read error: request too large"


def test_silent_connections_give_way_to_those_that_ask(rig: Rig) -> None:
    silent = []
    for _ in range(MOST_CONNECTIONS + 20):
        silent.append(rig.connect())
        rig.reactor.iterate(0)
    assert rig.ask(b'["show_links"]\n')["status"] == "ok"
    assert json.loads(rig.read_to_end(silent[0])) == {"status": "error", "message": "too many connections"}
    for client in silent:
        client.close()


def test_stopping_tells_those_who_wait_and_removes_the_file(rig: Rig) -> None:
    client = rig.connect()
    rig.turn_until(lambda: bool(rig.server._exchanges))
    rig.stop()
    assert json.loads(rig.read_to_end(client))["message"] == "node shutting down"
    assert not rig.path.exists()
    client.close()


def test_a_file_that_has_become_somebody_elses_is_left_alone(rig: Rig) -> None:
    rig.path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(rig.path))
        rig.stop()
        assert rig.path.exists()


def test_a_file_that_was_removed_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "run" / "control.sock"
    rig = Rig(path)
    assert rig.server.start() is None
    with log_lines() as lines:
        rig.server.restore()
        assert lines == []
        path.unlink()
        path.parent.rmdir()
        rig.server.restore()
        rig.server.restore()
    assert [line for line in lines if "removed" in line] == lines
    assert len(lines) == 1
    assert rig.ask(b'["show_links"]\n')["status"] == "ok"
    rig.stop()
    assert not path.exists()


def test_a_file_that_cannot_be_made_again_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "run" / "control.sock"
    rig = Rig(path)
    assert rig.server.start() is None
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("in the way")
    with log_lines() as lines:
        for _ in range(3):
            rig.server.restore()
        assert len(lines) == 1
        path.parent.unlink()
        rig.server.restore()
    assert rig.ask(b'["show_links"]\n')["status"] == "ok"
    rig.stop()


def test_a_socket_nobody_listens_on_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    rig = Rig(path)
    assert rig.server.start() is None
    assert rig.ask(b'["show_links"]\n')["status"] == "ok"
    rig.stop()


def test_a_socket_in_use_is_not_taken_from_its_owner(rig: Rig) -> None:
    second = Rig(rig.path)
    assert second.server.start() == f"control socket already in use: {rig.path}"
    second.stop()
    assert rig.ask(b'["show_links"]\n')["status"] == "ok"


def test_whoever_finds_the_file_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "control.sock"
    found: list[int] = []
    chmod = os.chmod

    class Watched(socket.socket):
        """Looks, after each step of the start, whether the file is there and who answers."""

        def bind(self, address: Any) -> None:
            super().bind(address)
            look()

        def listen(self, backlog: int = 0) -> None:
            look()
            super().listen(backlog)
            look()

    def protect(name: str, mode: int) -> None:
        look()
        chmod(name, mode)
        look()

    def look() -> None:
        if os.path.lexists(path):
            found.append(mode_of(path))
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))

    monkeypatch.setattr(os, "chmod", protect)
    monkeypatch.setattr(socket, "socket", Watched)
    file = SocketFile(str(path), {})
    with file.open():
        look()
    assert set(found) == {0o770}
    assert os.listdir(tmp_path) == ["control.sock"]


def test_of_two_that_start_at_the_same_moment_one_gets_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "control.sock"
    first, second = SocketFile(str(path), {}), SocketFile(str(path), {})
    link, winners = os.link, []

    def late(draft: str, final: str) -> None:
        monkeypatch.setattr(os, "link", link)
        winners.append(second.open())
        link(draft, final)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(SocketFileError, match="already in use"):
        first.open()
    first.remove()
    with winners[0], socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert os.listdir(tmp_path) == ["control.sock"]


@pytest.mark.parametrize("name", ["c.s", "control.sock", "x" * 30])
def test_a_path_may_be_as_long_as_the_system_allows_and_no_longer(tmp_path: Path, name: str) -> None:
    directory = tmp_path / ("d" * (LONGEST_PATH - len(str(tmp_path)) - len(name) - 2))
    path = str(directory / name)
    assert len(path) == LONGEST_PATH
    with SocketFile(path, {}).open(), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    with pytest.raises(SocketFileError, match=f"108 bytes, a path may have {LONGEST_PATH}"):
        SocketFile(path + "x", {}).open()


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
def test_what_is_no_socket_is_never_removed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "control.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nowhere")
    rig = Rig(path)
    problem = rig.server.start()
    assert problem is not None
    assert str(path) in problem
    assert "\n" not in problem
    assert os.path.lexists(path)


def test_a_path_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "control.sock", tmp_path / ("x" * 200), Path("/proc/nowhere/control.sock")):
        problem = Rig(path).server.start()
        assert problem is not None
        assert str(path) in problem


def test_the_socket_is_for_owner_and_group(rig: Rig) -> None:
    assert mode_of(rig.path) == 0o770


def test_a_new_directory_is_closed_to_others_and_an_old_one_left_alone(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir(mode=0o755)
    for parent, mode in ((tmp_path / "a" / "new", 0o750), (old, 0o755)):
        file = SocketFile(str(parent / "control.sock"), {})
        file.open().close()
        assert mode_of(parent) == mode
        file.remove()
        assert not (parent / "control.sock").exists()


def test_the_run_time_directory_of_the_user_is_closed_to_others(tmp_path: Path) -> None:
    parent = tmp_path / "fips"
    parent.mkdir(mode=0o777)
    SocketFile(str(parent / "control.sock"), {"XDG_RUNTIME_DIR": str(tmp_path)}).open().close()
    assert mode_of(parent) == 0o750


@pytest.mark.parametrize("call", ["chmod", "chown"])
def test_what_may_not_be_protected_is_a_warning_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, call, refuse)
    monkeypatch.setattr(socketfile, "_group_id", lambda: 54321)
    file = SocketFile(str(tmp_path / "new" / "control.sock"), {})
    file.open().close()
    assert len(file.warnings) == 2
    assert all("Operation not permitted" in warning for warning in file.warnings)


def test_a_relative_path_needs_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = SocketFile("null", {})
    file.open().close()
    assert (tmp_path / "null").is_socket()
