"""Trees and archives that come out the same whenever, wherever and by whomever they are made."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def normalise(directory: Path, epoch: int) -> None:
    """Give everything below `directory` the same time and plain permissions: 0755 what can be run, else 0644."""
    for path in [*tree(directory), directory]:
        if path.is_symlink():
            os.utime(path, (epoch, epoch), follow_symlinks=False)
            continue
        executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod(0o755 if executable else 0o644)
        os.utime(path, (epoch, epoch))


def tree(directory: Path) -> Iterator[Path]:
    """Everything below `directory`, sorted, a directory before what is in it."""
    for path in sorted(directory.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from tree(path)


def write_tar_gz(target: Path, directory: Path, prefix: str, epoch: int) -> Path:
    """Pack everything below `directory` under the directory `prefix`, owned by root and changed at `epoch`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=epoch) as packed:
        _write(packed, directory, prefix, epoch)
    return target


def write_tar(target: Path, directory: Path, epoch: int) -> Path:
    """The same, neither compressed nor under a directory of its own."""
    with open(target, "wb") as file:
        _write(file, directory, "", epoch)
    return target


def _write(file: IO[bytes], directory: Path, prefix: str, epoch: int) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in [*([directory] if prefix else []), *tree(directory)]:
            name = Path(prefix) / path.relative_to(directory)
            archive.add(path, str(name), recursive=False, filter=lambda member: plain(member, epoch))


def plain(member: tarfile.TarInfo, epoch: int) -> tarfile.TarInfo:
    """A member without traces of who packed it and when."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = epoch
    return member


def write_gz(target: Path, content: bytes) -> None:
    """Compress as Debian wants it: best, and without name and time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.compress(content, 9, mtime=0))
