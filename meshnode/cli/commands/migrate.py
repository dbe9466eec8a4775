"""`meshctl migrate`: take over the configuration of a reference daemon."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meshnode.paths import OWN_DIRECTORY, SYSTEM_DIRECTORY

from ..migration import Action, Plan, carry_out, survey
from ..options import FAILURE, SUCCESS, Words, emit

_DETAILS = (
    "Keys, configuration, hosts, access lists and everything else in the directory are copied, with their permissions. "
    "The source is never changed. A copy that differs from what is there already is not made, unless --replace is "
    "given, which keeps the other file under a name that ends in .before-migration."
)


def add_to(words: Words) -> None:
    command = words.add(
        "migrate", "take over the configuration of a fips daemon", _migrate, asks_node=False, details=_DETAILS
    )
    command.add_argument(
        "--from",
        dest="source",
        type=Path,
        default=SYSTEM_DIRECTORY,
        metavar="DIR",
        help="where the fips daemon has its files (%(default)s)",
    )
    command.add_argument(
        "--to", dest="target", type=Path, default=OWN_DIRECTORY, metavar="DIR", help="where the copies go (%(default)s)"
    )
    command.add_argument("-n", "--dry-run", action="store_true", help="only tell what would be done")
    command.add_argument("--replace", action="store_true", help="keep aside what stands in the way")


def _migrate(options: argparse.Namespace) -> int:
    plan = survey(options.source.absolute(), options.target.absolute(), replace=options.replace)
    if not options.dry_run:
        carry_out(plan)
    done = not options.dry_run
    emit(_facts(plan, done=done), options, lambda: [_printable(line) for line in _lines(plan, done=done)])
    return FAILURE if plan.conflicts else SUCCESS


def _printable(line: str) -> str:
    """The line with names of files as they may be: of several lines, or in no language at all."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in line)


def _facts(plan: Plan, *, done: bool) -> dict[str, Any]:
    return {
        "source": str(plan.source),
        "target": str(plan.target),
        "npub": plan.npub,
        "done": done,
        "files": [
            {
                "source": str(step.source),
                "target": str(step.target),
                "action": step.action.name.lower(),
                "kept_as": None if step.aside is None else str(step.aside),
            }
            for step in plan.steps
        ],
        "remarks": plan.remarks,
        "todo": plan.todo,
    }


def _lines(plan: Plan, *, done: bool) -> Iterator[str]:
    for step in plan.steps:
        aside = "" if step.aside is None else f"; what is there is kept as {step.aside.name}"
        yield f"{step.action.value:<16} {step.target}{aside}"
    yield from (f"note: {remark}" for remark in plan.remarks)
    yield f"the node {'is' if plan.npub else 'has no lasting name yet'}{f' {plan.npub}' if plan.npub else ''}"
    if not done:
        missing = any(step.action is not Action.SAME for step in plan.steps)
        yield "nothing was changed (--dry-run)" if missing else "nothing is left to copy"
    yield f"next, with {plan.source} as it was:"
    yield from (f"  {step}" for step in plan.todo)
