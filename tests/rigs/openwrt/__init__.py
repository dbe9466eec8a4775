"""A router as OpenWrt lays it out, with Debian's Python in it: busybox for a shell, stand-ins for procd and uci."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from typing import Any

from tests.rigs.hosts import Host

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SERVICES = ("dnsmasq", "firewall", "network", "odhcpd")
APPLETS = ("sh", "logger", "sysctl", "sed", "grep", "head", "basename", "mkdir", "chmod", "rm", "cat")

# The router's own files lie over those of this machine, so that its Python is there; the checkout's modules are not on
# its path. What is hidden cannot be imported.
_MOUNTS = """
set -e
root=$1/root
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
cp -a "$2/." "$1/upper"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
for directory in proc dev; do mount --rbind "/$directory" "$1/root/$directory"; done
mount -t sysfs sysfs "$1/root/sys"
for directory in run tmp; do mount -t tmpfs tmpfs "$1/root/$directory"; done
mkdir "$1/root/usr/lib/libraries"
mount --bind "$3" "$1/root/usr/lib/libraries"
if [ -n "$4" ]; then mount -t tmpfs tmpfs "$1/root/usr/lib/libraries/$4"; fi
shift 4
for directory; do mount -t tmpfs tmpfs "$root$directory"; done
"""


def build(target: Path, environment: dict[str, str] | None = None) -> dict[str, Path]:
    """Build both packages into `target`; returns them by suffix."""
    command = [sys.executable, str(ROOT / "packaging" / "openwrt" / "build"), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", env={**os.environ, **(environment or {})})
    assert done.returncode == 0, done.stderr
    return {path.suffix: path for path in map(Path, done.stdout.split())}


def unpack(ipk: Path) -> tuple[tarfile.TarFile, tarfile.TarFile]:
    """Control and data of an ipk."""
    with tarfile.open(ipk, "r:gz") as outer:
        inner = [outer.extractfile(f"./{name}.tar.gz") for name in ("control", "data")]
        control, data = (io.BytesIO(member.read()) for member in inner if member is not None)
    return tarfile.open(fileobj=control), tarfile.open(fileobj=data)


class Router:
    """`host` becomes a router with the package of this checkout, not installed yet; `hide` is a library to do without.

    Commands run in the router's root; what it is told lies in its /tmp.
    """

    def __init__(self, host: Host, scratch: Path, hide: str = "") -> None:
        self.host = host
        files = scratch / "files"
        self.control, data = unpack(build(scratch)[".ipk"])
        data.extractall(files, filter="tar")
        self._lay_out(files)
        self._environment = {"PYTHONPATH": "/usr/lib/libraries", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        self.root = scratch / "mounts" / "root"
        self.root.parent.mkdir()
        libraries = sysconfig.get_path("purelib")
        own = [sysconfig.get_path("purelib", vars={"base": sys.base_prefix}), "/usr/lib/python3/dist-packages"]
        elsewhere = [directory for directory in own if os.path.isdir(directory)]
        done = host.run(["sh", "-c", _MOUNTS, "sh", str(self.root.parent), str(files), libraries, hide, *elsewhere])
        assert done.returncode == 0, done.stderr

    def _lay_out(self, files: Path) -> None:
        # Debian's /lib is a link into /usr, and would be hidden.
        shutil.copytree(files / "lib", files / "usr" / "lib", dirs_exist_ok=True)
        shutil.rmtree(files / "lib")
        programs = files / "usr" / "bin"
        shutil.copy2(shutil.which("busybox") or "busybox", programs / "busybox")
        for applet in APPLETS:
            (programs / applet).symlink_to("busybox")
        (programs / "modprobe").symlink_to("/bin/true")
        (programs / "python3").symlink_to(os.path.realpath(sys.executable))
        shutil.copy2(HERE / "uci", programs / "uci")
        shutil.copy2(HERE / "rc.common", files / "etc" / "rc.common")
        for service in SERVICES:
            shutil.copy2(HERE / "service", files / "etc" / "init.d" / service)

    def install(self) -> None:
        """What the package manager does after unpacking."""
        self.run_script("postinst")

    def run_script(self, name: str, upgrade: bool = False) -> None:
        """Run a script of the package as the package manager does, which tells it of an upgrade."""
        member = self.control.extractfile(f"./{name}")
        assert member is not None
        done = self.sh(("export PKG_UPGRADE=1\n" if upgrade else "") + member.read().decode())
        assert done.returncode == 0, done.stderr

    def sh(self, script: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        command = ["chroot", str(self.root), "/bin/sh", "-c", script]
        return self.host.run(command, timeout, {**self._environment, "HOME": "/root"})

    def read(self, path: str) -> str:
        return self.sh(f"cat {path} 2> /dev/null").stdout

    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.read("/tmp/uci.json"))
        return found
