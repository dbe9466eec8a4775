"""The reference daemon, when MESHNODE_INTEROP_FIPS names one; its control program lies beside it.

MESHNODE_INTEROP_FIPS_OLD names an older release, for meshes of three kinds.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from tests.rigs.nodes import Node, Program

NEW, OLD = "MESHNODE_INTEROP_FIPS", "MESHNODE_INTEROP_FIPS_OLD"


def binary() -> Path:
    return Path(os.environ[NEW])


def program(variable: str = NEW) -> Program:
    """Return the daemon that an environment variable names."""
    return Program("reference", f"{shlex.quote(os.environ[variable])} --config {{config}}")


def control(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the reference's control program against any node's socket."""
    return node.host.run([str(binary().with_name("fipsctl")), "-s", str(node.control_socket), *arguments])
