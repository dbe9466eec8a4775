"""Clean machines to install into: a root of Debian, kept outside the checkout, with a layer of the test's own on it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.rigs.hosts import Host, RigError
from tests.rigs.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meshnode-packages"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MINUTES = 600.0


def build(output: Path, *arguments: str, checkout: Path = ROOT, environment: Mapping[str, str] | None = None) -> Path:
    """Run packaging/build for one artefact and return what it made."""
    command = [str(checkout / "packaging" / "build"), "--output", str(output), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(done.stdout.splitlines()[-1])


def debian(release: str, packages: Sequence[str]) -> Path:
    """A root of that release with `packages`; made on first use, which takes minutes and needs Debian's archive."""
    names = sorted({package.split()[0] for package in packages})
    root = CACHE / f"{release}-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:12]}"
    if not root.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        draft = root.with_suffix(".new")
        command = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={','.join(names)}", release, str(draft)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        draft.rename(root)
    return root


class Machine:
    """A host whose file system is `below` with a writable layer on it; both vanish with the host."""

    def __init__(self, host: Host, below: Path) -> None:
        self.host = host
        self.root = host.directory / "root"
        layer, work = host.directory / "layer", host.directory / "work"
        for directory in (self.root, layer, work):
            directory.mkdir()
        options = f"lowerdir={below},upperdir={layer},workdir={work}"
        self._mount("-t", "overlay", "overlay", "-o", options, str(self.root))
        self._mount("-t", "proc", "proc", str(self.root / "proc"))
        self._mount("--rbind", "/dev", str(self.root / "dev"))
        self._mount("-t", "tmpfs", "tmpfs", str(self.root / "run"))
        resolver = host.directory / "resolv.conf"
        self.inside("touch", "/etc/resolv.conf")
        self._mount("--bind", str(resolver), str(self.root / "etc/resolv.conf"))

    def _mount(self, *arguments: str) -> None:
        done = self.host.run(["mount", *arguments])
        if done.returncode != 0:
            raise RigError(f"mount {' '.join(arguments)}: {done.stderr.strip()}")

    def command(self, *command: str, environment: Mapping[str, str] | None = None) -> list[str]:
        """The same command, to be started on the host."""
        variables = {"PATH": _PATH, "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive", **(environment or {})}
        return [
            "chroot",
            str(self.root),
            "env",
            "-i",
            *(f"{key}={value}" for key, value in variables.items()),
            *command,
        ]

    def inside(self, *command: str, succeeds: bool = True) -> str:
        """Run a program of this machine to its end and return what it says."""
        done = self.host.run(self.command(*command), timeout=_MINUTES)
        assert not succeeds or done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def put(self, file: Path, name: str) -> str:
        """Copy a file of ours to `name` on this machine, and return that."""
        done = self.host.run(["cp", "-R", str(file), f"{self.root}{name}"])
        assert done.returncode == 0, done.stderr
        return name

    def write(self, name: str, text: str) -> None:
        """Write a file on this machine, its directory included."""
        draft = self.host.directory / "draft"
        draft.write_text(text)
        self.inside("mkdir", "-p", str(Path(name).parent))
        self.put(draft, name)

    def files(self) -> set[str]:
        """Every file and directory that belongs to this machine, apart from where package managers keep their books."""
        found = self.inside(
            *(
                "find",
                "/",
                "-xdev",
                "-path",
                "/var/lib/dpkg",
                "-prune",
                "-o",
                "-path",
                "/var/lib/apt",
                "-prune",
                "-o",
                "-path",
                "/var/cache",
                "-prune",
            ),
            *("-o", "-path", "/var/log", "-prune", "-o", "-path", "/tmp", "-prune", "-o", "-print"),
        )
        return set(found.splitlines())

    def start(self, *command: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a node on this machine; what it says goes to `log`."""
        with open(self.host.directory / "log", "a") as output:
            return self.host.start(self.command(*command, environment=environment), output=output)

    @property
    def log(self) -> str:
        return (self.host.directory / "log").read_text()

    def npub(self, deadline: float = 60.0, *, interface: bool = True) -> str:
        """The name of the node that runs here, once it answers and its interface, if it is to have one, is up."""

        def answer() -> str:
            done = self.host.run(self.command("meshctl", "show", "status"))
            words = done.stdout.split()
            up = "active" in done.stdout or not interface
            return next((word for word in words if word.startswith("npub1")), "") if up else ""

        return wait_until(answer, deadline, f"the node answers; its log: {self.log[-2000:]}", interval=0.2)


def install(machine: Machine, deb: Path) -> str:
    """Install the package with apt, offline: so whatever it needs has to be there. Returns what apt says."""
    return machine.inside("apt-get", "install", "--yes", "--no-install-recommends", machine.put(deb, "/tmp/node.deb"))
