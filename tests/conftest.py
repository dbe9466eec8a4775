"""What the tests of this house share: which of them can run on this machine, and saying so loudly."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is the machine's business, and says nothing about what is right.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

_REFERENCE = "MESHNODE_INTEROP_FIPS"
_LIST = "MESHNODE_NOT_RUN"
"""Names a file to which what was not run is appended; script/test repeats it at its end."""

_PROGRAMS = ("ip", "unshare", "ping", "curl")
_measured: list[str] = []


def _network_obstacle() -> str | None:
    """Return why namespace tests cannot run here, or None."""
    if os.geteuid() != 0:
        return "namespace tests need root"
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"namespace tests need these programs: {', '.join(missing)}"
    return None if Path("/dev/net/tun").exists() else "namespace tests need /dev/net/tun"


def _interop_obstacle(variable: str = _REFERENCE) -> str | None:
    """Return why tests against the reference daemon that `variable` names cannot run here, or None."""
    binary = os.environ.get(variable)
    if not binary:
        return f"interop tests need {variable}, the path of a reference daemon"
    return None if os.access(binary, os.X_OK) else f"{variable} names no program: {binary}"


def _missing_program(item: pytest.Item) -> str | None:
    names = [name for marker in item.iter_markers("program") for name in marker.args]
    missing = [name for name in names if shutil.which(name) is None]
    return f"these tests need the program {', '.join(missing)}" if missing else None


def _obstacle(item: pytest.Item) -> str | None:
    for marker in item.iter_markers("interop"):
        if reason := _interop_obstacle(*marker.args):
            return reason
    if os.environ.get("CI") == "true":
        return None  # a machine that cannot run the others makes them fail by themselves
    needs_network = item.get_closest_marker("net") or item.get_closest_marker("interop")
    return _missing_program(item) or (_network_obstacle() if needs_network else None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        reason = _obstacle(item)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _measured:
        terminalreporter.write_line(f"measured: {line}")
    lines = [f"{count} tests; {reason}" for reason, count in _skipped(terminalreporter).items()]
    for line in lines:
        terminalreporter.write_line(f"!!! NOT RUN: {line}", red=True, bold=True)
    if lines and (path := os.environ.get(_LIST)):
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)


def _skipped(terminalreporter: pytest.TerminalReporter) -> Counter[str]:
    """Count the skipped tests by reason, whether they were marked before the run or gave up in their midst."""
    reports = terminalreporter.stats.get("skipped", [])
    return Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports)


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Note a figure for the summary at the end of the run."""
    return lambda text: request.node.user_properties.append(("measured", text))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Gather what was measured, here and in the processes that run tests side by side."""
    if report.when == "teardown":
        name = report.nodeid.split("::", 1)[-1]
        _measured.extend(f"{name}: {text}" for what, text in report.user_properties if what == "measured")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the ends of the nodes' logs under the report of a failed test that had a laboratory."""
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if report.failed and lab is not None:
        report.sections.append(("node logs", lab.log_tails()))
    return report
