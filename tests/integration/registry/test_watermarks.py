"""Watermarks on real servers: they only advance, and the lowest of all partitions counts."""

import pytest
from forebay.errors import Corrupt

from registry.watermarks import Advance, ViewGeneration, Watermark, Watermarks
from runtime.redis_connection import RedisConnection

KEY = "forebay:{movies}:watermarks"
TREND, LATER = ViewGeneration(3, 1), ViewGeneration(3, 2)


@pytest.fixture
def watermarks(connection: RedisConnection) -> Watermarks:
    return Watermarks(connection, "movies")


async def test_the_lowest_counts_when_all_partitions_have_said(watermarks: Watermarks) -> None:
    await watermarks.advance([Advance(TREND, 2, 0, 500)], 1_000)
    assert await watermarks.lowest() == {}
    await watermarks.advance([Advance(TREND, 2, 1, 400), Advance(LATER, 1, 0, -7)], 1_001)
    assert await watermarks.lowest() == {TREND: 400, LATER: -7}


async def test_a_watermark_stays_when_one_before_it_comes(watermarks: Watermarks) -> None:
    await watermarks.advance([Advance(TREND, 1, 0, 2**53 - 1)], 1_000)
    await watermarks.advance([Advance(TREND, 1, 0, 400)], 1_001)
    found = await watermarks.read()
    assert found[TREND].marks == {0: Watermark(2**53 - 1, 1_001)}


async def test_partitions_that_come_or_go_count_when_the_stream_is_split_anew(watermarks: Watermarks) -> None:
    await watermarks.advance([Advance(TREND, 2, 0, 500), Advance(TREND, 2, 1, 400)], 1_000)
    await watermarks.advance([Advance(TREND, 3, 0, 600)], 1_001)
    assert await watermarks.lowest() == {}
    await watermarks.advance([Advance(TREND, 1, 0, 600)], 1_002)
    assert await watermarks.lowest() == {TREND: 600}


async def test_nothing_is_left_when_rows_are_forgotten(
    watermarks: Watermarks, connection: RedisConnection
) -> None:
    await watermarks.advance([Advance(TREND, 1, 0, 5), Advance(LATER, 1, 0, 6)], 1_000)
    await watermarks.forget(TREND)
    await watermarks.forget(TREND)
    assert await watermarks.lowest() == {LATER: 6}
    assert await connection.execute("HLEN", KEY) == 2


async def test_nothing_is_read_or_written_when_there_is_nothing(watermarks: Watermarks) -> None:
    await watermarks.advance([], 1_000)
    assert await watermarks.read() == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [("3:1", "x"), ("3:1:0", "5"), ("3", "1"), ("3:1:0", "5 6 7"), ("a:b", "1"), ("3:1:0", f"{'9' * 30} 5")],
)
async def test_corrupt_is_raised_when_a_watermark_cannot_be_right(
    watermarks: Watermarks, connection: RedisConnection, field: str, value: str
) -> None:
    await connection.execute("HSET", KEY, field, value)
    with pytest.raises(Corrupt, match=r"movies.*watermark that can't be read"):
        await watermarks.lowest()


async def test_corrupt_is_raised_when_the_key_is_of_another_type(
    watermarks: Watermarks, connection: RedisConnection
) -> None:
    await connection.execute("SET", KEY, "x")
    with pytest.raises(Corrupt, match="can't be used"):
        await watermarks.lowest()
    with pytest.raises(Corrupt, match="can't be used"):
        await watermarks.advance([Advance(TREND, 1, 0, 5)], 1)
