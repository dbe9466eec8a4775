"""A real node that drops what is led through it: the others find out, and their traffic goes around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.net import reference
from tests.net.reference import NEW
from tests.rigs import sweeps, traffic
from tests.rigs.labs import Lab
from tests.rigs.meshes import Mesh, forwarded
from tests.rigs.nodes import Node
from tests.rigs.relays import relayed
from tests.rigs.swallower import swallower
from tests.rigs.waiting import pause, wait_until

pytestmark = pytest.mark.net

_DIAMOND = [(1, 0), (2, 0), (3, 1), (3, 2)]
_DETOUR = 0.05
_OBSERVED = 8.0
_GIVEN_UP = "does not pass on what is sent through it"


def _alone_relays(chosen: Node, other: Node) -> bool:
    """Return whether for a second all echoes, and all replies, have led through `chosen`."""
    before, idle = forwarded(chosen), forwarded(other)
    pause(1)
    return forwarded(chosen) > before and forwarded(other) == idle


@pytest.mark.parametrize(("kind", "limit"), [("everything", 10.0), ("slyly", 25.0)])
def test_traffic_goes_around_a_node_that_swallows_it_while_it_does_so(
    lab: Lab, tmp_path: Path, kind: str, limit: float, measured: Callable[[str], None]
) -> None:
    """Two ways lead from head to foot; the better one through the liar. The other one has to be taken."""
    flag = tmp_path / "swallow"
    mesh = Mesh(lab, _DIAMOND, [None, swallower(flag, kind)])
    head, liar, honest, foot = mesh.nodes
    with relayed(mesh.cables[1], delay=_DETOUR), relayed(mesh.cables[3], delay=_DETOUR):
        mesh.start()
        mesh.wait_linked()
        sweeps.introduce(mesh.nodes)
        with traffic.pinging(head.host, foot.address) as echoes:
            echoes.first(20)
            wait_until(lambda: _alone_relays(liar, honest), 60, "the better way is taken there and back")
            flag.touch()
            begin = time.time()
            silence_over = echoes.reply_after(begin + 0.5, limit).at
            pause(_OBSERVED)
            replies = [reply.at for reply in echoes.replies() if reply.at > silence_over]
        measured(f"swallowing {kind}: nothing for {silence_over - begin:.1f} s, {len(replies)} echoes after that")
    assert silence_over - begin <= limit
    assert replies[-1] - silence_over >= _OBSERVED - 1.5
    assert any(f"peer {liar.name} {_GIVEN_UP}" in node.log() or _GIVEN_UP in node.log() for node in (head, foot))
    assert _GIVEN_UP not in honest.log()


@pytest.mark.interop
def test_a_reference_daemon_returns_what_we_try_it_with_and_is_relied_on(
    lab: Lab, measured: Callable[[str], None]
) -> None:
    """n0 has two neighbours, and all that it sends to n2 leads through the daemon for longer than patience lasts."""
    mesh = Mesh(lab, [(0, 1), (1, 2), (0, 3)], [None, reference.program(NEW)])
    near, daemon, far, _ = mesh.nodes
    mesh.start()
    mesh.wait_linked()
    sweeps.introduce(mesh.nodes)
    with traffic.pinging(near.host, far.address) as echoes:
        echoes.first(20)
        pause(20)
        replies, lost = echoes.finish()
    [row] = [row for row in near.ask("show_peers")["peers"] if row["npub"] == daemon.npub]
    measured(f"{len(replies)} echoes through the daemon, {len(lost)} lost; it relays: {'trust' not in row}")
    assert "trust" not in row
    assert _GIVEN_UP not in near.log() + far.log()
