"""The example of a transport from somebody else's package, installed as a user would install it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.rigs.nodes import ROOT, Program

EXAMPLE = ROOT / "examples" / "transport-serial"


def install_example(directory: Path) -> Program:
    """Make an environment that has our requirements and the example; return our node as it runs there."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    python = directory / "bin" / "python"
    site = next(directory.glob("lib/python3*/site-packages"))
    (site / "requirements.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", str(python)]
    copy = shutil.copytree(EXAMPLE, directory.with_name("source"))  # building leaves traces beside the sources
    subprocess.run([*pip, "install", "--no-deps", str(copy)], check=True, timeout=120)
    return Program("meshnode with a plug-in", f"{shlex.quote(str(python))} -m meshnode --config {{config}}")
