"""Why a packet goes where it goes, on the nodes of a chain and beside it."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.control.commands import CommandError
from meshnode.identity import Identity
from meshnode.mesh.session import CloseReason
from tests.unit.test_control_state import Chain

STRANGER = Identity(b"\7" * 32).peer


@pytest.fixture
def chain() -> Chain:
    return Chain()


def why(chain: Chain, number: int, npub: str) -> Any:
    return chain.operators[number].ask("why", {"npub": npub})


def test_a_direct_peer_needs_no_reason(chain: Chain) -> None:
    answer = why(chain, 0, chain.hosts[1].identity.npub)
    assert answer["rule"] == "it is a direct peer"
    assert answer["class"] == "direct_peer"
    assert answer["next_hop"]["display_name"] == "bee"
    assert answer["candidates"][0]["is_chosen"]


def test_further_on_it_is_the_cheapest_peer_whose_filter_has_it(chain: Chain) -> None:
    answer = why(chain, 0, chain.hosts[2].identity.npub)
    assert answer["rule"] == "the cheapest of the nearer peers whose filters contain it"
    (candidate,) = answer["candidates"]
    assert (candidate["reason"], candidate["hops_left"], candidate["filter_contains"]) == ("chosen", 1, True)
    assert candidate["total"] == pytest.approx(1 + candidate["link_cost"])
    assert answer["our_distance"] == 2


def test_what_is_not_known_would_be_looked_up(chain: Chain) -> None:
    answer = why(chain, 0, STRANGER.npub)
    assert answer["next_hop"] is None
    assert answer["rule"].startswith("its place in the tree is not known")
    assert answer["candidates"][0]["reason"] == "nothing to compare with"


def test_the_middle_of_a_chain_tells_why_not_the_other_way(chain: Chain) -> None:
    _a, b, c = chain.hosts
    b.send(c, b"x")
    chain.net.run(3)
    answer = why(chain, 1, c.identity.npub)
    reasons = {row["display_name"]: row["reason"] for row in answer["candidates"]}
    assert next(iter(reasons.values())) == "chosen"
    assert list(reasons.values())[1] == "not nearer than we are"


def test_another_tree_is_named_as_such(chain: Chain) -> None:
    a, _b, c = chain.hosts
    a.node.sessions.remove(c.identity.node_addr, CloseReason.IDLE)
    cache = a.node.router.coordinate_cache
    cache.remove(c.identity.node_addr)
    cache.insert(c.identity.node_addr, [c.identity.node_addr, b"\1" * 16], chain.net.clock.seconds())
    answer = why(chain, 0, c.identity.npub)
    assert answer["rule"].startswith("it hangs in another tree")
    assert answer["our_distance"] is None
    assert answer["candidates"][0]["reason"] == "in another tree"


def test_a_silent_peer_is_not_relied_on(chain: Chain) -> None:
    _a, b, c = chain.hosts
    b.transport.stop()
    chain.net.run(15)
    answer = why(chain, 0, c.identity.npub)
    assert {row["reason"] for row in answer["candidates"]} <= {"silent, not relied on", "chosen"}


@pytest.mark.parametrize("params", [None, {}, {"npub": "x"}])
def test_mistakes_are_named(chain: Chain, params: Any) -> None:
    with pytest.raises(CommandError, match=r"npub|missing params for why"):
        chain.operators[0].ask("why", params)


def test_this_node_needs_no_way_to_itself(chain: Chain) -> None:
    with pytest.raises(CommandError, match="this node itself"):
        why(chain, 0, chain.hosts[0].identity.npub)
