"""A Debian machine that has booted: systemd runs in namespaces of its own, so services really start and stop."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.rigs import processes
from tests.rigs.hosts import Host
from tests.rigs.waiting import wait_until

PACKAGES = (
    "systemd-sysv",
    "dbus",
    "sudo",
    "curl",
    "iproute2",
    "iputils-ping",
    "nftables",
    "procps",
    "adduser",
    "python3",
)
"""What `debian` has to put into a root for it to boot, and a page to be followed on it."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MINUTES = 300.0
_DEVICES = "null zero full random urandom tty net/tun"

# The outer half makes a control group for all that will run there, wherever this machine has its own.
_OUTER = """
set -e
mkdir "$1/groups" && mount -t cgroup2 cgroup2 "$1/groups"
mkdir -p "$1/groups/$2" && echo $$ > "$1/groups/$2/cgroup.procs"
exec unshare --mount --pid --uts --ipc --cgroup --fork --kill-child --propagation private \\
  sh -c "$5" inner "$1" "$3" "$4"
"""
_INNER = f"""
set -e
root=$1/root
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/layer,workdir=$1/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/net" "$root/dev/pts" "$root/dev/shm"
for device in {_DEVICES}; do touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=0666
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for directory in run tmp; do mount -t tmpfs tmpfs "$root/$directory"; done
echo "$3" > "$root/etc/hostname"
echo 'APT::Install-Recommends "false";' > "$root/etc/apt/apt.conf.d/99-without-an-archive"
echo "127.0.1.1 $3" >> "$root/etc/hosts"
cd "$root"
pivot_root . mnt
umount -l /mnt
exec env -i container=other PATH={_PATH} /sbin/init
"""


class Booted:
    """`host` with the root `below` and a layer of its own on it, once systemd has brought it up."""

    def __init__(self, host: Host, below: Path) -> None:
        self.host = host
        for name in ("root", "layer", "work"):
            (host.directory / name).mkdir()
        outer = [
            "sh",
            "-c",
            _OUTER,
            "outer",
            str(host.directory),
            f"meshnode-{host.pid}",
            str(below),
            host.name,
            _INNER,
        ]
        with open(host.directory / "boot.log", "w") as log:
            self._process = host.start(outer, output=log)
        wait_until(lambda: self._init is not None and self._is_up(), 30, f"{host.name} boots")

    @property
    def _init(self) -> int | None:
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else None

    def _is_up(self) -> bool:
        # Without a console nobody can log in there, which leaves it degraded.
        return self.run("systemctl is-system-running").stdout.strip() in ("running", "degraded")

    def command(self, script: str) -> list[str]:
        """What has root's shell run a script, in root's home."""
        enter = ["nsenter", "-t", str(self._init), "-m", "-p", "-u", "-i", "-C", f"--wd=/proc/{self._init}/root/root"]
        clean = ["env", "-i", f"PATH={_PATH}", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
        return [*enter, *clean, "bash", "-c", script]

    def run(self, script: str, timeout: float = _MINUTES) -> subprocess.CompletedProcess[str]:
        return self.host.run(self.command(script), timeout)

    def __call__(self, script: str) -> str:
        """The same, to a good end; returns what it says."""
        done = self.run(script)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def put(self, file: Path, name: str) -> None:
        """Copy a file of ours to `name` on this machine."""
        done = self.host.run(["cp", str(file), f"/proc/{self._init}/root{name}"])
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        """Switch it off."""
        init = self._init
        if init is not None:
            self.host.run(["kill", "-KILL", str(init)])
        processes.end(self._process)
        group = self.host.directory / "groups" / f"meshnode-{self.host.pid}"
        self.host.run(["find", str(group), "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])
