"""The table of kept rows: how old they get, what gives way, what it holds."""

from __future__ import annotations

import random

import pytest

from feature_store.near_cache import MISS, NearCache

BOUND_S = 32.0


def keys_of(count: int, start: int = 0) -> list[bytes]:
    return [b"key:%06d" % number for number in range(start, start + count)]


def rows_of(count: int, size: int = 100) -> list[bytes | None]:
    return [bytes(bytearray(size)) for _ in range(count)]


def test_rows_are_found_together_when_all_are_known_only() -> None:
    cache = NearCache(1 << 20, 1.0)
    cache.keep([b"a", b"b"], [b"A", None], 100.0, BOUND_S)
    assert cache.find([b"b", b"a", b"b"], 100.0) == [None, b"A", None]
    assert cache.find([b"a", b"x"], 100.0) is None
    assert cache.look([b"a", b"x"], 100.0) == [b"A", MISS]
    assert (cache.stats.hits, cache.stats.misses, cache.stats.entries) == (4, 1, 2)


@pytest.mark.parametrize("seed", range(5))
def test_no_row_is_given_past_its_age_when_rows_come_at_any_time(seed: int) -> None:
    chance = random.Random(seed)
    cache = NearCache(1 << 20, 1.0)
    read_at: dict[bytes, float] = {}
    now_s = 1000.0
    for _ in range(3_000):
        now_s += chance.random()
        [key] = keys_of(1, chance.randrange(60))
        found = cache.find([key], now_s)
        if found is None:
            read_s = now_s - chance.random()
            cache.keep([key], [bytes(bytearray(8))], read_s, BOUND_S)
            read_at[key] = read_s
        else:
            assert now_s - read_at[key] <= BOUND_S
    assert cache.stats.hits > 1_000


def test_absent_rows_go_sooner_when_their_bound_is_shorter() -> None:
    cache = NearCache(1 << 20, 1.0)
    cache.keep([b"a", b"b"], [b"A", None], 100.0, BOUND_S)
    assert cache.find([b"b"], 100.8) == [None]
    assert cache.find([b"b"], 101.0) is None
    assert cache.find([b"a"], 101.0) == [b"A"]


def test_row_is_due_once_when_its_time_is_nearly_over() -> None:
    cache = NearCache(1 << 20, 1.0)
    cache.keep([b"a", b"b"], [b"A", b"B"], 100.0, BOUND_S)
    cache.find([b"a"], 100.0 + BOUND_S / 2)
    assert cache.take_due([b"a"]) == {}
    late_s = 100.0 + BOUND_S * 0.8
    assert cache.find([b"a", b"a"], late_s) == [b"A", b"A"]
    assert cache.take_due([b"a", b"a"]) == {b"a": BOUND_S}
    assert cache.take_due([b"a"]) == {}
    cache.keep([b"a"], [b"A2"], late_s, BOUND_S)
    assert cache.find([b"a"], 100.0 + BOUND_S) == [b"A2"]
    assert cache.find([b"b"], 100.0 + BOUND_S) is None


def test_bytes_are_bounded_when_more_rows_come_than_fit() -> None:
    cache = NearCache(200_000, 1.0)
    for start in range(0, 10_000, 100):
        cache.keep(keys_of(100, start), rows_of(100), 100.0, BOUND_S)
        assert cache.stats.bytes <= 200_000
    assert 300 < cache.stats.entries < 1_000
    assert cache.stats.evicted == 10_000 - cache.stats.entries
    assert cache.find(keys_of(100, 9_900), 100.0) is not None


def test_bytes_are_bounded_when_one_row_is_replaced_again_and_again() -> None:
    cache = NearCache(100_000, 1.0)
    for _ in range(1_000):
        cache.keep([b"a"], [bytes(bytearray(1_000))], 100.0, BOUND_S)
        assert cache.stats.bytes <= 100_000
    assert cache.stats.entries <= 1


def test_rows_in_use_stay_when_others_pass_by() -> None:
    cache = NearCache(1_000_000, 1.0)
    hot = keys_of(100)
    cache.keep(hot, rows_of(100), 100.0, BOUND_S)
    for start in range(1_000, 31_000, 500):
        for _ in range(8):
            found = cache.find(hot, 101.0)
        assert found is not None
        cache.keep(keys_of(500, start), rows_of(500), 101.0, BOUND_S)
    assert cache.find(hot, 100.0 + BOUND_S) is None


def test_nothing_is_held_when_all_rows_are_old_or_dropped() -> None:
    cache = NearCache(1 << 20, 1.0)
    cache.keep(keys_of(2_000), rows_of(2_000), 100.0, BOUND_S)
    cache.drop(keys_of(1_000))
    assert (cache.stats.entries, cache.stats.dropped) == (1_000, 1_000)
    assert cache.find(keys_of(1, 1_500), 101.0) is not None
    cache.age(100.0 + BOUND_S)
    assert (cache.stats.entries, cache.stats.bytes) == (0, 0)


def test_row_is_not_held_when_it_is_larger_than_the_bound() -> None:
    cache = NearCache(1_000, 1.0)
    cache.keep([b"a"], [bytes(bytearray(2_000))], 100.0, BOUND_S)
    assert (cache.stats.entries, cache.stats.bytes) == (0, 0)
