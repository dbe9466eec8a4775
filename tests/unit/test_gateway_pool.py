"""Lent addresses: which there are, in what order, how long each is lent (spec 07 section 2)."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.gateway.conntrack import Flow
from meshnode.gateway.pool import BLIND_TTL, AddressPool, PoolError, Prefix, State
from meshnode.gateway.store import Remembered, restore

TTL, GRACE = 60.0, 60.0


def ip(text: str) -> bytes:
    return IPv6Address(text).packed


def node(number: int) -> bytes:
    return b"\xfd" + number.to_bytes(15, "big")


def make(prefix: str = "fd01::/112", *own: str) -> AddressPool:
    return AddressPool(Prefix(prefix), TTL, GRACE, [ip(address) for address in own])


def lend(pool: AddressPool, number: int, now: float = 0.0) -> str | None:
    lease = pool.lend(node(number), f"n{number}.fips", now)
    return None if lease is None else str(IPv6Address(lease.virtual))


@pytest.mark.parametrize(
    ("text", "size", "first"),
    [
        ("fd01::/112", 65535, "fd01::1"),
        ("fd01::/64", 65535, "fd01::1"),
        ("fd01::/120", 255, "fd01::1"),
        ("fd01::10/120", 255, "fd01::11"),
        ("fd01::/127", 1, "fd01::1"),
        ("fd01::/128", 0, None),
    ],
)
def test_the_size_of_a_pool_and_its_first_address(text: str, size: int, first: str | None) -> None:
    pool = make(text)
    assert pool.total == size
    assert lend(pool, 1) == first


@pytest.mark.parametrize("text", ["fd01::", "fd01::/0", "fd01::/129", "10.0.0.0/8", "x/64", "fd01::/-1", "fd01::/ 64"])
def test_a_pool_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(PoolError, match="write one like fd01::/112"):
        Prefix(text)


def test_host_bits_are_kept_in_the_pool_and_left_out_of_the_route() -> None:
    assert Prefix("fd01::10/120").network == "fd01::/120"


def test_one_node_has_one_address_whatever_it_is_called() -> None:
    pool = make()
    assert lend(pool, 1) == lend(pool, 1, 5.0) == "fd01::1"
    assert lend(pool, 2) == "fd01::2"


def test_addresses_of_this_machine_are_not_lent() -> None:
    pool = make("fd01::/125", "fd01::1", "fd01::3")
    assert pool.total == 5
    assert [lend(pool, number) for number in range(6)] == ["fd01::2", "fd01::4", "fd01::5", "fd01::6", "fd01::7", None]


def test_an_unused_mapping_drains_and_then_comes_back() -> None:
    pool = make()
    lend(pool, 1)
    assert pool.tick({}, TTL) == []
    assert pool.count() == {State.ALLOCATED: 1}
    assert pool.tick({}, TTL + 1) == []
    assert pool.count() == {State.DRAINING: 1}
    assert pool.tick({}, TTL + 1 + GRACE) == []
    (ended,) = pool.tick({}, TTL + 2 + GRACE)
    assert ended.mesh == node(1)
    assert pool.free == pool.total


def test_connections_keep_a_mapping_for_as_long_as_they_last() -> None:
    pool = make()
    lend(pool, 1)
    for now in range(0, 1000, 10):
        assert pool.tick({ip("fd01::1"): 2}, now) == []
    assert pool.count() == {State.ACTIVE: 1}
    assert pool.tick({}, 990 + TTL + 1) == []
    assert pool.count() == {State.DRAINING: 1}


def test_a_connection_brings_a_draining_mapping_back() -> None:
    pool = make()
    lend(pool, 1)
    pool.tick({}, TTL + 1)
    pool.tick({ip("fd01::1"): 1}, TTL + 2)
    assert pool.count() == {State.ACTIVE: 1}


def test_a_question_brings_a_draining_mapping_back() -> None:
    pool = make()
    lend(pool, 1)
    pool.tick({}, TTL + 1)
    lend(pool, 1, TTL + 2)
    assert pool.tick({}, TTL + 1 + GRACE + 1) == []


def test_nothing_is_taken_back_soon_while_nobody_can_count_connections() -> None:
    pool = make()
    lend(pool, 1)
    assert pool.tick(None, BLIND_TTL) == []
    assert pool.count() == {State.ALLOCATED: 1}
    pool.tick(None, BLIND_TTL + 1)
    assert len(pool.tick(None, BLIND_TTL + 2 + GRACE)) == 1


def test_an_address_that_came_back_is_the_last_to_be_lent_again() -> None:
    pool = make("fd01::/126")
    lend(pool, 1)
    pool.tick({}, 61)
    pool.tick({}, 122)
    assert [lend(pool, number, 130) for number in (2, 3, 4, 5)] == ["fd01::2", "fd01::3", "fd01::1", None]


def test_an_exhausted_pool_lends_again_once_one_came_back() -> None:
    pool = make("fd01::/127")
    assert lend(pool, 1) == "fd01::1"
    assert lend(pool, 2) is None
    pool.tick({}, 61)
    pool.tick({}, 122)
    assert lend(pool, 2, 123) == "fd01::1"


def test_what_an_earlier_run_lent_is_lent_again_and_to_nobody_else() -> None:
    pool = make("fd01::/125")
    remembered = [Remembered(ip("fd01::2"), node(1), "one.fips"), Remembered(ip("fd09::1"), node(2), "other pool")]
    live = [Flow(ip("fd01::3"), node(3)), Flow(ip("fd01::2"), node(9)), Flow(ip("fd01::4"), ip("2001:db8::1"))]
    assert restore(pool, remembered, live, 0.0) == 2
    assert lend(pool, 1) == "fd01::2"
    assert lend(pool, 3) == "fd01::3"
    assert [lend(pool, number) for number in (10, 11)] == ["fd01::1", "fd01::4"]


@given(st.lists(st.tuples(st.sampled_from(["lend", "tick", "busy"]), st.integers(0, 12)), max_size=60))
def test_no_address_is_ever_lent_twice(steps: list[tuple[str, int]]) -> None:
    pool, now = make("fd01::/125"), 0.0
    for what, number in steps:
        now += 20.0
        if what == "lend":
            pool.lend(node(number), "x.fips", now)
        else:
            busy = {lease.virtual: 1 for lease in list(pool.leases)[:number]} if what == "busy" else {}
            ended = pool.tick(busy, now)
            assert not {lease.virtual for lease in ended} & set(busy)
        lent = [lease.virtual for lease in pool.leases]
        assert len(lent) == len(set(lent))
        assert len(lent) + pool.free == 7
