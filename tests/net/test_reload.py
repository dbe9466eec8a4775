"""A running node is told to read its configuration again, is watched meanwhile, and keeps its secrets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rigs import control, traffic
from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import Node, environment
from tests.rigs.secrets import found_in
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net

_SHOW = (
    *("status", "acl", "peers", "links", "tree", "sessions", "bloom", "mmp", "cache", "connections", "transports"),
    *("routing", "identity_cache", "listening_sockets", "metrics", "config", "known_peers", "log"),
)


def _meshctl(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "meshnode.cli", "-s", str(node.control_socket), *arguments]
    return node.host.run(command, environment=environment())


def _rewrite(node: Node) -> None:
    node.config_file.write_text(json.dumps(node.settings))


def _tell(node: Node) -> None:
    assert node.process is not None
    node.process.send_signal(signal.SIGHUP)


@pytest.mark.parametrize("way", ["by signal", "by meshctl"])
def test_peers_change_without_a_restart_and_a_broken_file_changes_nothing(lab: Lab, way: str) -> None:
    pair = Pair(lab)
    left, right = pair.left, pair.right
    for node in (left, right):
        node.start()
        node.wait_ready()
    watcher_log = lab.directory / "watched"
    with watcher_log.open("w") as output:
        command = [sys.executable, "-u", "-m", "meshnode.cli", "-s", str(left.control_socket), "--json", "watch"]
        left.host.start([*command, "--since", "0"], output=output, environment=environment())
        left.dials(right, pair.right_address)
        _rewrite(left)
        if way == "by signal":
            _tell(left)
        else:
            assert "applied: peers" in _meshctl(left, "reload").stdout
        pair.wait_connected()
        left.config_file.write_text("peers: [\n")
        if way == "by signal":
            _tell(left)
        else:
            done = _meshctl(left, "reload")
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith("error: nothing changed: ")
            assert done.stderr.count("\n") == 1
        wait_until(lambda: "reload_refused" in watcher_log.read_text(), 5, "the refusal is watched")
    assert left.is_connected_to([right])
    kinds = [json.loads(line)["event"] for line in watcher_log.read_text().splitlines()]
    assert [kind for kind in kinds if kind in ("reloaded", "peer_up", "reload_refused")] == [
        "reloaded",
        "peer_up",
        "reload_refused",
    ]
    assert left.stop() == 0


def test_nothing_a_node_says_anywhere_holds_its_key(lab: Lab) -> None:
    pair = Pair(lab).left_dials()
    left = pair.left
    hooked = left.directory / "hooked"
    left.settings["node"]["log_level"] = "trace"
    left.settings["meshnode"] = {"log": {"format": "json"}, "hooks": {"on_event": f"tee -a {hooked}"}}
    pair.start()
    assert pair.right.address in left.host.run(["getent", "ahosts", f"{pair.right.npub}.fips"]).stdout
    said = [json.dumps(left.ask(f"show_{what}")) for what in _SHOW]
    left.dials(left, "10.99.0.9")
    left.settings["node"]["identity"]["nsec"] = f"{left.identity.nsec}x"
    _rewrite(left)
    with pytest.raises(control.ControlError) as refused:
        left.ask("reload")
    said += [str(refused.value), json.dumps(left.ask("show_config"))]
    for arguments in (["config", "check"], ["config", "show", "--all"], ["config", "diff"], ["status"]):
        done = _meshctl(left, *arguments)
        said += [done.stdout, done.stderr]
    for name in ("cmdline", "environ"):
        said.append(Path(f"/proc/{left.pid}/{name}").read_text())
    limits = Path(f"/proc/{left.pid}/limits").read_text()
    assert "Max core file size        0                    0" in limits
    left.kill()
    left.start()
    wait_until(lambda: left.process is not None and left.process.poll() is not None, 10, "the start is refused")
    said += [left.log(), hooked.read_text()]
    text = "\n".join(said)
    assert "peer_up" in text
    assert '"level": "debug"' in left.log()
    assert found_in(text, [left.identity.secret]) == []


@pytest.mark.parametrize(("kind", "port"), [("udp", 2122), ("tcp", 2123)])
def test_a_node_listens_elsewhere_without_a_restart(
    lab: Lab, kind: str, port: int, measured: Callable[[str], None]
) -> None:
    pair = Pair(lab).right_dials()
    left, right = pair.left, pair.right
    right.settings["transports"]["tcp"] = {}
    (peer,) = right.settings["peers"]
    peer["addresses"].append({"transport": kind, "addr": f"{pair.left_address}:{port}", "priority": 200})
    pair.start()
    pid = left.pid
    left.settings["transports"] = {kind: {"bind_addr": f"0.0.0.0:{port}"}}
    _rewrite(left)
    assert "applied: transports." in _meshctl(left, "reload").stdout
    begin = time.monotonic()
    wait_until(lambda: _way(left, right) == (kind, port), 20, f"they meet over {kind}")
    measured(f"after {time.monotonic() - begin:.2f} s")
    assert len(traffic.ping(right.host, left.address)) == 3
    assert left.pid == pid
    assert [row["type"] for row in left.ask("show_transports")["transports"]] == [kind]


def _way(node: Node, other: Node) -> tuple[str, int] | None:
    """The carrier by which `other` reaches a node, and the port it knows of there."""
    if other.npub not in node.peers():
        return None
    row = other.peers().get(node.npub, {})
    return (row["transport_type"], int(row["transport_addr"].rpartition(":")[2])) if row else None
