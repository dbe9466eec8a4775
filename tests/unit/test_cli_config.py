"""`meshctl config`: what cannot start is said, what is odd is said, and what did not change is no difference."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from meshnode.cli.main import main
from meshnode.config.load import parse
from meshnode.config.shown import shown

from .test_cli_main import Daemon

Run = Callable[..., tuple[int, str, str]]
_UDP = "transports: {udp: {outbound_only: true}}"
"""A node that needs no port of its own to be free."""


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(text: str, *arguments: str, socket: str = "/nowhere") -> tuple[int, str, str]:
        file = tmp_path / "fips.yaml"
        file.write_text(text)
        status = main(["-s", socket, *arguments, str(file)])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_a_good_file_is_fine(run: Run, tmp_path: Path) -> None:
    assert run(_UDP, "config", "check") == (
        0,
        f"fine: {tmp_path / 'fips.yaml'}\n",
        "",
    )


def test_a_file_without_a_transport_is_refused_as_at_the_start(run: Run) -> None:
    status, out, err = run("tun: {enabled: true}", "config", "check")
    assert status == 1
    assert out.startswith("cannot be used: ")
    assert err.endswith("a node does not start without a transport; write transports: {udp: {}}\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "transports: {udp: {outbound_only: true}, ethernte: {}}",
            "transports.ethernte is ignored unless a plug-in brings that transport",
        ),
        ("transports: {ethernte: {}}", "did you mean `ethernet`?"),
        ("transports: {udp: {bind_addr: 'x:99999'}, tcp: {}}", "transports.udp.bind_addr is `x:99999`"),
        ("transports: {udp: {bind_addr: '192.0.2.1:2121'}}", "192.0.2.1:2121: this machine has no such address now"),
        ("transports: {tcp: {bind_addr: '[2001:db8::1]:1'}}", "[2001:db8::1]:1: this machine has no such address now"),
        (f"{_UDP}\ntun: {{enabeld: true}}", "did you mean `enabled`?"),
        (
            "transports: {udp: {outbound_only: true}}\ntun: {enabled: true, name: much-too-long-a-name}",
            "there will be no interface",
        ),
        (
            "transports: {udp: {outbound_only: true}}\ndns: {enabled: true, bind_addr: localhost}",
            "write an IP address such as ::1",
        ),
    ],
)
def test_what_is_odd_is_a_warning(run: Run, text: str, says: str) -> None:
    status, out, _ = run(text, "config", "check")
    warning, verdict = out.splitlines()
    assert status == 0
    assert warning.startswith("warning: ")
    assert says in warning
    assert verdict.startswith("usable, but see above: ")


def test_a_file_whose_only_transport_can_listen_nowhere_is_refused_as_at_the_start(run: Run) -> None:
    status, out, err = run("transports: {udp: {bind_addr: '0.0.0.0:99999'}}", "config", "check")
    assert (status, out.startswith("cannot be used: ")) == (1, True)
    first, second = err.splitlines()
    assert first.startswith("error: transports.udp.bind_addr is `0.0.0.0:99999`")
    assert "does not start without a transport" in second


@pytest.mark.parametrize(("kind", "sort"), [("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)])
@pytest.mark.parametrize(("host", "written"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_a_port_of_another_program_is_told_and_one_of_the_running_node_is_not(
    run: Run, tmp_path: Path, kind: str, sort: socket.SocketKind, host: str, written: str
) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, sort) as other:
        other.bind((host, 0))
        if kind == "tcp":
            other.listen()
        address = f"{written}:{other.getsockname()[1]}"
        text = f"transports: {{{kind}: {{bind_addr: '{address}'}}}}"
        status, out, _ = run(text, "config", "check")
        line = f"warning: transports.{kind}.bind_addr is {address}: another program has that port now"
        assert (status, out.startswith(line)) == (0, True)
        daemon = Daemon(tmp_path / "control.sock")
        rows = [{"type": kind, "local_addr": address}, {"type": "nym"}]
        daemon.answers["show_transports"] = {"status": "ok", "data": {"transports": rows}}
        try:
            assert run(text, "config", "check", socket=str(daemon.path))[1].startswith("fine: ")
        finally:
            daemon.close()


_EVERYTHING_WRONG = """
node:
  identity: {nsec: nonsense}
  log_level: loud
  tick_interval_secs: 0
  tree: {parent_hysteresis: much}
tun: {mtu: wide, enabeld: true}
dns: 7
transports: {udp: {mtu: 10}}
peers:
  - {npub: npub1x, addresses: [{transport: udp, addr: "10.0.0.1:1", priority: high}]}
  - {npub: npub1y, addresses: [], connect_policy: never}
"""
_SAID = (
    "node.tree.parent_hysteresis", "tun.mtu", "dns", "peers[0].addresses[0].priority", "peers[1].connect_policy",
    "node.identity.nsec", "node.tick_interval_secs", "transports.udp.mtu",
)  # fmt: skip


def test_everything_that_is_wrong_is_said_at_once(run: Run) -> None:
    status, out, err = run(_EVERYTHING_WRONG, "config", "check")
    assert status == 1
    assert "did you mean `enabled`?" in out
    lines = err.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    for key in _SAID:
        assert sum(key in line for line in lines) == 1, (key, lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "transports: {udp: {mtu: 70000, bind_adr: x, public: 7}, tcp: {nodelay: maybe}}",
            ["transports.udp.mtu", "`bind_adr` is not a key of", "transports.udp.public", "transports.tcp.nodelay"],
        ),
        (
            "transports: {udp: {a: {mtu: x, public: 7}, b: {bind_addr: '0.0.0.0:2', mtu: -1}, c: null}}",
            ["transports.udp.a.mtu", "transports.udp.a.public", "transports.udp.b.mtu", "transports.udp.c"],
        ),
        (
            "transports: {ethernet: {wan: {interface: 5, listen: maybe}, lan: {mtu: x}}}",
            ["transports.ethernet.wan.interface", "transports.ethernet.wan.listen", "transports.ethernet.lan.mtu",
             "`interface` is missing"],
        ),
        (
            "peers: [{addresses: [{transport: udp, addr: 'h:1', priority: x, port: 3}], alia: y}]",
            ["peers[0].addresses[0].priority", "`port` is not a key of", "`alia` is not a key of", "`npub` is missing"],
        ),
        (
            "peers: [{npub: npub1x, npub: npub1y, addresses: [{transport: [], addr: {}, priority: x}]}]",
            ["peers[0].npub: is set twice", "[0].transport", "[0].addr:", "[0].priority"],
        ),
    ],
)  # fmt: skip
def test_everything_that_is_wrong_within_one_section_is_said(run: Run, text: str, says: list[str]) -> None:
    status, _, err = run(text, "config", "check")
    lines = err.splitlines()
    assert (status, len(lines)) == (1, len(says)), lines
    for words in says:
        assert sum(words in line for line in lines) == 1, (words, lines)


def test_programs_are_told_everything_as_well(run: Run) -> None:
    status, out, err = run(_EVERYTHING_WRONG, "config", "check", "--json")
    assert (status, err) == (1, "")
    assert len(json.loads(out)["errors"]) >= len(_SAID)


def test_the_node_and_the_other_verbs_stop_at_the_first_fault(run: Run) -> None:
    for verb in ("show", "diff"):
        status, out, err = run(_EVERYTHING_WRONG, "config", verb)
        assert (status, out) == (1, "")
        assert len(err.splitlines()) == 1


def test_an_address_on_a_transport_of_a_plug_in_is_not_complained_about(run: Run) -> None:
    npub = "npub1sjlh2c3x9w7kjsqg2ay080n2lff2uvt325vpan33ke34rn8l5jcqawh57m"
    peers = f"peers: [{{npub: {npub}, addresses: [{{transport: serial, addr: /dev/ttyUSB0}}]}}]"
    _, out, _ = run(f"transports: {{udp: {{outbound_only: true}}, serial: {{device: x}}}}\n{peers}", "config", "check")
    assert out.count("warning: ") == 1
    assert "transports.serial is ignored unless" in out


def test_a_file_as_it_was_read_has_no_differences(run: Run, tmp_path: Path) -> None:
    text = "transports: {tcp: {bind_addr: '0.0.0.0:8443'}}"
    config = parse(text)[0]
    config.transports.inherit(config.node.limits.max_connections)
    daemon = Daemon(tmp_path / "control.sock")
    settings = json.loads(json.dumps(shown(config, all_keys=True)))
    daemon.answers["show_config"] = {"status": "ok", "data": {"settings": settings}}
    try:
        assert run(text, "config", "diff", socket=str(daemon.path)) == (0, "no differences\n", "")
    finally:
        daemon.close()
