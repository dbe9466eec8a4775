"""The libraries that packages bring along: wheels whose hashes are pinned, unpacked for one Python and machine."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path
from zipfile import Path as ZipPath
from zipfile import ZipFile

from .source import ROOT

PINS = ROOT / "packaging" / "pins"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's names of architectures, and those of wheels."""
_GLIBCS = (17, 26, 27, 28, 31, 34, 35, 36)
_OF_NO_USE = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "entry_points.txt", "top_level.txt", "WHEEL")


@dataclass(frozen=True, slots=True)
class Library:
    """One bundled distribution: what its wheel says of itself, and the wheel's SHA-256."""

    name: str
    version: str
    licence: str
    sha256: str


def unpack(pins: str, python: str, architecture: str, target: Path) -> list[Library]:
    """Put the libraries of `packaging/pins/PINS.txt` into `target`, for `python` (like 3.11) on `architecture`."""
    target.mkdir(parents=True)
    report = target.with_name(f"{target.name}.json")
    _pip("install", "--target", target, "--no-compile", "--report", report, *_kind(pins, python, architecture))
    libraries = sorted(_libraries(target, report), key=lambda library: library.name.lower())
    report.unlink()
    tidy(target)
    return libraries


def download(pins: str, python: str, architecture: str, target: Path) -> None:
    """Fetch the same as wheels."""
    _pip("download", "--dest", target, *_kind(pins, python, architecture))


def described(wheels: Path) -> list[Library]:
    """What lies in a directory of wheels, ours apart; of one library for several Pythons the first."""
    found: dict[str, Library] = {}
    for wheel in sorted(wheels.glob("*.whl")):
        with ZipFile(wheel) as archive:
            (information,) = {name.split("/")[0] for name in archive.namelist() if name.endswith(".dist-info/METADATA")}
            distribution = PathDistribution(ZipPath(archive, f"{information}/"))
            name = distribution.metadata["Name"]
            if name != "meshnode":
                sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
                found.setdefault(name, Library(name, distribution.version, _licence(distribution), sha256))
    return list(found.values())


def add_wheel(wheel: Path, target: Path) -> None:
    """Put our own wheel among the libraries: pip would leave out the plug-in, as it has filled `twisted` already."""
    with ZipFile(wheel) as archive:
        archive.extractall(target)
    tidy(target)


def tidy(target: Path) -> None:
    """Drop what only pip needs: programs, and records of where and how things were installed."""
    for directory in ("bin", "share", *(path.name for path in target.glob("*.data"))):
        shutil.rmtree(target / directory, ignore_errors=True)
    for file in target.rglob(".git*"):
        file.unlink()
    for information in target.glob("*.dist-info"):
        for name in _OF_NO_USE:
            (information / name).unlink(missing_ok=True)


def _kind(pins: str, python: str, architecture: str) -> list[str]:
    machine = MACHINES[architecture]
    return [
        *("--no-deps", "--only-binary", ":all:", "--implementation", "cp", "--python-version", python),
        *(f"--platform=manylinux_2_{minor}_{machine}" for minor in _GLIBCS),
        *(f"--platform=manylinux2014_{machine}", "--require-hashes", "-r", str(PINS / f"{pins}.txt")),
    ]


def _pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"pip {arguments[0]} failed:\n{done.stderr}")


def _libraries(target: Path, report: Path) -> Iterator[Library]:
    wheels = {item["metadata"]["name"]: item["download_info"] for item in json.loads(report.read_text())["install"]}
    for information in target.glob("*.dist-info"):
        distribution = PathDistribution(information)
        wheel = wheels[distribution.metadata["Name"]]
        yield Library(
            distribution.metadata["Name"],
            distribution.version,
            _licence(distribution),
            wheel["archive_info"]["hashes"]["sha256"],
        )


def _licence(distribution: Distribution) -> str:
    """What the metadata says: an expression, a classifier or a short text."""
    metadata = distribution.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [text for text in metadata.get_all("Classifier") or [] if text.startswith("License :: ")]
    if classifiers:
        return ", ".join(text.rpartition(" :: ")[2] for text in classifiers)
    return (metadata.get("License") or "see its licence file").splitlines()[0]
