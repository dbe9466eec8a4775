"""Dashboard and alert rules speak of metrics that exist, with labels that exist."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from meshnode.control.metrics.families import FAMILIES, PREFIX

DIRECTORY = Path(__file__).resolve().parents[2] / "packaging" / "grafana"
DASHBOARD = json.loads((DIRECTORY / "dashboard.json").read_text())
RULES = [rule for group in yaml.safe_load((DIRECTORY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
_SELECTOR = re.compile(rf"\b{PREFIX}(\w+)(?:\{{([^}}]*)\}})?")
OF_PROMETHEUS = {"instance", "job"}


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression with the text that is shown with it."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]
    for rule in RULES:
        yield rule["expr"], " ".join(rule["annotations"].values())


def labels_used(expression: str, text: str) -> set[str]:
    chosen = {part.partition("=")[0].strip() for part in re.findall(r"\w+=~?\"", expression)}
    shown = set(re.findall(r"{{ *(?:\$labels\.)?(\w+) *}}", text))
    return {label.rstrip("~") for label in chosen | shown} - OF_PROMETHEUS


@pytest.mark.parametrize(("expression", "text"), list(expressions()))
def test_every_expression_is_about_metrics_and_labels_that_exist(expression: str, text: str) -> None:
    named = [name for name, _ in _SELECTOR.findall(expression)]
    if expression.startswith("up{"):
        return
    assert named
    assert set(named) <= FAMILIES.keys()
    known = {label for name in named for label in FAMILIES[name].labels}
    assert labels_used(expression, text) <= known


def test_counters_are_only_looked_at_as_rates() -> None:
    for expression, _text in expressions():
        for name, _labels in _SELECTOR.findall(expression):
            is_rate = re.search(rf"(rate|increase)\({PREFIX}{name}", expression) is not None
            assert is_rate == (FAMILIES[name].kind == "counter"), expression


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not taken & cells
        taken |= cells


def test_every_alert_says_what_to_do() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}
        assert len({rule["alert"] for rule in RULES}) == len(RULES)


@pytest.mark.program("promtool")
def test_prometheus_itself_accepts_the_rules() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", str(DIRECTORY / "alerts.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
