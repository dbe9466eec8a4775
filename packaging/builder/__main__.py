"""`packaging/build`: see `--help`."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from .deb import Release, deb
from .image import image
from .python import sdist, wheel
from .source import ROOT, Source
from .tarball import tarball

ARCHITECTURES: Mapping[str, str] = MappingProxyType({"x86_64": "amd64", "aarch64": "arm64"})
Build = Callable[[Source, Path, argparse.Namespace], Path]
BUILDS: Mapping[str, Build] = MappingProxyType(
    {
        "wheel": lambda source, output, options: wheel(source, output),
        "sdist": lambda source, output, options: sdist(source, output),
        "tarball": lambda source, output, options: tarball(source, output, options.arch),
        "deb": lambda source, output, options: deb(source, output, Release.named(options.release), options.arch),
        "image": lambda source, output, options: image(source, output, Release.named(options.release), options.arch),
    }
)


def main() -> None:
    """Build what is asked for and print where it lies."""
    parser = argparse.ArgumentParser(
        "packaging/build", description="Build what people install; the same commit gives the same bytes."
    )
    parser.add_argument(
        "artefacts", metavar="ARTEFACT", nargs="*", help=f"{', '.join(BUILDS)}; all of them without any"
    )
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "dist", metavar="DIR", help="%(default)s")
    parser.add_argument("--commit", default="HEAD", help="what to build (%(default)s)")
    parser.add_argument("--release", default="bookworm", help="of Debian (%(default)s)")
    parser.add_argument("--arch", default=ARCHITECTURES.get(platform.machine(), "amd64"), help="amd64 or arm64")
    options = parser.parse_args()
    if unknown := set(options.artefacts) - BUILDS.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; choose from {', '.join(BUILDS)}")
    if options.arch not in ARCHITECTURES.values():
        parser.error(f"no libraries are pinned for {options.arch}; choose amd64 or arm64")
    source = Source.of(ROOT, options.commit)
    for name in options.artefacts or BUILDS:
        print(BUILDS[name](source, options.output.absolute(), options))


if __name__ == "__main__":
    main()
