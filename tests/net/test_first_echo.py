"""How soon two nodes that have just come up carry the first echo."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.rigs import traffic
from tests.rigs.labs import Lab, Pair

pytestmark = pytest.mark.net


@pytest.mark.parametrize(
    ("last", "both_dial", "limit"),
    [
        pytest.param("left", False, 0.5, id="the dialling side comes last"),
        pytest.param("left", True, 0.5, id="both dial"),
        pytest.param("right", False, 1.5, id="the listening side comes last and is dialled again"),
    ],
)
def test_the_first_echo_comes_soon_after_both_are_up(
    lab: Lab, last: str, both_dial: bool, limit: float, measured: Callable[[str], None]
) -> None:
    pair = Pair(lab).left_dials()
    if both_dial:
        pair.right_dials()
    nodes = (pair.right, pair.left) if last == "left" else (pair.left, pair.right)
    starts = []
    for node in nodes:
        node.start()
        starts.append(node.wait_ready())
    seconds = traffic.first_echo(pair.left.host, pair.right.address)
    measured(f"{seconds:.3f} s after both were up; start to up took {starts[0]:.2f} and {starts[1]:.2f} s")
    assert seconds <= limit
