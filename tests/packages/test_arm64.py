"""The Debian package for 64-bit ARM, run by an emulator of that processor: what is compiled in it works."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from meshnode.identity import Identity
from tests.rigs.hosts import Host
from tests.rigs.labs import Lab
from tests.rigs.waiting import wait_until

from .conftest import Artefact
from .machines import CACHE, ROOT

RELEASE = "trixie"
EMULATOR = "qemu-aarch64-static"
HOOKS = Path("/usr/share/mmdebstrap/hooks/merged-usr")
pytestmark = [
    pytest.mark.net,
    pytest.mark.skipif(
        shutil.which(EMULATOR) is None, reason="running the arm64 package needs qemu; apt-get install qemu-user-static"
    ),
]


def unpacked(packages: list[str]) -> Path:
    """Packages of that processor laid out in a directory, their own scripts not run."""
    root = CACHE / f"{RELEASE}-arm64"
    if not root.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        draft = root.with_suffix(".new")
        command = ["mmdebstrap", "--quiet", "--variant=extract", "--architectures=arm64", f"--hook-dir={HOOKS}"]
        done = subprocess.run(
            [*command, f"--include={','.join(packages)}", RELEASE, str(draft)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        draft.rename(root)
    return root


@pytest.fixture
def root(artefact: Artefact, tmp_path: Path) -> Path:
    """A root with the package in it."""
    depends = tomllib.loads((ROOT / "packaging" / "debian" / "releases.toml").read_text())[RELEASE]["depends"]
    root = tmp_path / "root"
    subprocess.run(
        ["cp", "--archive", "--reflink=auto", unpacked([name.split()[0] for name in depends]), root], check=True
    )
    package = artefact("deb", "--release", RELEASE, "--arch", "arm64")
    files = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
    subprocess.run(["tar", "--extract", "--keep-directory-symlink", "-C", root], input=files, check=True)
    shutil.copy(str(shutil.which(EMULATOR)), root / "usr/bin" / EMULATOR)
    return root


def emulated(root: Path, program: str, *arguments: str) -> list[str]:
    python = [f"/usr/bin/{EMULATOR}", "/usr/bin/python3", "-I"]
    return ["chroot", str(root), *python, f"/usr/bin/{program}", *arguments]


def test_it_makes_keys_and_a_node_of_them(root: Path, lab: Lab) -> None:
    host = lab.host("arm64")
    made = host.run(emulated(root, "meshctl", "keygen", "--dir", "/etc/meshnode"), timeout=300)
    assert made.returncode == 0, made.stderr
    secret = (root / "etc/meshnode/fips.key").read_text().strip()
    config = (
        "node: {identity: {persistent: true}}\ndns: {enabled: false}\ntransports: {udp: {bind_addr: '127.0.0.1:0'}}\n"
    )
    (root / "etc/meshnode/fips.yaml").write_text(config)
    said = start(host, root)
    assert re.search(rf"npub: {Identity.parse(secret).npub}\b", said)
    assert "Encryption by cryptography" in said


def start(host: Host, root: Path) -> str:
    """Start the node; returns what it has said once it runs."""
    log = host.directory / "log"
    for command in (["mount", "--rbind", "/dev", f"{root}/dev"], ["mkdir", "-p", f"{root}/proc"]):
        assert host.run(command).returncode == 0
    assert host.run(["mount", "-t", "proc", "proc", f"{root}/proc"]).returncode == 0
    with open(log, "w") as output:
        host.start(emulated(root, "meshnode", "--config", "/etc/meshnode/fips.yaml"), output=output)
    wait_until(lambda: "FIPS running" in log.read_text(), 300, "the emulated node runs", interval=1.0)
    return log.read_text()
