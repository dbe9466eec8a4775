"""An archive for machines with systemd of any distribution: wheels of everything, and two scripts."""

from __future__ import annotations

import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

from . import bundle, layout
from .archives import normalise, write_tar_gz
from .python import wheel
from .sbom import write_sbom
from .source import Source

PINS = "anywhere"


def tarball(source: Source, output: Path, architecture: str) -> Path:
    """`meshnode-VERSION-linux-MACHINE.tar.gz`."""
    machine = bundle.MACHINES[architecture]
    name = f"meshnode-{source.version}-linux-{machine}"
    with TemporaryDirectory() as scratch:
        checkout = source.unpack(Path(scratch) / "source")
        root = Path(scratch) / name
        ours = checkout / "packaging"
        pythons = tomllib.loads((ours / "pins" / "inputs.toml").read_text())[PINS]["pythons"]
        for python in pythons:
            bundle.download(PINS, python, architecture, root / "wheels")
        wheel(source, root / "wheels")
        layout.write_launchers(checkout, root / "bin", "/usr/local/lib/meshnode")
        layout.write_units(checkout, root / "units", "/usr/local/bin")
        layout.write_manuals(checkout, root / "man")
        layout.copy(ours / "pins" / f"{PINS}.txt", root / "pins.txt")
        layout.copy(ours / "systemd" / "tmpfiles.conf", root / "tmpfiles.conf")
        layout.copy(ours / "systemd" / "sysctl.conf", root / "sysctl.conf")
        layout.copy(ours / "debian" / "fips.yaml.example", root / "fips.yaml.example")
        layout.copy(checkout / "LICENSE", root / "LICENSE")
        write_sbom(root / "sbom.cdx.json", source, name, bundle.described(root / "wheels"))
        words = {
            "PYTHONS": " ".join(reversed(pythons)),
            "MACHINE": machine,
            "PROGRAMS": " ".join(sorted(path.name for path in (root / "bin").iterdir())),
        }
        for script in ("install.sh", "uninstall.sh"):
            _fill_in(ours / "tarball" / script, root / script, words)
        normalise(root, source.epoch)
        return write_tar_gz(output / f"{name}.tar.gz", root, name, source.epoch)


def _fill_in(template: Path, target: Path, words: dict[str, str]) -> None:
    text = template.read_text()
    for word, value in words.items():
        text = text.replace(word, value)
    target.write_text(text)
    target.chmod(0o755)
