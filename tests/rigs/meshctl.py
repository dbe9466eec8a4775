"""The operator's tool against a node of the laboratory, run on the node's own host."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.rigs.nodes import Node, environment


def meshctl(node: Node, *arguments: str, timeout: float = 90.0) -> subprocess.CompletedProcess[str]:
    """Run one command."""
    command = [sys.executable, "-m", "meshnode.cli", "--socket", str(node.control_socket), *arguments]
    return node.host.run(command, timeout=timeout, environment=environment())


def answer(node: Node, *arguments: str) -> Any:
    """What one command prints as JSON, whatever its status."""
    return json.loads(meshctl(node, *arguments, "--json").stdout)


def knows_by_name(node: Node, *others: Node) -> None:
    """Let a node that is not started yet know others by name and key, without wanting a link with them."""
    for other in others:
        address = {"transport": "udp", "addr": "192.0.2.1:2121"}
        peer = {"npub": other.npub, "alias": other.name, "addresses": [address], "connect_policy": "manual"}
        node.settings["peers"].append(peer)
