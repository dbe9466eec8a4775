"""A real Prometheus that scrapes one target every moment, with the shipped rules made impatient."""

from __future__ import annotations

import json
import re
import urllib.parse
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.rigs import processes
from tests.rigs.hosts import Host
from tests.rigs.waiting import wait_until

RULES = Path(__file__).resolve().parents[2] / "packaging" / "grafana" / "alerts.yaml"
_CONFIGURATION = """
global: {{scrape_interval: 250ms, scrape_timeout: 200ms, evaluation_interval: 250ms}}
rule_files: [rules.yaml]
scrape_configs:
  - job_name: meshnode
    static_configs: [{{targets: ["{target}"]}}]
"""


class Prometheus:
    """A context manager around one process on `host` that listens on `port` of the loopback interface."""

    def __init__(self, host: Host, directory: Path, target: str, port: int) -> None:
        self._host = host
        self._url = f"http://127.0.0.1:{port}"
        self._directory = directory
        (directory / "prometheus.yaml").write_text(_CONFIGURATION.format(target=target))
        (directory / "rules.yaml").write_text(re.sub(r"(?m)^( *for:) .*$", r"\1 0s", RULES.read_text()))
        self._command = [
            "prometheus",
            f"--config.file={directory / 'prometheus.yaml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]

    def __enter__(self) -> Prometheus:
        with (self._directory / "prometheus.log").open("w") as log:
            self._process = self._host.start(self._command, output=log)
        wait_until(self._is_ready, 30, "Prometheus is ready", interval=0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        processes.end(self._process)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples an expression has now."""
        found = self._get(f"/api/v1/query?query={urllib.parse.quote(expression)}")
        return list(found["data"]["result"])

    def firing(self) -> dict[str, dict[str, str]]:
        """The alerts that fire, with their labels and annotations."""
        alerts = self._get("/api/v1/alerts")["data"]["alerts"]
        return {a["labels"]["alertname"]: a["labels"] | a["annotations"] for a in alerts if a["state"] == "firing"}

    def _get(self, path: str) -> Any:
        done = self._host.run(["curl", "--silent", "--show-error", "--fail", self._url + path])
        return json.loads(done.stdout) if done.returncode == 0 else None

    def _is_ready(self) -> bool:
        return self._host.run(["curl", "--silent", "--fail", f"{self._url}/-/ready"]).returncode == 0
