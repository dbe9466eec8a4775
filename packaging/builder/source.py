"""What is built: one commit, not whatever lies in the working tree."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .archives import normalise

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Source:
    """One commit of the repository at `root`. `epoch` is the time, in Unix seconds, that everything built bears."""

    root: Path
    commit: str
    epoch: int
    version: str
    is_release: bool

    @classmethod
    def of(cls, root: Path, revision: str = "HEAD") -> Source:
        """Read what git knows; SOURCE_DATE_EPOCH wins over the time of the commit."""
        commit = _git(root, "rev-parse", f"{revision}^{{commit}}")
        epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or _git(root, "log", "-1", "--format=%ct", commit))
        found = re.search(r'^__version__ = "(.+)"$', _git(root, "show", f"{commit}:meshnode/__init__.py"), re.M)
        if found is None:
            raise SystemExit(f"{commit}: meshnode/__init__.py names no __version__")
        tags = _git(root, "tag", "--points-at", commit).splitlines()
        return cls(root, commit, epoch, found[1], f"v{found[1]}" in tags)

    @property
    def debian_version(self) -> str:
        """Version in Debian's order: what is no release sorts before the release (spec 07 section 11)."""
        if self.is_release:
            return f"{self.version}-1"
        time = datetime.fromtimestamp(self.epoch, UTC).strftime("%Y%m%d%H%M%S")
        return f"{self.version}~dev+git{time}.{self.commit[:10]}-1"

    def unpack(self, directory: Path) -> Path:
        """Lay the files of the commit into `directory`, with plain permissions and the one time."""
        directory.mkdir(parents=True)
        command = ["git", "-C", str(self.root), "archive", "--format=tar", self.commit]
        content = subprocess.run(command, check=True, capture_output=True).stdout
        subprocess.run(["tar", "--extract", "--directory", str(directory)], input=content, check=True)
        normalise(directory, self.epoch)
        return directory


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()
