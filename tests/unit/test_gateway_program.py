"""The life of the gateway's process: what signals do to it, also while it starts anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = """\
import time
print("loading", flush=True)
time.sleep(0.3)
from meshnode.gateway import program

class Network:
    async def start(self):
        print("started", flush=True)

    async def stop(self, *, keep):
        print("stopped, kept" if keep else "stopped", flush=True)

program.assemble = lambda path, log: Network()
program.main()
"""


class Gateway:
    """A process of the gateway's program without any network."""

    def __init__(self, directory: Path) -> None:
        file = directory / "gateway.py"
        file.write_text(PROGRAM)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self.process = subprocess.Popen(
            [sys.executable, str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def says(self, *lines: str) -> None:
        assert self.process.stdout is not None
        for line in lines:
            assert self.process.stdout.readline() == f"{line}\n"

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path)
    yield made
    made.process.kill()
    made.process.communicate()


def test_it_ends_in_good_order_when_told_to(gateway: Gateway) -> None:
    gateway.says("loading", "started")
    gateway.signal(signal.SIGTERM)
    gateway.says("stopped")
    assert gateway.process.wait(5) == 0


def test_it_makes_way_for_another_process(gateway: Gateway) -> None:
    gateway.says("loading", "started")
    gateway.signal(signal.SIGUSR1)
    gateway.says("stopped, kept")
    assert gateway.process.wait(5) == 0


def test_orders_that_come_before_it_listens_again_are_obeyed_later(gateway: Gateway) -> None:
    """A second reload would end it otherwise, and the rules of the kernel would stay behind."""
    gateway.says("loading", "started")
    gateway.signal(signal.SIGHUP)
    gateway.says("stopped, kept", "loading")
    gateway.signal(signal.SIGHUP)
    gateway.says("started", "stopped, kept", "loading")
    gateway.signal(signal.SIGTERM)
    gateway.says("started", "stopped")
    assert gateway.process.wait(5) == 0
