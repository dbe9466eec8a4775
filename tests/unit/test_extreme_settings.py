"""The ends of what a key of the configuration takes: refused with its name, or run with."""

from __future__ import annotations

import pytest

from meshnode.config import meant
from meshnode.config.keys import FLOAT, U8, U16, U32, U64, leaves
from meshnode.config.load import parse
from meshnode.config.schema import Config
from meshnode.config.validate import broken_rules
from meshnode.mesh.mmp.receiver import MOST_DELAY_SAMPLES
from meshnode.settings import mesh_settings
from tests.unit.node_rig import MeshNet

_ENDS = {U8: ("255",), U16: ("65535",), U32: (f"{2**32 - 1}",), U64: (f"{2**64 - 1}",), FLOAT: ("1e308", "-1", ".inf")}
_NUMBERS = [
    (path, value)
    for _, _, path, key in leaves(Config())
    if path.startswith("node.") and key.kind in _ENDS
    for value in ("0", *_ENDS[key.kind])
]

_WITHOUT_A_LINK = {("node.link_dead_timeout_secs", "0"), ("node.rate_limit.handshake_timeout_secs", "0")}


@pytest.mark.parametrize(("path", "value"), _NUMBERS)
def test_a_node_runs_with_any_number_or_says_which_one_not(path: str, value: str) -> None:
    *above, name = path.split(".")
    config, _ = parse("".join(f"{section}: {{" for section in above) + f"{name}: {value}" + "}" * len(above))
    refusals = [str(error) for error in broken_rules(config)]
    if refusals:
        assert all(above[-1] in refusal for refusal in refusals)
        return
    net = MeshNet(mesh_settings(config.node))
    a, b = net.host("a"), net.host("b")
    b.start()
    a.start(b)
    net.run(3)
    assert a.node.links.peers or (path, value) in _WITHOUT_A_LINK


def test_the_file_and_the_machines_agree_on_a_number() -> None:
    assert meant.MOST_DELAY_SAMPLES == MOST_DELAY_SAMPLES
