"""Names in the file: a check of it tells of those that a node does without when it starts, and of no others."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshnode.config.load import parse
from meshnode.config.names import is_host_name, is_interface_name, is_pool, unusable_names
from meshnode.gateway.pool import PoolError, Prefix
from meshnode.ipv6.hosts import host_name_problem
from meshnode.ipv6.tun import TunError, _check_name

NPUB = "npub1sjlh2c3x9w7kjsqg2ay080n2lff2uvt325vpan33ke34rn8l5jcqawh57m"
LETTERS = st.text(st.sampled_from("aZ09-_.:/% é\u212a\nnpub1"), max_size=20)


@given(LETTERS)
@example("a" * 63)
@example("a" * 64)
@example("NPUB1x")
@example("-")
def test_host_names_are_judged_as_the_node_judges_them(name: str) -> None:
    assert is_host_name(name) == (host_name_problem(name) is None)


@given(LETTERS)
@example("é" * 8)
@example("..")
def test_interface_names_are_judged_as_the_interface_judges_them(name: str) -> None:
    try:
        _check_name(name)
    except TunError:
        assert not is_interface_name(name)
    else:
        assert is_interface_name(name)


@given(st.text(st.sampled_from("fd01:./289 -%"), max_size=12))
@example("fd01::/112")
@example("fd01::/0")
@example("fd01::/129")
@example("fd01::/ 12")
@example("fd01::")
@example("10.0.0.0/24")
def test_pools_are_judged_as_the_gateway_judges_them(text: str) -> None:
    try:
        Prefix(text)
    except PoolError:
        assert not is_pool(text)
    else:
        assert is_pool(text)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("tun: {enabled: true, name: fips0}\ndns: {enabled: true, bind_addr: '::1'}", []),
        ("tun: {enabled: true, name: averyverylongname}", ["tun.name"]),
        ("tun: {enabled: false, name: averyverylongname}", []),
        ("dns: {enabled: true, bind_addr: '[::1]'}", ["dns.bind_addr"]),
        ("dns: {enabled: false, bind_addr: localhost}", []),
        ("gateway: {enabled: true, pool: 10.0.0.0/24, lan_interface: lan0}", ["gateway.pool"]),
        ("gateway: {enabled: false, pool: 10.0.0.0/24, lan_interface: lan0}", []),
        (f"peers: [{{npub: {NPUB}, addresses: []}}]", []),
        (f"peers: [{{npub: {NPUB}, alias: my laptop, addresses: []}}]", ["peers[0].alias"]),
    ],
)
def test_what_is_not_used_is_not_warned_about(text: str, keys: list[str]) -> None:
    warnings = list(unusable_names(parse(text)[0]))
    assert [warning.partition(" ")[0] for warning in warnings] == keys
