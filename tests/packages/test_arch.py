"""The recipe for Arch Linux, built by makepkg as anybody and installed by pacman, on a Debian that has both.

Debian's Python stands in for Arch's, and the pinned Twisted and coincurve of the Debian package for Arch's own.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.rigs import processes
from tests.rigs.labs import Lab

from .conftest import Artefact
from .machines import ROOT, Machine, debian

RELEASE = "trixie"
TOOLS = ("makepkg", "pacman-package-manager", "libarchive-tools", "fakeroot", "binutils", "zstd", "file", "xz-utils")
PYTHON = ("python3", "python-is-python3", "python3-build", "python3-installer", "python3-setuptools", "python3-wheel")
HOME = "/home/builder"
pytestmark = pytest.mark.net


@pytest.fixture
def machine(lab: Lab, artefact: Artefact, tmp_path: Path) -> Machine:
    """A machine with what the recipe depends on, and the recipe beside the archive of this commit."""
    row = tomllib.loads((ROOT / "packaging" / "debian" / "releases.toml").read_text())[RELEASE]
    system = debian(RELEASE, ["systemd", "adduser", "iproute2", "nftables", *TOOLS, *PYTHON, *row["depends"]])
    machine = Machine(lab.host("arch"), system)
    site = f"/usr/local/lib/python{row['python']}/dist-packages"
    machine.inside("rmdir", site)
    machine.put(pinned(tmp_path / "libraries"), site)
    machine.inside("useradd", "--create-home", "builder")
    for file in (artefact("sdist"), ROOT / "packaging" / "aur" / "PKGBUILD"):
        machine.put(file, f"{HOME}/{file.name}")
    machine.inside("chown", "-R", "builder:", HOME)
    return machine


def pinned(target: Path) -> Path:
    """What the Debian package bundles, whose hashes are known."""
    platforms = [f"--platform=manylinux{kind}_x86_64" for kind in ("2014", "_2_17", "_2_28")]
    kind = ["--python-version=3.13", "--only-binary=:all:", "--no-deps", *platforms]
    pins = ["--require-hashes", "--requirement", str(ROOT / "packaging" / "pins" / f"{RELEASE}.txt")]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", target, *kind, *pins], check=True)
    return target


def test_it_is_built_by_anybody_installed_started_and_removed(machine: Machine) -> None:
    layout = "DEB_PYTHON_INSTALL_LAYOUT=deb"  # with which Debian's Python installs where Arch's does
    build = f"cd {HOME} && {layout} makepkg --nodeps --noconfirm --noprogressbar"
    machine.inside("su", "builder", "-c", build)
    (package,) = re.findall(rf"{HOME}/meshnode-\S+\.pkg\.tar\.\w+", machine.inside("sh", "-c", f"echo {HOME}/*.pkg.*"))
    machine.inside("mkdir", "-p", "/var/lib/pacman")
    machine.inside("pacman", "--root", "/", "--upgrade", "--nodeps", "--nodeps", "--noconfirm", package)
    listed = machine.inside("pacman", "--query", "--list", "--quiet", "meshnode").split()
    assert not [path for path in listed if path.startswith(("/etc/fips", "/usr/bin/fips"))]
    assert machine.inside("stat", "-c", "%a", "/etc/meshnode/fips.yaml") == "600\n"

    machine.inside("systemd-sysusers", "/usr/lib/sysusers.d/meshnode.conf")
    assert machine.inside("getent", "group", "fips").startswith("fips:")
    units = [f"/usr/lib/systemd/system/{name}.service" for name in ("meshnode", "meshnode-gateway")]
    said = machine.inside("systemd-analyze", "verify", "--man=no", *units)
    assert [line for line in said.splitlines() if "meshnode" in line] == []
    node = machine.start("/usr/bin/meshnode", "--config", "/etc/meshnode/fips.yaml")
    npub = machine.npub()
    processes.end(node)

    machine.inside("pacman", "--root", "/", "--remove", "--nodeps", "--nodeps", "--noconfirm", "meshnode")
    assert machine.files().isdisjoint(path for path in listed if not path.endswith("/"))
    assert machine.inside("cat", "/etc/meshnode/fips.pub").strip() == npub
