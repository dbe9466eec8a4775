"""The archive for systemd: two scripts, no network, no package manager."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.rigs import processes
from tests.rigs.labs import Lab

from .conftest import Artefact
from .machines import Machine, debian

pytestmark = pytest.mark.net


@pytest.fixture
def machine(lab: Lab, artefact: Artefact, tmp_path: Path) -> Machine:
    """A machine with Python and nothing else of ours; the archive is unpacked in /srv."""
    machine = Machine(lab.host("debian"), debian("bookworm", ["systemd", "python3", "iproute2", "nftables"]))
    with tarfile.open(artefact("tarball")) as archive:
        archive.extractall(tmp_path, filter="data")
    (directory,) = tmp_path.glob("meshnode-*")
    machine.put(directory, "/srv/meshnode")
    return machine


def test_it_installs_starts_installs_again_and_goes_without_a_trace(machine: Machine) -> None:
    before = machine.files()
    machine.inside("sh", "/srv/meshnode/install.sh")
    assert machine.inside("stat", "-c", "%a", "/etc/meshnode/fips.yaml") == "600\n"
    said = machine.inside("systemd-analyze", "verify", "--man=no", "/etc/systemd/system/meshnode.service")
    assert "meshnode" not in said
    node = machine.start("meshnode", "--config", "/etc/meshnode/fips.yaml")
    npub = machine.npub()
    processes.end(node)
    assert "kept /etc/meshnode/fips.yaml" in machine.inside("sh", "/srv/meshnode/install.sh")
    assert machine.inside("cat", "/etc/meshnode/fips.pub").strip() == npub
    machine.inside("sh", "/usr/local/share/meshnode/uninstall.sh")
    assert "/etc/meshnode/fips.key" in machine.files()
    machine.inside("sh", "/srv/meshnode/uninstall.sh", "--purge")
    left = {path for path in machine.files() - before if not path.endswith("-")}
    # Directories that others may use by now, and the node's own cache.
    assert {path for path in left if not path.startswith(("/usr/local/share/man", "/etc/tmpfiles.d", "/root"))} == set()


def test_what_makes_no_sense_is_one_line(machine: Machine) -> None:
    said = machine.inside("sh", "/srv/meshnode/install.sh", "--prefix", "relative", succeeds=False)
    assert said == "install.sh: --prefix wants an absolute path\n"
    said = machine.inside(
        "env", "PATH=/sbin:/bin:/srv", "sh", "-c", "rm /usr/bin/python3*; sh /srv/meshnode/install.sh", succeeds=False
    )
    assert "none of the Pythons 3.13 3.12 3.11 is installed" in said
