"""A laboratory: a temporary directory with hosts and nodes in it, taken down again whatever happens."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from tests.rigs.hosts import Host, cable
from tests.rigs.nodes import Node, Program, our_program


class Lab:
    """A context manager that owns hosts and nodes."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="meshlab-"))
        self.hosts: list[Host] = []
        self.nodes: list[Node] = []

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop every node, then every host, then forget their files."""
        for host in self.hosts:
            host.ask_to_end()  # all at once: each takes its time to say goodbye
        for host in reversed(self.hosts):
            host.close()
        self.hosts.clear()
        shutil.rmtree(self.directory, ignore_errors=True)

    def host(self, name: str) -> Host:
        host = Host(name, self.directory / name)
        self.hosts.append(host)
        return host

    def node(
        self, name: str, host: Host, program: Program | None = None, settings: Mapping[str, Any] | None = None
    ) -> Node:
        node = Node(name, host, program or our_program(), settings)
        self.nodes.append(node)
        return node

    def log_tails(self, lines: int = 40) -> str:
        """Return the ends of the nodes' logs, then those of what runs beside them, for failure messages."""
        beside = sorted(self.directory.glob("host-*/**/*.log"))
        return "\n".join([*(node.log_tail(lines) for node in self.nodes), *(_tail(file, lines) for file in beside)])


def _tail(file: Path, lines: int) -> str:
    return "\n".join([f"--- {file.name}", *file.read_text(errors="replace").splitlines()[-lines:]])


class Pair:
    """Two nodes and one cable: `left` at 10.99.0.1, `right` at 10.99.0.2. Nobody dials yet, nothing runs yet."""

    def __init__(
        self,
        lab: Lab,
        left: Program | None = None,
        right: Program | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.left = lab.node("left", lab.host("host-left"), left, settings)
        self.right = lab.node("right", lab.host("host-right"), right, settings)
        self.left_address, self.right_address = cable(self.left.host, self.right.host, "10.99.0")

    def left_dials(self) -> Pair:
        self.left.dials(self.right, self.right_address)
        return self

    def right_dials(self) -> Pair:
        self.right.dials(self.left, self.left_address)
        return self

    def start(self) -> Pair:
        """Start both, the one that only listens first, and wait until each sees the other."""
        for node in sorted((self.left, self.right), key=lambda node: len(node.settings["peers"])):
            node.start()
            node.wait_ready()
        self.wait_connected()
        return self

    def wait_connected(self, deadline: float = 10.0) -> None:
        self.left.wait_connected(self.right, deadline=deadline)
        self.right.wait_connected(self.left, deadline=deadline)


def chain(lab: Lab, names: str, settings: Mapping[str, Any] | None = None) -> list[Node]:
    """Build nodes in a row, one cable between neighbours, the outer ones dialling towards the middle."""
    nodes = [lab.node(name, lab.host(f"host-{name}"), None, settings) for name in names]
    for number, (left, right) in enumerate(pairwise(nodes)):
        ends = cable(left.host, right.host, f"10.99.{number}", "east", "west")
        if number < len(names) // 2:
            left.dials(right, ends[1])
        else:
            right.dials(left, ends[0])
    return nodes


def tidy_up_on_signals() -> None:
    """Turn SIGTERM and SIGHUP into SystemExit, so that a program's laboratories are taken down as on Ctrl-C."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
