"""The configurations under `examples/`, run as they are."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from meshnode.identity import PeerIdentity
from tests.rigs.hosts import Host, RigError
from tests.rigs.nodes import ROOT, environment, our_program
from tests.rigs.waiting import wait_until


class Example:
    """A node that runs the file of an example on `host`, unchanged; it makes its key at the start.

    What it writes below /etc and /run stays on the host.
    """

    def __init__(self, name: str, host: Host) -> None:
        self.host = host
        self._directory = host.directory / "example"
        self._own("/etc")
        host.run(["mkdir", "-p", "/run/fips"])
        config = Path(shutil.copy(ROOT / "examples" / name / "fips.yaml", self._directory))
        with (self._directory / "log").open("w") as log:
            host.start(our_program().command(config), output=log, environment=environment())
        wait_until(lambda: "FIPS running" in self.log, 30, f"the example {name} runs")
        self.npub = (self._directory / "fips.pub").read_text().strip()
        self.address = PeerIdentity.from_npub(self.npub).ipv6_text

    def _own(self, place: str) -> None:
        """Lay a layer of the host's own over a directory."""
        layer, work = self._directory / "layer", self._directory / "work"
        for directory in (layer, work):
            directory.mkdir(parents=True)
        options = f"lowerdir={place},upperdir={layer},workdir={work}"
        done = self.host.run(["mount", "-t", "overlay", "overlay", "-o", options, place])
        if done.returncode != 0:
            raise RigError(f"mount {place}: {done.stderr.strip()}")

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self._directory / "log").read_text()

    def show(self, view: str) -> Any:
        """What `meshctl show VIEW` answers on its host."""
        command = [sys.executable, "-m", "meshnode.cli", "--json", "show", view]
        done = self.host.run(command, environment=environment())
        return json.loads(done.stdout) if done.returncode == 0 else {}
