"""A node that cannot start says why in one line and leaves with a status that tells scripts the kind of trouble."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from meshnode.identity import Identity
from tests.rigs import traffic
from tests.rigs.hosts import Host, wire
from tests.rigs.labs import Lab, Pair
from tests.rigs.meshctl import meshctl
from tests.rigs.nodes import TUN, Node, environment, our_program

pytestmark = pytest.mark.net

CONFIGURATION, FAILURE, USAGE = 78, 1, 2


@pytest.fixture
def host(lab: Lab) -> Host:
    return lab.host("alone")


def _start_with(host: Host, file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Start a node that is expected to give up."""
    return host.run([*our_program().command(file), *options], timeout=10, environment=environment())


def _attempt(node: Node) -> subprocess.CompletedProcess[str]:
    node.config_file.write_text(json.dumps(node.settings))
    return _start_with(node.host, node.config_file)


def _only_complaint(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a node that has not come so far as to open its log."""
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def _only_line_about(done: subprocess.CompletedProcess[str], word: str) -> str:
    """Return the one line of all output, log included, in which `word` stands."""
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line for line in (done.stdout + done.stderr).splitlines() if word in line]
    assert len(lines) == 1, done.stdout + done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("node: [", "meshnode.yaml"),
        ("node: {identity: {nsec: 12}}\n", "nsec"),
        ("node: {tick_interval_secs: soon}\n", "tick_interval_secs"),
        ("transports: {udp: {bind_adr: '0.0.0.0:2121'}}\n", "bind_adr"),
        ("node: {identity: {nsec: npub1sjlh2c3x9w7kjsqg2ay080n2lff2uvt325vpan33ke34rn8l5jcqawh57m}}\n", "nsec"),
    ],
)
def test_a_wrong_configuration_is_one_line_with_file_and_key(host: Host, text: str, named: str) -> None:
    file = host.directory / "meshnode.yaml"
    file.write_text(text)
    done = _start_with(host, file)
    assert done.returncode == CONFIGURATION
    assert named in _only_complaint(done)


@pytest.mark.parametrize("kind", ["missing", "directory", "not text"])
def test_a_configuration_that_cannot_be_read_is_one_line(host: Host, kind: str) -> None:
    file = host.directory / "meshnode.yaml"
    if kind == "directory":
        file.mkdir()
    elif kind == "not text":
        file.write_bytes(bytes(range(256)))
    done = _start_with(host, file)
    assert done.returncode == CONFIGURATION
    assert str(file) in _only_complaint(done)


def test_an_unparsable_key_file_is_one_line(lab: Lab, host: Host) -> None:
    node = lab.node("alone", host)
    node.settings["node"]["identity"] = {"persistent": True}
    (node.directory / "fips.key").write_text("not a key\n")
    done = _attempt(node)
    assert done.returncode == CONFIGURATION
    assert "fips.key" in _only_complaint(done)
    assert (node.directory / "fips.key").read_text() == "not a key\n"


def test_a_busy_udp_port_ends_the_start_with_a_line_that_names_it(lab: Lab, host: Host) -> None:
    node = lab.node("alone", host)
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", 2121))
        done = _attempt(node)
    assert done.returncode == FAILURE
    assert "in use" in _only_line_about(done, ":2121")
    assert "no operational transports" in _only_line_about(done, "Failed to start")
    assert not node.control_socket.exists()
    assert not host.has_interface(TUN)


def test_an_address_to_listen_at_that_is_none_ends_the_start(lab: Lab, host: Host) -> None:
    node = lab.node("alone", host, settings={"transports": {"udp": {"bind_addr": "localhost"}}})
    done = _attempt(node)
    assert done.returncode == FAILURE
    assert "invalid transport address" in _only_line_about(done, "localhost")


def test_a_second_node_does_not_share_the_port_of_the_first(lab: Lab, host: Host) -> None:
    first, second = lab.node("first", host), lab.node("second", host, settings={"tun": {"name": "fips1"}})
    first.start()
    first.wait_ready()
    done = _attempt(second)
    assert done.returncode == FAILURE
    assert "in use" in _only_line_about(done, ":2121")
    assert first.status()["state"] == "running"


@pytest.mark.parametrize("held_in", ["configuration", "key file", "configuration that was replaced"])
def test_a_second_node_with_the_same_key_is_refused(lab: Lab, host: Host, held_in: str) -> None:
    """Over Ethernet no port would tell that there are two; a node that was killed is in nobody's way."""
    wire(host, lab.host("neighbour"))
    first = lab.node("first", host, settings={"tun": {"enabled": False}, "dns": {"enabled": False}})
    first.carries(ethernet={"interface": "eth0"})
    secret = first.config_file
    if held_in == "key file":
        first.settings["node"]["identity"] = {"persistent": True}
        secret = first.directory / "fips.key"
    first.start()
    first.wait_ready()
    if held_in == "configuration that was replaced":
        draft = first.config_file.with_name("draft.yaml")
        shutil.copy(first.config_file, draft)
        draft.rename(first.config_file)
    done = _start_with(host, first.config_file)
    assert done.returncode == FAILURE
    line = _only_line_about(done, "another process")
    assert str(secret) in line
    assert "nsec" not in line
    assert first.status()["state"] == "running"
    first.kill()
    first.start()
    first.wait_ready()
    assert first.stop() == 0


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_of_a_node_that_runs_is_its_standard_output(lab: Lab, host: Host, form: str) -> None:
    node = lab.node("alone", host, settings={"meshnode": {"log": {"format": form}}})
    node.config_file.write_text(json.dumps(node.settings))
    complaints = node.directory / "complaints"
    with node.log_file.open("w") as log, complaints.open("w") as errors:
        command = our_program().command(node.config_file)
        node.process = host.start(command, output=log, errors=errors, environment=environment())
    node.wait_ready()
    assert node.stop() == 0
    assert "Control socket at" in node.log()
    assert complaints.read_text() == ""


def test_without_the_right_to_a_tun_device_the_rest_runs(lab: Lab) -> None:
    """The bounding set without CAP_NET_ADMIN is what a service or a container without the right has."""
    pair = Pair(lab).left_dials()
    pair.right.start()
    pair.right.wait_ready()
    weak = pair.left
    weak.program = type(weak.program)("weak", f"setpriv --bounding-set=-net_admin {our_program().template}")
    weak.start()
    weak.wait_ready()
    weak.wait_connected(pair.right)
    assert weak.status()["tun_state"] == "failed"
    hints = [line for line in weak.log().splitlines() if "setcap" in line or "root" in line.lower().split()]
    assert len(hints) == 1


def test_a_peer_that_is_no_npub_is_left_out_with_a_warning(lab: Lab) -> None:
    pair = Pair(lab).left_dials()
    endpoint: list[dict[str, Any]] = [{"transport": "udp", "addr": "10.99.0.2:2121"}]
    pair.left.settings["peers"].append({"npub": "npub1qqqq", "addresses": endpoint})
    pair.start()
    warnings = [line for line in pair.left.log().splitlines() if "peers[1].npub" in line]
    assert len(warnings) == 1, pair.left.log()
    assert list(pair.left.peers()) == [pair.right.npub]
    status = meshctl(pair.left, "status")
    assert status.returncode == 1
    assert "! peers[1].npub is not a public key, the peer is skipped" in status.stdout


def test_a_peer_that_answers_with_another_identity_is_not_accepted(lab: Lab) -> None:
    pair = Pair(lab)
    stranger = Identity(b"\x11" * 32).npub
    endpoint = [{"transport": "udp", "addr": f"{pair.right_address}:2121"}]
    pair.left.settings["peers"].append({"npub": stranger, "addresses": endpoint})
    pair.left.settings["peers"].append({"npub": pair.right.npub, "addresses": endpoint})
    pair.start()
    assert stranger not in pair.left.peers()
    assert len(traffic.ping(pair.left.host, pair.right.address)) == 3


def test_wrong_options_are_a_usage_error(host: Host, tmp_path: Path) -> None:
    done = _start_with(host, tmp_path / "x.yaml", "--no-such-option")
    assert done.returncode in (FAILURE, USAGE)
    _only_line_about(done, "no-such-option")
