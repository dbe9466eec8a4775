"""`meshctl doctor`: what on this machine keeps the node from its work, and what to do about each."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ..client import ToolError
from ..doctor import carriers, company, host, network
from ..doctor.machine import Machine
from ..doctor.verdicts import Patient, Verdict
from ..options import FAILURE, SUCCESS, Words, client, emit

_ASKED = ("show_status", "show_transports", "show_config", "show_peers", "show_metrics")
_MARKS = {"ok": "ok  ", "hint": "-   ", "bad": "!   ", "unknown": "?   "}


def add_to(words: Words) -> None:
    words.add(
        "doctor", "examine this machine: rights, interface, ports, clock, sizes, names, firewall, Tor, Bluetooth",
        _doctor,
        details="Works without a node, too. Exit status 0 when nothing keeps the node from its work, else 1.",
    )  # fmt: skip


def _doctor(options: argparse.Namespace) -> int:
    verdicts = list(examine(patient(options)))
    is_well = not any(verdict.level == "bad" for verdict in verdicts)
    data = {"well": is_well, "verdicts": [asdict(verdict) for verdict in verdicts]}
    emit(data, options, lambda: [line for verdict in verdicts for line in _lines(verdict)])
    return SUCCESS if is_well else FAILURE


def patient(options: argparse.Namespace) -> Patient:
    """This machine with what its node says."""
    node = client(options)
    answers: dict[str, Any] = {}
    trouble: str | None = None
    for command in _ASKED:
        try:
            answers[command] = node.ask(command)
        except ToolError as error:
            if command == "show_status":
                trouble = str(error)
                break
    return Patient(Machine(), answers, node.path, trouble)


def examine(whom: Patient) -> Iterator[Verdict]:
    """Every verdict, in the order of the checks."""
    for check in (*host.CHECKS, *network.CHECKS, *company.CHECKS, *carriers.CHECKS):
        yield from check(whom)


def _lines(verdict: Verdict) -> Iterator[str]:
    yield f"{_MARKS[verdict.level]}{verdict.subject}: {verdict.text}"
    if verdict.fix is not None:
        yield f"      {verdict.fix}"
