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


_WITH_LISTS = """
mkdir -p {directory}/upper {directory}/work {directory}/lists
mount -t tmpfs tmpfs {directory}/work && mkdir {directory}/work/upper {directory}/work/work
mount -t overlay overlay -o lowerdir=/etc,upperdir={directory}/work/upper,workdir={directory}/work/work /etc
mkdir -p /etc/fips && mount --bind {directory}/lists /etc/fips
exec {daemon}
"""


def program_with_lists(directory: Path) -> Program:
    """Return the daemon with an /etc/fips of its own, which is `directory`/lists."""
    script = _WITH_LISTS.format(directory=shlex.quote(str(directory)), daemon=program().template)
    return Program("reference", f"unshare --mount --propagation private sh -ec {shlex.quote(script)}")
