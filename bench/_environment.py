"""Importing this puts a benchmark into the checkout's virtual environment and makes `tests.rigs` importable.

What it measures is a node as packages start it: `python -m meshnode`, with modules that were compiled before.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_VENV = ROOT / ".venv"

if (_VENV / "bin" / "python").exists() and Path(sys.prefix) != _VENV:
    os.execv(_VENV / "bin" / "python", [str(_VENV / "bin" / "python"), *sys.argv])
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
os.environ.setdefault("MESHNODE_COMMAND", f"{shlex.quote(sys.executable)} -m meshnode --config {{config}}")
# An installation compiles; a checkout would at every start, where the environment forbids to keep what was compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault("PYTHONPYCACHEPREFIX", str(_VENV / "compiled"))
