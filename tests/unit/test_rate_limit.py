"""Limiters: bursts, refill, intervals, and memory that stays bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshnode.mesh.rate_limit import SLOTS, IntervalLimiter, SourceBuckets, TokenBucket
from tests.unit.mesh_rig import VECTORS


def steps_of(text: str) -> list[tuple[str, float]]:
    pairs = (step.split(":") for step in text.split(";"))
    return [(key, int(ms) / 1000) for key, ms in pairs]


def test_a_full_bucket_admits_its_burst_and_no_more() -> None:
    bucket = TokenBucket(burst=3, rate=1.0, now=5.0)
    assert [bucket.allow(5.0) for _ in range(4)] == [True, True, True, False]


def test_a_bucket_refills_at_its_rate_up_to_the_burst() -> None:
    bucket = TokenBucket(burst=2, rate=0.5, now=0.0)
    assert bucket.allow(0.0)
    assert bucket.allow(0.0)
    assert not bucket.allow(1.0)
    assert bucket.allow(2.0)
    assert [bucket.allow(1000.0) for _ in range(3)] == [True, True, False]


def test_a_clock_going_back_gives_no_tokens() -> None:
    bucket = TokenBucket(burst=1, rate=1.0, now=10.0)
    assert bucket.allow(10.0)
    assert not bucket.allow(0.0)
    assert not bucket.allow(10.5)


def test_a_bucket_without_rate_never_refills() -> None:
    bucket = TokenBucket(burst=1, rate=0.0, now=0.0)
    assert bucket.allow(0.0)
    assert not bucket.allow(1e9)


def test_forward_limiter_vectors() -> None:
    vector = VECTORS["lookup"]["forward_limiter"][0]
    limiter: IntervalLimiter[str] = IntervalLimiter(vector["min_interval_ms"] / 1000, vector["max_age_ms"] / 1000)
    results = [str(limiter.allow(key, now)).lower() for key, now in steps_of(vector["steps"])]
    assert ",".join(results) == vector["results"]


def test_error_limiter_vectors() -> None:
    vector = VECTORS["lookup"]["error_limiter"][0]
    limiter: IntervalLimiter[str] = IntervalLimiter(vector["min_interval_ms"] / 1000, vector["max_age_ms"] / 1000)
    results = [str(limiter.allow(key, now)).lower() for key, now in steps_of(vector["steps"])]
    assert ",".join(results) == vector["results"]


def test_a_forgotten_key_is_admitted_at_once() -> None:
    limiter: IntervalLimiter[str] = IntervalLimiter(10, 60)
    assert limiter.allow("a", 0.0)
    limiter.forget("a")
    limiter.forget("never seen")
    assert limiter.allow("a", 0.1)
    limiter.clear()
    assert limiter.allow("a", 0.2)


def test_aged_keys_leave_memory() -> None:
    limiter: IntervalLimiter[int] = IntervalLimiter(1, 10)
    for key in range(100):
        limiter.allow(key, 0.0)
    assert limiter.allow(1000, 10.5)
    assert len(limiter) == 1


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 100)), max_size=200))
def test_memory_is_bounded_and_intervals_hold_for_remembered_keys(attempts: list[tuple[int, float]]) -> None:
    limiter: IntervalLimiter[int] = IntervalLimiter(5, 20, capacity=8)
    for key, now in sorted(attempts, key=lambda attempt: attempt[1]):
        limiter.allow(key, now)
        assert len(limiter) <= 8
        assert not limiter.allow(key, now)


def test_buckets_have_a_constant_size_and_few_collisions() -> None:
    buckets = SourceBuckets(10, 1, b"salt", 0.0)
    size = len(buckets._tokens)
    for number in range(20):
        for _ in range(100):
            buckets.allow(f"flood{number}".encode(), 0.0)
    refused = sum(not buckets.allow(f"honest{number}".encode(), 0.0) for number in range(SLOTS // 2))
    assert refused <= 5
    assert len(buckets._tokens) == size == 2 * SLOTS


def test_a_source_regains_its_tokens() -> None:
    buckets = SourceBuckets(10, 2, b"salt", 0.0)
    assert sum(buckets.allow(b"a", 0.0) for _ in range(20)) == 10
    assert not buckets.allow(b"a", 0.4)
    assert sum(buckets.allow(b"a", 3.0) for _ in range(20)) == 6


def test_a_clock_that_goes_backwards_gives_nothing() -> None:
    buckets = SourceBuckets(2, 1, b"salt", 10.0)
    assert sum(buckets.allow(b"a", 10.0) for _ in range(5)) == 2
    assert not buckets.allow(b"a", 5.0)
