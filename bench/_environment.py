"""Importing this puts a benchmark into the checkout's virtual environment and makes `tests.rigs` importable."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_VENV = ROOT / ".venv"

if (_VENV / "bin" / "python").exists() and Path(sys.prefix) != _VENV:
    os.execv(_VENV / "bin" / "python", [str(_VENV / "bin" / "python"), *sys.argv])
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
