"""Modules that are imported at a start without being used are loaded when somebody uses them, and not before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from meshnode import imports

ROOT = Path(__file__).resolve().parents[2]


def run(program: str) -> str:
    """Run `program` in a fresh interpreter; returns what it printed."""
    command = [sys.executable, "-c", f"from meshnode import imports\n{program}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_postponed_module_is_not_loaded_by_its_import() -> None:
    assert run("imports.postpone(['pdb'])\nimport sys, pdb\nprint('bdb' in sys.modules)") == "False"


def test_a_postponed_module_is_loaded_by_its_first_use() -> None:
    program = """
imports.postpone(["pdb"])
import sys, pdb
stand_in = pdb
print(pdb.Pdb.__name__, sys.modules["pdb"].Pdb is stand_in.Pdb, "bdb" in sys.modules)
"""
    assert run(program) == "Pdb True True"


def test_a_postponed_module_of_a_package_is_found_in_it() -> None:
    program = """
imports.postpone(["http.cookiejar"])
import sys
from http import cookiejar
print("urllib.request" in sys.modules)
import http.cookiejar
print(http.cookiejar.CookieJar is cookiejar.CookieJar)
from http.cookiejar import CookieJar
print(CookieJar is cookiejar.CookieJar)
"""
    assert run(program).split() == ["False", "True", "True"]


def test_a_module_that_is_loaded_already_stays_as_it_is() -> None:
    assert run("import pdb\nimports.postpone(['pdb'])\nimport pdb as again\nprint(pdb is again)") == "True"


def test_whoever_only_asks_where_a_module_is_from_loads_nothing() -> None:
    program = "imports.postpone(['pdb'])\nimport sys, pdb\nprint(hasattr(pdb, '__file__'), 'bdb' in sys.modules)"
    assert run(program) == "False False"


@pytest.mark.parametrize("name", imports.UNUSED)
def test_every_module_that_a_start_postpones_is_whole_when_it_is_used(name: str) -> None:
    whole = run(f"import sys, asyncio, {name}\nprint(*sorted(vars(sys.modules[{name!r}])))").split()
    program = f"imports.postpone()\nimport sys, asyncio, {name}\nprint(len(vars(sys.modules[{name!r}])))"
    assert int(run(program)) < len(whole) / 2
    part = next(part for part in whole if not part.startswith("_"))
    assert run(f"{program}\n{name}.{part}\nprint(*sorted(vars(sys.modules[{name!r}])))").split()[1:] == whole


def test_the_reactor_does_without_tls_when_it_is_left_out() -> None:
    program = "imports.leave_out_tls()\nfrom twisted.internet import reactor, tcp\n"
    assert run(f"{program}print(hasattr(tcp.Connection, 'startTLS'))") == "False"


def test_tls_stays_with_a_reactor_that_is_there_already() -> None:
    program = "from twisted.internet import reactor\nimports.leave_out_tls()\nimport sys\n"
    assert run(f"{program}print(sys.modules.get('OpenSSL', 'left alone') is None)") == "False"
