"""The Debian package in a clean root: it installs, starts, upgrades, and goes without a trace."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.rigs import processes
from tests.rigs.labs import Lab

from .conftest import Artefact
from .machines import ROOT, Machine, debian, install

RELEASES = tomllib.loads((ROOT / "packaging" / "debian" / "releases.toml").read_text())
KNOWN_TO_LINTIAN = {
    "unstripped-binary-or-object",  # compiled by those who made the wheels, and pinned as they are
    "embedded-library",
    "library-not-linked-against-libc",
    "shared-library-lacks-prerequisites",
}
pytestmark = pytest.mark.net


@pytest.fixture(params=list(RELEASES))
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def deb(release: str, artefact: Artefact) -> Path:
    return artefact("deb", "--release", release)


@pytest.fixture
def machine(release: str, lab: Lab) -> Machine:
    row = RELEASES[release]
    return Machine(
        lab.host("debian"), debian(release, ["systemd", "adduser", "iproute2", "nftables", "python3", *row["depends"]])
    )


def newer(deb: Path, directory: Path) -> Path:
    """The same package under a higher version."""
    subprocess.run(["dpkg-deb", "-R", deb, directory], check=True)
    control = directory / "DEBIAN" / "control"
    lines = control.read_text().splitlines(keepends=True)
    control.write_text("".join("Version: 99-1\n" if line.startswith("Version:") else line for line in lines))
    target = directory.with_suffix(".deb")
    subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "-b", directory, target], check=True)
    return target


def test_it_installs_starts_and_keeps_its_key_over_an_upgrade(machine: Machine, deb: Path, tmp_path: Path) -> None:
    install(machine, deb)
    assert machine.inside("stat", "-c", "%a %U", "/etc/meshnode/fips.yaml") == "600 root\n"
    assert machine.inside("getent", "group", "fips").startswith("fips:")
    assert machine.inside("getent", "passwd", "meshnode").rstrip().endswith("/usr/sbin/nologin")
    assert machine.inside("systemctl", "is-enabled", "meshnode") == "enabled\n"
    assert machine.inside("systemctl", "is-enabled", "meshnode-gateway", succeeds=False) == "disabled\n"
    node = machine.start("meshnode", "--config", "/etc/meshnode/fips.yaml")
    before = machine.npub()
    processes.end(node)

    install(machine, newer(deb, tmp_path / "newer"))
    assert machine.inside("dpkg-query", "-W", "-f", "${Version}", "meshnode") == "99-1"
    machine.start("meshnode", "--config", "/etc/meshnode/fips.yaml")
    assert machine.npub() == before
    assert machine.inside("cat", "/etc/meshnode/fips.pub").strip() == before


def test_removal_keeps_the_key_and_purging_leaves_nothing(machine: Machine, deb: Path) -> None:
    before = machine.files()
    install(machine, deb)
    node = machine.start("meshnode", "--config", "/etc/meshnode/fips.yaml")
    machine.npub()
    processes.end(node)
    machine.write("/etc/systemd/resolved.conf.d/fips.conf", "[Resolve]\n# of somebody else\n")
    machine.inside("apt-get", "remove", "--yes", "meshnode")
    assert {path for path in machine.files() - before if path.startswith("/usr")} == set()
    assert "/etc/meshnode/fips.key" in machine.files()
    machine.inside("apt-get", "purge", "--yes", "meshnode")
    left = machine.files() - before
    # What somebody else wrote stays, and so do the backups and the books of the system's own tools.
    assert {path for path in left if not path.endswith("-")} <= {
        "/etc/systemd/resolved.conf.d",
        "/etc/systemd/resolved.conf.d/fips.conf",
        "/root/.config",
    }
    assert "meshnode" not in machine.inside("cat", "/etc/passwd", "/etc/group")
    assert "fips" not in machine.inside("cat", "/etc/group")


def test_beside_a_reference_daemon_it_waits_until_it_is_told(machine: Machine, deb: Path) -> None:
    yaml = "node: {identity: {persistent: true}}\ntun: {enabled: true}\ntransports: {udp: {}}\n"
    machine.write("/etc/fips/fips.yaml", yaml)
    machine.write("/etc/fips/hosts", "# names\n")
    assert "To take it over: meshctl migrate --dry-run" in install(machine, deb)
    assert machine.inside("systemctl", "is-enabled", "meshnode", succeeds=False) == "disabled\n"
    assert "/etc/meshnode/fips.yaml" not in machine.files()
    machine.inside("meshctl", "migrate")
    assert machine.inside("cat", "/etc/meshnode/fips.yaml") == yaml
    machine.start("meshnode")
    npub = machine.npub()
    assert machine.inside("cat", "/etc/meshnode/fips.pub").strip() == npub
    machine.inside("apt-get", "purge", "--yes", "meshnode")
    assert "/etc/fips/fips.yaml" in machine.files()
    assert machine.inside("getent", "group", "fips").startswith("fips:")


def test_systemd_understands_the_units_it_brings(machine: Machine, deb: Path) -> None:
    install(machine, deb)
    units = [f"/lib/systemd/system/{name}.service" for name in ("meshnode", "meshnode-gateway")]
    said = machine.inside("systemd-analyze", "verify", "--man=no", *units)
    assert [line for line in said.splitlines() if "meshnode" in line] == []


def test_every_program_it_brings_starts(machine: Machine, deb: Path) -> None:
    install(machine, deb)
    for program in ("meshnode", "meshctl", "meshnode-gateway", "meshtop", "meshsim"):
        assert "sage: " in machine.inside(program, "--help")
    listed = machine.inside("dpkg", "-L", "meshnode")
    assert all(not path.startswith(("/usr/bin/fips", "/etc/fips")) for path in listed.splitlines())


@pytest.mark.skipif(
    shutil.which("lintian") is None, reason="judging the package needs lintian; apt-get install lintian"
)
def test_lintian_finds_no_error(deb: Path) -> None:
    said = subprocess.run(["lintian", "--no-tag-display-limit", deb], capture_output=True, text=True, timeout=300)
    errors = {line.split()[2] for line in said.stdout.splitlines() if line.startswith("E: ")}
    assert errors <= KNOWN_TO_LINTIAN
