"""What the benchmarks share: contenders in alternation, two nodes on one cable, and how figures are printed.

JSON goes to standard output, a line for people to standard error. Root, iproute2, ping and iperf3 are needed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from _environment import node_python_version  # first: it decides which Python runs the rest

from meshnode.ranges import seconds, whole
from tests.rigs import meshes, sweeps, traffic
from tests.rigs.labs import Lab, Pair, tidy_up_on_signals
from tests.rigs.meshes import Mesh
from tests.rigs.nodes import Node, Program, our_program
from tests.rigs.waiting import wait_until

Figures = dict[str, float]
Measure = Callable[[Program, argparse.Namespace], Figures]


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--command",
        metavar="CMD",
        help="the daemon to measure; {config} stands for its file (default: this checkout, as MESHNODE_PYTHON runs it)",
    )
    parser.add_argument(
        "--vs", metavar="CMD", help="another daemon to measure in alternation, e.g. 'CMD --config {config}'"
    )
    parser.add_argument("--rounds", type=whole(1), default=3, help="how often to measure each (default: 3)")
    parser.add_argument("--seconds", type=seconds, default=5.0, help="length of one measurement (default: 5)")
    return parser


def run(name: str, parser: argparse.ArgumentParser, measure: Measure, headline: dict[str, str]) -> None:
    """Measure all contenders round by round and print medians, ratios and a line made of the `headline` figures.

    `headline` maps the key of a figure to the words printed for it, in which `{}` is the figure.
    """
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("namespaces need root")
    tidy_up_on_signals()
    contenders = _contenders(options)
    rounds: dict[str, list[Figures]] = {contender.name: [] for contender in contenders}
    for number in range(options.rounds):
        for contender in contenders:
            figures = {key: round(value, 4) for key, value in measure(contender, options).items()}
            rounds[contender.name].append(figures)
            print(f"round {number + 1}, {contender.name}: {json.dumps(figures)}", file=sys.stderr)
    _print_report(name, rounds, headline)


def _contenders(options: argparse.Namespace) -> list[Program]:
    ours = Program("meshnode", options.command) if options.command else our_program()
    return [ours, Program("vs", options.vs)] if options.vs else [ours]


def _print_report(name: str, rounds: dict[str, list[Figures]], headline: dict[str, str]) -> None:
    medians = {
        who: {key: round(median(row[key] for row in rows), 4) for key in rows[0]} for who, rows in rounds.items()
    }
    report: dict[str, Any] = {"bench": name, "machine": _machine(), "median": medians, "rounds": rounds}
    if "vs" in medians:
        report["ratio"] = {key: _ratio(medians["meshnode"][key], medians["vs"][key]) for key in medians["vs"]}
    print(json.dumps(report, indent=2))
    for who, figures in medians.items():
        shown = (words.format(f"{figures[key]:.4g}") for key, words in headline.items() if key in figures)
        print(f"{name}, {who}: {', '.join(shown)}", file=sys.stderr)
    if "ratio" in report:
        ratios = (f"{key} {report['ratio'][key]}" for key in headline if key in report["ratio"])
        print(f"{name}, meshnode / vs: {', '.join(ratios)}", file=sys.stderr)


def _ratio(ours: float, theirs: float) -> float | None:
    return round(ours / theirs, 3) if theirs else None


def _machine() -> dict[str, Any]:
    return {"cpus": os.cpu_count(), "kernel": platform.release(), "python": node_python_version()}


@contextmanager
def connected_pair(program: Program) -> Iterator[Pair]:
    """Two running nodes of one kind that have just exchanged an echo; UDP MTU 1472, TUN MTU 1280 on both."""
    with Lab() as lab:
        pair = Pair(lab, program, program).left_dials().start()
        traffic.first_echo(pair.left.host, pair.right.address)
        yield pair


@contextmanager
def connected_row(program: Program, count: int) -> Iterator[Mesh]:
    """`count` running nodes of one kind in a row whose ends have just exchanged an echo; MTUs as in a pair."""
    with Lab() as lab:
        mesh = Mesh(lab, meshes.row(count), [program] * count)
        mesh.start()
        sweeps.introduce(mesh.nodes)
        with sweeps.echoes(mesh.nodes) as echoes:
            echoes.all_answer([(mesh.nodes[0], mesh.nodes[-1])], 60)
        yield mesh


def iperf(client: Node, server: Node, arguments: list[str], seconds: float) -> dict[str, Any]:
    """Run iperf3 from one node's host to the other's mesh address; return the "end" of its report."""
    listening = server.host.start(["iperf3", "-s", "-1", "-B", server.address])
    wait_until(lambda: server.host.run(["ss", "-Hltn", "sport = :5201"]).stdout.strip(), 5, "iperf3 listens")
    command = ["iperf3", "-c", server.address, "-J", "-t", f"{seconds:g}", *arguments]
    done = client.host.run(command, timeout=seconds + 30)
    listening.wait(10)
    result: dict[str, Any] = json.loads(done.stdout)
    if "error" in result:
        raise SystemExit(f"iperf3: {result['error']}")
    end: dict[str, Any] = result["end"]
    return end


def rates(end: dict[str, Any]) -> Figures:
    """Return packets/s and lost share of an iperf3 report over UDP, Mbit/s over TCP."""
    if "lost_packets" in end.get("sum", {}):
        total = end["sum"]
        arrived = total["packets"] - total["lost_packets"]
        return {"packets_s": arrived / total["seconds"], "lost_share": total["lost_percent"] / 100}
    return {"mbit_s": end["sum_received"]["bits_per_second"] / 1e6}


def gigabits(end: dict[str, Any]) -> float:
    """Return how much arrived, in Gbit."""
    if "lost_packets" in end.get("sum", {}):
        total = end["sum"]
        return float(total["bytes"] * 8e-9 * (1 - total["lost_percent"] / 100))
    return float(end["sum_received"]["bytes"] * 8e-9)


def percentile(values: list[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
