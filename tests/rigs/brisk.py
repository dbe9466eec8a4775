"""A node that makes new keys every few seconds, for tests that cannot wait: `python -m tests.rigs.brisk SECONDS ...`.

It is the node of this checkout with the waiting times around rekeys shortened; the rest of the command line is
twistd's. Both ends of a link have to be such nodes: others do not answer rekeys of young keys.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from twisted.scripts.twistd import run

from meshnode import service
from meshnode.mesh.link import initiator, responder, table
from meshnode.mesh.session import rekey
from meshnode.mesh.session.core import Core


def shorten(seconds: float) -> None:
    """Rekey whenever keys are `seconds` old, without jitter."""
    responder.MIN_REKEY_AGE = initiator.MIN_REKEY_AGE = rekey.MIN_AGE = seconds / 2
    initiator._REKEY_DAMPENING = rekey.DAMPENING = seconds / 2
    initiator._PRECEDENCE_SECS = 0
    table.REKEY_JITTER_SECS = 0
    Core.draw_jitter = lambda self: 0  # type: ignore[method-assign]
    configured = service.mesh_settings
    service.mesh_settings = lambda section: replace(
        configured(section), rekey=replace(configured(section).rekey, after_secs=int(seconds))
    )


if __name__ == "__main__":
    shorten(float(sys.argv[1]))
    sys.argv[:2] = ["twistd"]
    run()
