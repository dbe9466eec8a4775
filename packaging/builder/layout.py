"""Where things go on a machine, whoever brings them: programs, libraries, units, manual pages."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

from .archives import write_gz

CONFIGURATION = "/etc/meshnode"
_LAUNCHER = """\
#!/usr/bin/python3 -I
\"\"\"Starts {name} with the libraries that came with it.\"\"\"
import sys

sys.path.insert(0, "{library}")

from {module} import {function}

sys.exit({function}())
"""


def write_launchers(checkout: Path, programs: Path, library: str) -> None:
    """Make one small program for each script of the project; `library` is where the modules will be."""
    scripts = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["scripts"]
    programs.mkdir(parents=True, exist_ok=True)
    for name, target in scripts.items():
        module, _, function = target.partition(":")
        path = programs / name
        path.write_text(_LAUNCHER.format(name=name, library=library, module=module, function=function))
        path.chmod(0o755)


def write_units(checkout: Path, units: Path, programs: str) -> None:
    """Put the services into `units`, to start what is in `programs` with the configuration of packages."""
    units.mkdir(parents=True, exist_ok=True)
    for unit in sorted((checkout / "packaging" / "systemd").glob("*.service")):
        (units / unit.name).write_text(placed(unit.read_text(), programs))


def placed(text: str, programs: str) -> str:
    """A unit or an instruction written for a virtual environment in /opt, for `programs` and our own directory."""
    text = text.replace("/opt/meshnode/bin/", f"{programs}/").replace("/etc/fips", CONFIGURATION)
    return re.sub(r"^# Where docs/.*\n", "", text, flags=re.M)


def write_manuals(checkout: Path, target: Path) -> None:
    """Compress the manual pages into the sections of `target`."""
    for page in sorted((checkout / "packaging" / "man").glob("*.[1-8]")):
        write_gz(target / f"man{page.suffix[1:]}" / f"{page.name}.gz", page.read_bytes())


def copy(source: Path, target: Path, mode: int = 0o644) -> None:
    """Copy one file, making its directory."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)
