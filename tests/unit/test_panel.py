"""What script/run prints beside a starting node: nothing that is not so, and nothing at all when the node says why."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "script" / "_panel.py"
NPUB = "npub1sjlh2c3x9w7kjsqg2ay080n2lff2uvt325vpan33ke34rn8l5jcqawh57m"
ADDRESS = "fd97:5829::1"
UDP = [{"type": "udp", "local_addr": "0.0.0.0:2121"}]
CONFIG = Path("/somewhere/meshnode.yaml")


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("panel_of_script_run", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def status(tun_state: str = "active") -> dict[str, Any]:
    name = "fips0" if tun_state == "active" else "-"
    return {"npub": NPUB, "ipv6_addr": ADDRESS, "tun_name": name, "tun_state": tun_state}


@pytest.mark.parametrize(
    "text",
    ["node: [", "node: {identity: {nsec: 12}}\n", "transports: {udp: {bind_adr: 1}}\n", None, "node: {tick: 1}\n"],
)
def test_a_configuration_the_node_refuses_is_left_to_the_node(tmp_path: Path, text: str | None) -> None:
    config = tmp_path / "meshnode.yaml"
    if text is not None:
        config.write_text(text)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait(10)
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(config), str(ended.pid)],
        capture_output=True,
        text=True,
        timeout=20,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(tmp_path)},
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_with_an_interface_it_offers_the_address_and_the_name_only_where_names_are_on(program: ModuleType) -> None:
    lines = program.panel(status(), UDP, CONFIG, "on (dnsmasq)", "192.0.2.7").splitlines()
    assert f"  and type there: ping {ADDRESS}" in lines
    assert [line for line in lines if f"ping {NPUB}.fips" in line] == [
        f"  If its own panel says that names are on: ping {NPUB}.fips"
    ]
    assert '        addr: "192.0.2.7:2121"' in lines


@pytest.mark.parametrize("state", ["failed", "disabled"])
def test_without_an_interface_it_promises_no_ping(program: ModuleType, state: str) -> None:
    text = program.panel(status(state), UDP, CONFIG, "off: there is no interface", "192.0.2.7")
    assert "ping fd" not in text
    assert "ping npub" not in text
    assert "answers no ping" in text


def test_who_may_not_make_an_interface_is_told_how(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    text = program.panel(status("failed"), UDP, CONFIG, "off: there is no interface", "192.0.2.7")
    assert f"sudo {ROOT}/script/run --config {CONFIG}" in text


@pytest.mark.parametrize(
    ("bound", "shown"), [("192.0.2.9", "192.0.2.9"), ("2001:db8::9", "[2001:db8::9]"), ("0.0.0.0", "10.1.2.3")]
)
def test_the_address_it_shows_is_one_the_node_listens_at(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, bound: str, shown: str
) -> None:
    table = {socket.AF_INET: ["10.1.2.3", "10.1.2.4"], socket.AF_INET6: ["2001:db8::3"]}
    monkeypatch.setattr(program, "_towards_elsewhere", lambda family, tun: [])
    monkeypatch.setattr(program, "_configured", lambda family, tun: table[family])
    assert program.own_address((bound, "2121"), status()) == shown


def test_a_machine_with_ipv6_alone_shows_that_and_one_with_nothing_a_placeholder(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {socket.AF_INET: [], socket.AF_INET6: ["2001:db8::3"]}
    monkeypatch.setattr(program, "_towards_elsewhere", lambda family, tun: [])
    monkeypatch.setattr(program, "_configured", lambda family, tun: table[family])
    assert program.own_address(("::", "2121"), status()) == "[2001:db8::3]"
    assert program.own_address(("0.0.0.0", "2121"), status()) == program.PLACEHOLDER
