"""The reference daemon, when MESHNODE_INTEROP_FIPS names one; its control program lies beside it."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from tests.rigs.nodes import Node, Program


def binary() -> Path:
    return Path(os.environ["MESHNODE_INTEROP_FIPS"])


def program() -> Program:
    return Program("reference", f"{shlex.quote(str(binary()))} --config {{config}}")


def control(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the reference's control program against any node's socket."""
    return node.host.run([str(binary().with_name("fipsctl")), "-s", str(node.control_socket), *arguments])
