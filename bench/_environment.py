"""Importing this puts a benchmark into the checkout's virtual environment and makes `tests.rigs` importable.

What it measures is a node as packages start it: `python -m meshnode`, with modules that were compiled before.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_VENV = ROOT / ".venv"

if (_VENV / "bin" / "python").exists() and Path(sys.prefix) != _VENV:
    os.execv(_VENV / "bin" / "python", [str(_VENV / "bin" / "python"), *sys.argv])
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
NODE_PYTHON = os.environ.get("MESHNODE_PYTHON") or sys.executable
"""The interpreter that runs the nodes; it needs the requirements. MESHNODE_PYTHON names another than this one."""
os.environ.setdefault("MESHNODE_COMMAND", f"{shlex.quote(NODE_PYTHON)} -m meshnode --config {{config}}")
# An installation compiles; a checkout would at every start, where the environment forbids to keep what was compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault("PYTHONPYCACHEPREFIX", str(_VENV / "compiled"))


def node_python_version() -> str:
    """Return the version of that interpreter, such as 3.11.7."""
    program = "import platform; print(platform.python_version())"
    return subprocess.run([NODE_PYTHON, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
