"""What starts a node on FreeBSD and macOS, on a Debian that is laid out like them: their own tools are stood in for."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.rigs import processes
from tests.rigs.labs import Lab
from tests.rigs.waiting import wait_until

from .conftest import Artefact
from .machines import ROOT, Machine, debian, install

RELEASE = "trixie"
CONFIG = "/usr/local/etc/fips/fips.yaml"
SERVICE = "/usr/local/etc/rc.d/meshnode"
STAND_INS = Path(__file__).parent / "freebsd"
LAUNCHD = ROOT / "packaging" / "macos" / "org.meshnode.node.plist"
# launchd.plist(5)
KEYS = {
    "Label": str,
    "ProgramArguments": list,
    "RunAtLoad": bool,
    "KeepAlive": dict,
    "ThrottleInterval": int,
    "ExitTimeOut": int,
    "Umask": int,
    "StandardOutPath": str,
    "StandardErrorPath": str,
}
pytestmark = pytest.mark.net


@pytest.fixture
def machine(lab: Lab, artefact: Artefact) -> Machine:
    """A node in /usr/local/meshnode, as a virtual environment would be, and a configuration without an interface."""
    row = tomllib.loads((ROOT / "packaging" / "debian" / "releases.toml").read_text())[RELEASE]
    system = debian(RELEASE, ["systemd", "adduser", "iproute2", "nftables", "python3", *row["depends"]])
    machine = Machine(lab.host("elsewhere"), system)
    install(machine, artefact("deb", "--release", RELEASE))
    machine.inside("mkdir", "/usr/local/meshnode")
    machine.inside("ln", "-s", "/usr/bin", "/usr/local/meshnode/bin")
    machine.write(CONFIG, "node: {identity: {persistent: true}}\ndns: {enabled: false}\ntransports: {udp: {}}\n")
    return machine


def rc(machine: Machine, command: str, *, succeeds: bool = True) -> str:
    return machine.inside("sh", SERVICE, command, succeeds=succeeds)


@pytest.fixture
def freebsd(machine: Machine) -> Machine:
    machine.put(STAND_INS / "rc.subr", "/etc/rc.subr")
    machine.put(STAND_INS / "daemon", "/usr/sbin/daemon")
    machine.inside("chmod", "755", "/usr/sbin/daemon")
    machine.inside("mkdir", "/usr/local/etc/rc.d")
    machine.put(ROOT / "packaging" / "freebsd" / "meshnode", SERVICE)
    return machine


def test_freebsd_starts_reloads_and_stops_it(freebsd: Machine) -> None:
    freebsd.write("/etc/rc.conf", 'meshnode_enable="YES"\n')
    assert rc(freebsd, "status", succeeds=False) == "meshnode is not running.\n"
    supervisor = freebsd.start("sh", SERVICE, "start")
    npub = freebsd.npub(interface=False)
    assert freebsd.inside("cat", "/usr/local/etc/fips/fips.pub").strip() == npub
    assert rc(freebsd, "status").startswith("meshnode is running as pid ")
    rc(freebsd, "reload")
    wait_until(lambda: "configuration read again" in freebsd.log, 10, "the node says that it was told to reload")
    stop = freebsd.start("sh", SERVICE, "stop")
    supervisor.wait(20)  # or it would go on existing for those who look for it
    assert stop.wait(20) == 0
    assert rc(freebsd, "status", succeeds=False) == "meshnode is not running.\n"
    assert freebsd.host.run(freebsd.command("meshctl", "show", "status")).returncode != 0


def test_freebsd_starts_nothing_that_is_not_wanted_or_not_configured(freebsd: Machine) -> None:
    assert "Set meshnode_enable to YES" in rc(freebsd, "start")
    freebsd.write("/etc/rc.conf", 'meshnode_enable="YES"\nmeshnode_config="/nowhere.yaml"\n')
    assert rc(freebsd, "start", succeeds=False) == "meshnode: /nowhere.yaml is not readable.\n"


def test_launchd_is_given_keys_that_it_knows() -> None:
    job = plistlib.loads(LAUNCHD.read_bytes())
    assert {key: type(value) for key, value in job.items()} == KEYS
    assert job["KeepAlive"] == {"SuccessfulExit": False}
    assert job["Umask"] == 0o027


@pytest.mark.skipif(shutil.which("plistutil") is None, reason="needs plistutil; apt-get install libplist-utils")
def test_another_reader_of_property_lists_takes_it(tmp_path: Path) -> None:
    binary = tmp_path / "job.bplist"
    subprocess.run(["plistutil", "-i", LAUNCHD, "-o", binary, "-f", "bin"], check=True)
    assert plistlib.loads(binary.read_bytes()) == plistlib.loads(LAUNCHD.read_bytes())


def test_what_launchd_starts_runs_and_ends_in_the_time_it_is_given(machine: Machine) -> None:
    job = plistlib.loads(LAUNCHD.read_bytes())
    node = machine.start(*job["ProgramArguments"])
    machine.npub(interface=False)
    node.terminate()
    assert node.wait(job["ExitTimeOut"]) == 0
    assert machine.inside("stat", "-c", "%a", "/usr/local/etc/fips/fips.key") == "600\n"
    processes.end(node)
