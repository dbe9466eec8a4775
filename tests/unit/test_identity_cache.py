"""From addresses back to keys."""

from __future__ import annotations

from random import Random

import pytest

from meshnode.identity import Identity, PeerIdentity
from meshnode.mesh.session import CachedIdentity, IdentityCache

RANDOM = Random(4)
PEERS = [Identity.generate(RANDOM.randbytes).peer for _ in range(5)]


def twin_of(peer: PeerIdentity) -> bytes:
    """An address that shares the 15 bytes an IPv6 address shows, and no more."""
    return peer.node_addr[:15] + bytes([peer.node_addr[15] ^ 1])


@pytest.fixture
def cache() -> IdentityCache:
    cache = IdentityCache(3)
    for at, peer in enumerate(PEERS[:3]):
        cache.insert(peer, float(at))
    return cache


def test_an_identity_is_found_by_address_prefix_and_ipv6_address(cache: IdentityCache) -> None:
    peer = PEERS[1]
    for address in (peer.node_addr, peer.node_addr[:15], peer.ipv6[1:]):
        assert cache.lookup(address, 9.0) == peer
        assert cache.peek(address) == peer
        assert address in cache
    assert cache.lookup(bytes(15), 9.0) is None
    assert cache.peek(bytes(15)) is None
    assert bytes(16) not in cache


def test_one_too_many_evicts_the_least_recently_used(cache: IdentityCache) -> None:
    cache.lookup(PEERS[0].node_addr, 5.0)
    cache.insert(PEERS[3], 6.0)
    assert [entry.identity for entry in cache.entries()] == [PEERS[2], PEERS[0], PEERS[3]]
    assert len(cache) == 3


def test_peeking_is_no_use(cache: IdentityCache) -> None:
    cache.peek(PEERS[0].node_addr)
    assert PEERS[0].node_addr in cache
    cache.insert(PEERS[3], 6.0)
    assert PEERS[0].node_addr not in cache


def test_inserting_again_refreshes_and_replaces(cache: IdentityCache) -> None:
    cache.insert(PEERS[0], 7.0)
    assert list(cache.entries()) == [
        CachedIdentity(PEERS[1], 1.0),
        CachedIdentity(PEERS[2], 2.0),
        CachedIdentity(PEERS[0], 7.0),
    ]


def test_the_time_of_last_use_is_kept(cache: IdentityCache) -> None:
    cache.lookup(PEERS[1].node_addr, 8.5)
    assert list(cache.entries())[-1] == CachedIdentity(PEERS[1], 8.5)


def test_two_addresses_with_one_prefix_are_not_confused(cache: IdentityCache) -> None:
    assert cache.peek(twin_of(PEERS[0])) == PEERS[0]
    assert cache.peek_exact(twin_of(PEERS[0])) is None
    assert cache.peek_exact(PEERS[0].node_addr) == PEERS[0]


def test_the_capacity_is_at_least_one() -> None:
    cache = IdentityCache(0)
    for peer in PEERS:
        cache.insert(peer, 0.0)
    assert [entry.identity for entry in cache.entries()] == PEERS[-1:]
