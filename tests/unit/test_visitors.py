"""Which accepted stream gives way when there is no room for another."""

from __future__ import annotations

from meshnode.transports.visitors import Visitors


def nobody(address: str) -> bool:
    return False


def visitors(*addresses: str) -> Visitors:
    made = Visitors()
    for address in addresses:
        made.add(address)
    return made


def test_a_crowd_from_one_host_displaces_itself() -> None:
    pool = visitors("192.0.2.1:1", *(f"192.0.2.9:{port}" for port in range(10, 20)), "192.0.2.2:1")
    gone = [pool.give_way(nobody) for _ in range(9)]
    assert gone == [f"192.0.2.9:{port}" for port in range(10, 19)]
    assert len(pool) == 3


def test_a_site_with_many_addresses_is_one_crowd() -> None:
    pool = visitors("[2001:db8:1:1::1]:1", *(f"[2001:db8:2:2:{host}::1]:1" for host in range(1, 4)))
    assert pool.give_way(nobody) == "[2001:db8:2:2:1::1]:1"
    assert pool.give_way(nobody) == "[2001:db8:2:2:2::1]:1"


def test_among_equals_the_one_that_came_first_goes() -> None:
    pool = visitors("192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1")
    assert pool.give_way(nobody) == "192.0.2.1:1"


def test_who_got_a_link_stays_and_is_a_visitor_no_longer() -> None:
    pool = visitors("192.0.2.1:1", "192.0.2.1:2")
    assert pool.give_way(lambda address: address.endswith(":1")) == "192.0.2.1:2"
    assert len(pool) == 0
    assert pool.give_way(nobody) is None


def test_who_left_does_not_count() -> None:
    pool = visitors("192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1")
    pool.discard("192.0.2.1:1")
    pool.discard("192.0.2.1:2")
    pool.discard("192.0.2.7:1")
    assert pool.give_way(nobody) == "192.0.2.2:1"
    assert pool.give_way(nobody) is None
