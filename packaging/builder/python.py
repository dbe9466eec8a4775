"""Wheel and source distribution."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from .archives import write_tar_gz
from .source import Source


def wheel(source: Source, output: Path) -> Path:
    """`meshnode-VERSION-py3-none-any.whl`."""
    with TemporaryDirectory() as scratch:
        return _build("--wheel", source, Path(scratch), output)


def sdist(source: Source, output: Path) -> Path:
    """`meshnode-VERSION.tar.gz`: setuptools packs it with the times and owners of the moment, so it is packed again."""
    with TemporaryDirectory() as scratch:
        made = _build("--sdist", source, Path(scratch), Path(scratch) / "made")
        name = made.name.removesuffix(".tar.gz")
        again = Path(scratch) / "again"
        again.mkdir()
        subprocess.run(["tar", "--extract", "--file", str(made), "--directory", str(again)], check=True)
        return write_tar_gz(output / made.name, again / name, name, source.epoch)


def _build(kind: str, source: Source, scratch: Path, output: Path) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    checkout = source.unpack(scratch / "source")
    command = [sys.executable, "-m", "build", "--no-isolation", kind, "--outdir", str(scratch / "out"), str(checkout)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(source.epoch), "PYTHONHASHSEED": "0"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, umask=0o022)
    if done.returncode != 0:
        raise SystemExit(f"the build of the {kind.strip('-')} failed:\n{done.stdout}{done.stderr}")
    (made,) = (scratch / "out").iterdir()
    return made.rename(output / made.name)
