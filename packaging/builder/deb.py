"""The Debian package: our modules and what Debian does not have new enough, on Debian's own Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from . import bundle, layout
from .archives import normalise, tree, write_gz
from .python import wheel
from .sbom import write_sbom
from .source import ROOT, Source

LIBRARY = "usr/lib/meshnode"
DOCUMENTS = "usr/share/doc/meshnode"
MAINTAINER = "The meshnode developers <meshnode@localhost.invalid>"
DESCRIPTION = """\
node of a FIPS mesh
 Every node makes its own address out of its own key; nodes that can reach each
 other by any means form one network, find each other without servers, and
 encrypt on every link and end to end. To programs it is one more network
 interface.
 .
 This is a full node on Twisted, which speaks the protocol of the daemon fips
 on the wire and reads its configuration. It brings along those Python libraries
 that this release of Debian has not, or not new enough."""
_ALWAYS = ["adduser", "init-system-helpers (>= 1.54)"]
_RECOMMENDED = ["nftables"]
_SUGGESTED = ["bluez", "tor"]


@dataclass(frozen=True, slots=True)
class Release:
    """One release of Debian, out of packaging/debian/releases.toml."""

    name: str
    number: int
    python: str
    depends: list[str]
    recommends: list[str]
    suggests: list[str]

    @classmethod
    def named(cls, name: str) -> Release:
        """Raises `SystemExit` for one that nobody has written down."""
        known: dict[str, Any] = tomllib.loads((ROOT / "packaging" / "debian" / "releases.toml").read_text())
        if name not in known:
            raise SystemExit(f"there is no Debian package for {name}; choose one of {', '.join(known)} with --release")
        row = known[name]
        return cls(name, row["number"], row["python"], row["depends"], row["recommends"], row.get("suggests", []))

    @property
    def pythons(self) -> list[str]:
        """The one Python that compiled modules are made for."""
        major, minor = map(int, self.python.split("."))
        return [f"python3 (>= {self.python})", f"python3 (<< {major}.{minor + 1})"]


def deb(source: Source, output: Path, release: Release, architecture: str) -> Path:
    """`meshnode_VERSION+debN_ARCHITECTURE.deb`."""
    version = f"{source.debian_version}+deb{release.number}"
    with TemporaryDirectory() as scratch:
        checkout = source.unpack(Path(scratch) / "source")
        root = Path(scratch) / "root"
        libraries = bundle.unpack(release.name, release.python, architecture, root / LIBRARY)
        bundle.add_wheel(wheel(source, Path(scratch) / "wheel"), root / LIBRARY)
        _place(checkout, root)
        _document(checkout, root, source, version, libraries)
        relations = [*release.pythons, *_ALWAYS, *release.depends]
        write_sbom(root / DOCUMENTS / "sbom.cdx.json", source, f"{version}_{architecture}", libraries, relations)
        _control(checkout, root, version, release, architecture)
        normalise(root, source.epoch)
        for script in ("postinst", "prerm", "postrm"):
            (root / "DEBIAN" / script).chmod(0o755)
        output.mkdir(parents=True, exist_ok=True)
        target = output / f"meshnode_{version}_{architecture}.deb"
        _pack(root, target, source.epoch)
        return target


def _place(checkout: Path, root: Path) -> None:
    ours = checkout / "packaging"
    layout.write_launchers(checkout, root / "usr/bin", f"/{LIBRARY}")
    layout.write_units(checkout, root / "lib/systemd/system", "/usr/bin")
    layout.write_manuals(checkout, root / "usr/share/man")
    layout.copy(ours / "systemd" / "tmpfiles.conf", root / "usr/lib/tmpfiles.d/meshnode.conf")
    for name in ("fips.yaml.example", "hosts.example"):
        layout.copy(ours / "debian" / name, root / "usr/share/meshnode" / name)
    layout.copy(ours / "debian" / "list-plugins", root / "usr/share/meshnode/list-plugins", 0o755)
    layout.copy(ours / "systemd" / "sysctl.conf", root / "usr/share/meshnode/gateway-sysctl.conf")
    layout.copy(ours / "systemd" / "ordinary-user.conf", root / DOCUMENTS / "examples/ordinary-user.conf")
    (root / "etc/meshnode/fips.d").mkdir(parents=True)


def _document(checkout: Path, root: Path, source: Source, version: str, libraries: Iterable[bundle.Library]) -> None:
    documents = root / DOCUMENTS
    for page in ("how-to/run-without-root.md", "how-to/migrate-from-fips.md", "reference/configuration.md"):
        layout.copy(checkout / "docs" / page, documents / Path(page).name)
    (documents / "copyright").write_text(_copyright(checkout, libraries))
    when = format_datetime(datetime.fromtimestamp(source.epoch, UTC))
    entry = f"meshnode ({version}) stable; urgency=medium\n\n  * Built from commit {source.commit}.\n\n"
    write_gz(documents / "changelog.Debian.gz", f"{entry} -- {MAINTAINER}  {when}\n".encode())


def _copyright(checkout: Path, libraries: Iterable[bundle.Library]) -> str:
    bundled = "".join(f"  {one.name} {one.version}: {one.licence}\n" for one in libraries)
    return (
        f"{(checkout / 'LICENSE').read_text()}\n"
        "Libraries in /usr/lib/meshnode that come with this package, under their own licences, whose texts lie in the\n"
        f"directories /usr/lib/meshnode/*.dist-info (LGPL: /usr/share/common-licenses/LGPL-2.1):\n\n{bundled}"
    )


def _control(checkout: Path, root: Path, version: str, release: Release, architecture: str) -> None:
    control = root / "DEBIAN"
    control.mkdir()
    size = sum(path.stat().st_size for path in tree(root) if path.is_file()) // 1024
    fields = {
        "Package": "meshnode",
        "Version": version,
        "Architecture": architecture,
        "Maintainer": MAINTAINER,
        "Installed-Size": str(size),
        "Depends": ", ".join([*release.pythons, *_ALWAYS, *release.depends, "libc6 (>= 2.34)"]),
        "Recommends": ", ".join([*_RECOMMENDED, *release.recommends]),
        "Suggests": ", ".join([*_SUGGESTED, *release.suggests]),
        "Section": "net",
        "Priority": "optional",
        "Description": DESCRIPTION,
    }
    (control / "control").write_text("".join(f"{name}: {value}\n" for name, value in fields.items()))
    marker = next(
        line.partition('"')[2].rstrip('"')
        for line in (checkout / "meshnode/ipv6/files.py").read_text().splitlines()
        if line.startswith("MARKER = ")
    )
    for script in ("postinst", "prerm", "postrm"):
        text = (checkout / "packaging" / "debian" / script).read_text()
        (control / script).write_text(text.replace("'MARKER'", f"'{marker}'"))


def _pack(root: Path, target: Path, epoch: int) -> None:
    if shutil.which("dpkg-deb") is None:
        raise SystemExit("the Debian package needs dpkg-deb; type: sudo apt-get install dpkg")
    sums = subprocess.run(
        "find . -type f ! -path './DEBIAN/*' -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 md5sum > DEBIAN/md5sums",
        shell=True,
        cwd=root,
    )
    if sums.returncode != 0:
        raise SystemExit("md5sum failed")
    os.utime(root / "DEBIAN/md5sums", (epoch, epoch))
    os.utime(root / "DEBIAN", (epoch, epoch))
    command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(root), str(target)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}, umask=0o022
    )
    if done.returncode != 0:
        raise SystemExit(f"dpkg-deb failed:\n{done.stderr}")
