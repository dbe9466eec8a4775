"""`meshsim`: run scenarios from the command line."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence

from .commands import add_command, add_commands, add_file, add_scenario, add_seed
from .loading import builtin_scenarios, find_scenario
from .player import record
from .reading import ScenarioError
from .run import run
from .text import render

GARBAGE_THRESHOLDS = (50_000, 20, 50)
"""A mesh is a million objects that live as long as the run; looking through them less often saves a sixth of it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status: 1 when a run failed, 2 when there was none."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
        sys.stdout.flush()
    except ScenarioError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at its end
        return 1
    except OSError as error:
        print(f"{error.filename or 'output'}: {error.strerror}; write another file name", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


EXAMPLES = """\
examples:
  meshsim list                                              what comes with the program
  meshsim run ring-of-seven --html ring.html                run one, look at it in a browser
  meshsim run my.yaml --seed 7                              your own, with other dice
  meshsim campaign churn --vary link.loss=0,0.05 --seeds 10
  meshsim soak --minutes 30                                 random scenarios all night

A scenario file needs one line, `topology: {kind: ring, nodes: 7}`; docs/reference/simulator.md has all keys.

exit status: 0 everything was as expected, 1 something was not, 2 the arguments or the scenario cannot be used
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meshsim",
        description="Simulate meshes of real nodes on virtual time. Scenario and seed decide everything.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    running = add_command(
        commands,
        "run",
        "run one scenario and report",
        "Prints what happened, what was sent and arrived, and whether everything expected came true.",
    )
    add_scenario(running)
    add_seed(running)
    add_file(running, "--json", "write the whole report there as JSON")
    add_file(running, "--html", "write a page there that plays the run")
    running.set_defaults(command=_run)
    listing = add_command(commands, "list", "show the scenarios that come with the program", "One line for each.")
    listing.set_defaults(command=_list)
    add_commands(commands)
    return parser


def _run(options: argparse.Namespace) -> int:
    scenario = find_scenario(options.scenario)
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    if options.html is not None:
        result, text = record(scenario, options.seed)
        options.html.write_text(text, "utf-8")
    else:
        result = run(scenario, options.seed)
    sys.stdout.write(render(result, options.scenario))
    if options.json is not None:
        options.json.write_text(result.to_json())
    return 0 if result.passed else 1


def _list(options: argparse.Namespace) -> int:
    for name in builtin_scenarios():
        print(f"{name:<26}{find_scenario(name).about}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
