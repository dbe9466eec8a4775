"""meshctl from the command line to the last line of its output, against sockets that answer in every way."""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode import __version__, paths
from meshnode.cli import names
from meshnode.cli.client import Client, ToolError
from meshnode.cli.main import main
from meshnode.identity import Identity, PeerIdentity
from tests.unit.vectors import load

BEE = "npub1yutuesdf95tgktcm7zrrgxmc030fw5af6usegterjv6wa9zgpjus7fad5d"
DELTA = "npub1k8x08m9y5acfu5apxjetpsvlyhv4444qsatpgx36kqlxshs8432q0s6mmg"


class Daemon:
    """A socket that answers requests from a table of commands; a bytes value is sent as it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[Any] = []
        self.answers: dict[str, Any] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                line = connection.makefile("rb").readline()
                if not line:
                    return
                self._answer(connection, json.loads(line))

    def _answer(self, connection: socket.socket, request: Any) -> None:
        self.requests.append(request)
        answer = self.answers.get(request["command"], {"status": "error", "message": "no such luck"})
        connection.sendall(answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n")

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(self.path))
        self._thread.join(5)
        self._listener.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "control.sock")
    for view in ("status", "peers", "identity_cache", "transports"):
        case = next(c for c in load(f"control/show_{view}")["cases"] if c["case"].startswith("busy root"))
        daemon.answers[f"show_{view}"] = copy.deepcopy(case["answer"])
    daemon.answers["show_known_peers"] = {"status": "error", "message": "unknown command: show_known_peers"}
    yield daemon
    daemon.close()


@pytest.fixture
def run(
    daemon: Daemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    hosts = tmp_path / "hosts"
    hosts.write_text(f"# ours\ndelta {DELTA}\nbroken line here\n")
    monkeypatch.setattr(names, "hosts_path", lambda: str(hosts))

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["-s", str(daemon.path), *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


Run = Callable[..., tuple[int, str, str]]


def test_a_view_is_a_table(run: Run, daemon: Daemon) -> None:
    status, out, err = run("show", "peers")
    assert (status, err) == (0, "")
    assert out.startswith("NAME")
    assert "bee" in out
    assert daemon.requests == [{"command": "show_peers"}]


@pytest.mark.parametrize("arguments", [("--json", "show", "peers"), ("show", "peers", "--json")])
def test_json_is_what_the_node_answered(run: Run, daemon: Daemon, arguments: tuple[str, ...]) -> None:
    status, out, _ = run(*arguments)
    assert status == 0
    assert json.loads(out) == daemon.answers["show_peers"]["data"]


def test_the_socket_may_be_named_after_the_command(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "transports", "--socket", str(daemon.path)]) == 0
    assert "udp" in capsys.readouterr().out


def test_views_with_a_hyphen_ask_with_an_underscore(run: Run, daemon: Daemon) -> None:
    assert run("show", "identity-cache")[0] == 0
    assert daemon.requests == [{"command": "show_identity_cache"}]


def test_an_error_of_the_node_is_one_line_and_status_1(run: Run) -> None:
    assert run("show", "tree") == (1, "", "error: no such luck\n")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "hung up without an answer"),
        (b"hello\n", "is no node"),
        (b"[]\n", "is no node"),
        (b'{"status":"ok","data":{"peers":[{}]}}\n', "--json prints it"),
        (b'{"status":"ok","data":null}\n', "--json prints it"),
    ],
)
def test_an_answer_that_is_none_is_one_line(run: Run, daemon: Daemon, answer: bytes, text: str) -> None:
    daemon.answers["show_peers"] = answer
    status, out, err = run("show", "peers")
    assert (status, out) == (1, "")
    assert text in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [(), ("show",), ("show", "nope"), ("frobnicate",), ("connect", "x"), ("-s",)])
def test_wrong_usage_is_status_2(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_of_the_tool(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([option])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"meshctl {__version__}\n"


def test_the_versions_of_tool_and_node(run: Run) -> None:
    status, out, _ = run("version")
    assert status == 0
    assert out.splitlines() == [f"meshctl {__version__}", "node    0.4.1 (rev 15db6471db)"]
    assert json.loads(run("version", "--json")[1]) == {"meshctl": __version__, "node": "0.4.1 (rev 15db6471db)"}


# -- without a node


def test_no_socket_says_where_it_was_sought_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.sock"
    assert main(["-s", str(path), "show", "status"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: no node at {path}: there is no such socket")
    assert "twistd -n meshnode" in err
    assert main(["-s", str(path), "version"]) == 0


def test_a_node_that_started_before_the_usual_directory_was_there_is_found(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made_later = tmp_path / "later"
    made_later.mkdir()
    (tmp_path / "fips").mkdir()
    (tmp_path / "fips" / "control.sock").hardlink_to(daemon.path)
    monkeypatch.setattr(paths, "RUN_DIRECTORY", str(made_later))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert main(["--json", "show", "status"]) == 0
    assert json.loads(capsys.readouterr().out) == daemon.answers["show_status"]["data"]


def test_a_socket_nobody_listens_on_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(ToolError, match="nobody listens there any more"):
        Client(str(path)).ask("show_status")


def test_a_file_in_the_place_of_a_socket_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "fips.yaml"
    path.touch()
    with pytest.raises(ToolError, match="that is no socket; name the one of the node with --socket"):
        Client(str(path)).ask("show_status")


def test_a_node_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(ToolError, match="did not answer within"):
            Client(str(path), timeout=0.05).ask("show_status")


def test_a_socket_we_may_not_use_names_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    class Locked(socket.socket):
        def connect(self, address: Any) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("meshnode.cli.client.socket.socket", Locked)
    with pytest.raises(ToolError, match="join group `fips`"):
        Client("/run/fips/control.sock").ask("show_status")


def test_a_path_that_is_too_long_is_one_line() -> None:
    with pytest.raises(ToolError, match=r"^cannot use /x"):
        Client("/" + "x" * 200).ask("show_status")


# -- connect and disconnect


@pytest.mark.parametrize(
    ("peer", "npub"),
    [
        (BEE, BEE),
        ("delta", DELTA),
        ("DELTA", DELTA),
        ("bee", BEE),
        ("npub1abc", "npub1abc"),
        (f"{BEE}.fips", BEE),
        ("bee.fips", BEE),
        ("delta.FIPS", DELTA),
        (PeerIdentity.from_npub(BEE).ipv6_text, BEE),
    ],
)
def test_peers_are_named_by_npub_hosts_file_or_the_nodes_own_names(
    run: Run, daemon: Daemon, peer: str, npub: str
) -> None:
    daemon.answers["connect"] = {"status": "ok", "data": {"npub": npub}}
    status, out, _ = run("connect", peer, "192.0.2.1:2121", "udp")
    assert status == 0
    assert npub in out
    params = {"npub": npub, "address": "192.0.2.1:2121", "transport": "udp"}
    assert daemon.requests[-1] == {"command": "connect", "params": params}


def test_connecting_says_whether_there_was_anything_to_do(run: Run, daemon: Daemon) -> None:
    daemon.answers["connect"] = {"status": "ok", "data": {"npub": BEE}}
    _, out, _ = run("connect", BEE, "192.0.2.1:2121", "udp")
    assert out == f"already connected to {BEE} at 10.72.1.2:2121; nothing was dialled\n"
    assert daemon.requests[-1]["command"] == "connect"
    _, out, _ = run("connect", DELTA, "192.0.2.1:2121", "udp")
    assert out.startswith(f"dialling {DELTA} at 192.0.2.1:2121")
    del daemon.answers["show_peers"]
    assert run("connect", BEE, "192.0.2.1:2121", "udp")[1].startswith("dialling")


def test_a_name_nobody_has_is_one_line(run: Run) -> None:
    status, _, err = run("disconnect", "nobody")
    assert status == 1
    assert err.startswith("error: unknown node 'nobody'")
    assert "hosts" in err


def test_an_address_nobody_has_is_one_line_that_asks_for_the_npub(run: Run) -> None:
    status, out, err = run("disconnect", "fd00::1")
    assert (status, out) == (1, "")
    assert err == "error: unknown node 'fd00::1': no node with that address is known here; give the npub\n"


def test_a_name_two_nodes_have_is_not_guessed(run: Run, daemon: Daemon) -> None:
    rows = [{"display_name": "twin", "npub": npub} for npub in (BEE, DELTA)]
    daemon.answers["show_peers"] = {"status": "ok", "data": {"peers": rows}}
    status, _, err = run("disconnect", "twin")
    assert status == 1
    assert BEE in err
    assert DELTA in err


def test_a_short_npub_as_tables_show_it_is_a_name(run: Run, daemon: Daemon) -> None:
    rows = [{"display_name": "npub1yut...ad5d", "npub": BEE}]
    daemon.answers["show_peers"] = {"status": "ok", "data": {"peers": rows}}
    daemon.answers["disconnect"] = {"status": "ok", "data": {"npub": BEE, "disconnected": True}}
    assert run("disconnect", "npub1yut...ad5d") == (0, f"disconnected {BEE}\n", "")


def test_disconnect_prints_json_on_request(run: Run, daemon: Daemon) -> None:
    daemon.answers["disconnect"] = {"status": "ok", "data": {"npub": BEE, "disconnected": True}}
    assert json.loads(run("disconnect", BEE, "--json")[1]) == {"npub": BEE, "disconnected": True}


@pytest.mark.parametrize(
    "address", ["fd00::1", "[fd69:1d53::1]:2121", "fd69:1d53::1:2121", "[fd00::1]", "[fd00::1%x]:1"]
)
@pytest.mark.parametrize("transport", ["udp", "tcp", "ethernet"])
def test_a_mesh_address_is_no_endpoint(run: Run, daemon: Daemon, address: str, transport: str) -> None:
    status, _, err = run("connect", BEE, address, transport)
    assert status == 1
    assert "mesh address" in err
    assert daemon.requests == []


@pytest.mark.parametrize("address", ["192.0.2.1:2121", "[2001:db8::1]:2121", "fd.example.com:2121", "[fe80::1%eth0]:1"])
def test_other_addresses_are_left_to_the_node(run: Run, daemon: Daemon, address: str) -> None:
    daemon.answers["connect"] = {"status": "ok", "data": {}}
    assert run("connect", BEE, address, "udp")[0] == 0


# -- keygen


def test_keys_on_the_screen_are_two_lines_that_belong_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "--stdout"]) == 0
    nsec, npub = capsys.readouterr().out.splitlines()
    assert Identity.parse(nsec).npub == npub


def test_keys_on_the_screen_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "-s", "--json"]) == 0
    both = json.loads(capsys.readouterr().out)
    assert Identity.parse(both["nsec"]).npub == both["npub"]


def test_key_files_are_written_and_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "new" / "keys"
    assert main(["keygen", "--dir", str(directory)]) == 0
    out, err = capsys.readouterr()
    npub, written, *rest = err.splitlines()
    assert (out, written) == ("", f"Key files written to: {directory}/")
    assert "node.identity.persistent: true" in "\n".join(rest)
    assert (directory / "fips.pub").read_text().strip() == npub
    assert (directory / "fips.key").stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_there_is_replaced_only_by_force_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keygen", "-d", str(tmp_path)]) == 0
    old = (tmp_path / "fips.key").read_text()
    capsys.readouterr()
    assert main(["keygen", "-d", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: key file already exists: {tmp_path}/fips.key")
    assert "--force" in err
    assert (tmp_path / "fips.key").read_text() == old
    assert main(["keygen", "-d", str(tmp_path), "--force", "--json"]) == 0
    kept = json.loads(capsys.readouterr().out)["previous_key"]
    assert Path(kept).read_text() == old
    assert (tmp_path / "fips.key").read_text() != old


def test_a_dangling_symlink_counts_as_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fips.key").symlink_to(tmp_path / "nowhere")
    assert main(["keygen", "-d", str(tmp_path)]) == 1
    assert "already exists" in capsys.readouterr().err


def test_a_directory_that_cannot_be_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["keygen", "-d", str(tmp_path / "file" / "keys")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


# -- the program


def test_the_tool_loads_no_part_of_a_node() -> None:
    program = "import sys, meshnode.cli.main; print(*[name for name in sys.modules if name.count('.') < 2])"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"twisted", "cryptography", "coincurve", "yaml", "zope.interface", "meshnode.node", "meshnode.config"}
    assert heavy.isdisjoint(loaded)


def test_the_package_can_be_run_and_its_reader_may_leave(daemon: Daemon) -> None:
    command = [sys.executable, "-m", "meshnode.cli", "-s", str(daemon.path), "show", "status"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("state")
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as nobody:
        left = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, check=False)
    assert (left.returncode, left.stderr) == (1, b"")
