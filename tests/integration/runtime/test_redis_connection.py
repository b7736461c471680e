"""The multiplexed connection on real servers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, InvalidRequest, NotUsable, Unavailable

from runtime.clock import SystemClock
from runtime.embedded_store import TemporaryStore
from runtime.redis_connection import RedisConnection, RedisReplyError, RedisScript
from runtime.redis_settings import RedisSettings
from tests.support.store_server import program_of

CLOCK = SystemClock()
SETTINGS = RedisSettings()


async def test_values_come_back_when_they_are_any_bytes(connection: RedisConnection) -> None:
    value = bytes(range(256)) + b"\r\n$5\r\n"
    assert await connection.execute("SET", b"k\r\n", value) == b"OK"
    assert await connection.execute("MGET", b"k\r\n", "none") == [value, None]
    assert await connection.execute("INCRBY", "n", -5) == -5


async def test_every_call_gets_its_own_reply_when_half_of_5000_are_cancelled(
    connection: RedisConnection,
) -> None:
    chance = random.Random(1)
    tasks = [asyncio.create_task(connection.execute("ECHO", str(number))) for number in range(5000)]
    doomed = set(chance.sample(range(5000), 2500))
    await asyncio.sleep(0)
    for place, number in enumerate(doomed):
        tasks[number].cancel()
        if place % 500 == 0:
            await connection.execute("PING")
    replies = await asyncio.gather(*tasks, return_exceptions=True)
    for number, reply in enumerate(replies):
        if number not in doomed or not isinstance(reply, asyncio.CancelledError):
            assert reply == str(number).encode()
    assert await connection.execute("ECHO", "end") == b"end"


async def test_errors_stay_in_their_places_when_many_are_sent_at_once(connection: RedisConnection) -> None:
    await connection.execute("RPUSH", "list", "x")
    texts = ["SET a 1", "GET list", "GET a", "NOSUCH", "LRANGE list 0 -1"]
    commands = [text.split() for text in texts]
    first, wrong, second, unknown, items = await connection.execute_many(commands)
    assert (first, second, items) == (b"OK", b"1", [b"x"])
    assert (wrong.code, unknown.code) == ("WRONGTYPE", "ERR")
    assert await connection.execute_many([]) == []


async def test_error_reply_is_raised_when_one_command_fails(connection: RedisConnection) -> None:
    await connection.execute("RPUSH", "list", "x")
    with pytest.raises(RedisReplyError) as caught:
        await connection.execute("GET", "list")
    assert caught.value.code == "WRONGTYPE"


async def test_script_runs_when_the_server_has_forgotten_it(connection: RedisConnection) -> None:
    script = RedisScript("return {KEYS[1], ARGV[1]}")
    for _ in range(2):
        await connection.execute("SCRIPT", "FLUSH")
        assert await connection.eval_script(script, ["k"], [7]) == [b"k", b"7"]
        assert await connection.eval_script(script, ["k"], [8]) == [b"k", b"8"]


async def test_script_error_is_raised_when_the_script_fails(connection: RedisConnection) -> None:
    with pytest.raises(RedisReplyError, match="made up"):
        await connection.eval_script(RedisScript("return redis.error_reply('ERR made up')"), [], [])


async def test_late_call_ends_and_others_go_on_when_a_deadline_passes(connection: RedisConnection) -> None:
    await connection.execute("CLIENT", "PAUSE", 200)
    patient = asyncio.create_task(connection.execute("ECHO", "patient"))
    with pytest.raises(DeadlineExceeded):
        await connection.execute("ECHO", "late", deadline=Deadline.after(0.03, CLOCK.monotonic_s()))
    assert not patient.done()
    assert await patient == b"patient"


async def test_call_is_refused_when_its_deadline_has_passed(connection: RedisConnection) -> None:
    with pytest.raises(DeadlineExceeded):
        await connection.execute("SET", "k", "v", deadline=Deadline(CLOCK.monotonic_s()))
    assert await connection.execute("EXISTS", "k") == 0


async def test_waiting_calls_fail_when_the_connection_is_closed(redis_url: str) -> None:
    connection = await RedisConnection.connect(redis_url, SETTINGS, CLOCK)
    waiting = asyncio.create_task(connection.execute("BLPOP", "none", 0))
    await asyncio.sleep(0)
    await connection.aclose()
    with pytest.raises(Unavailable, match="closed"):
        await waiting
    with pytest.raises(Unavailable, match="closed"):
        await connection.execute("PING")
    await connection.aclose()


async def test_databases_are_apart_when_the_url_names_one(
    connection: RedisConnection, redis_url: str
) -> None:
    await connection.execute("SET", "k", "zero")
    other = await RedisConnection.connect(f"{redis_url}?db=1", SETTINGS, CLOCK)
    try:
        assert await other.execute("GET", "k") is None
    finally:
        await other.aclose()


async def test_connecting_is_refused_when_the_database_does_not_exist(redis_url: str) -> None:
    with pytest.raises(NotUsable, match="DB index"):
        await RedisConnection.connect(f"{redis_url}?db=99", SETTINGS, CLOCK)


async def test_connecting_is_refused_when_the_url_is_wrong() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await RedisConnection.connect("http://cache", SETTINGS, CLOCK)
    assert caught.value.field == "redis.url"


async def test_connecting_fails_when_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="can't connect"):
        await RedisConnection.connect(f"unix://{tmp_path}/none.sock", SETTINGS, CLOCK)


@pytest.fixture
async def guarded_url(connection: RedisConnection, redis_url: str) -> AsyncIterator[str]:
    """The path of a server that knows the user ann and asks everybody for a password."""
    await connection.execute("ACL", "SETUSER", "ann", "on", ">pw", "~*", "+@all", "-set")
    await connection.execute("CONFIG", "SET", "requirepass", "secret")
    yield redis_url.removeprefix("unix://")
    await connection.execute("CONFIG", "SET", "requirepass", "")
    await connection.execute("ACL", "DELUSER", "ann")


@pytest.mark.parametrize("credentials", [":secret", "ann:pw"])
async def test_connecting_succeeds_when_the_credentials_are_right(guarded_url: str, credentials: str) -> None:
    connection = await RedisConnection.connect(f"unix://{credentials}@{guarded_url}", SETTINGS, CLOCK)
    assert await connection.execute("PING") == b"PONG"
    await connection.aclose()


@pytest.mark.parametrize("credentials", ["", ":wrong@", "ann:wrong@", "bob:pw@"])
async def test_connecting_is_refused_when_the_credentials_are_wrong(
    guarded_url: str, credentials: str
) -> None:
    with pytest.raises(NotUsable, match="password") as caught:
        await RedisConnection.connect(f"unix://{credentials}{guarded_url}", SETTINGS, CLOCK)
    assert "wrong" not in str(caught.value)
    user = credentials.partition(":")[0]
    assert not user or f"'{user}'" in str(caught.value)


async def test_call_is_refused_when_the_user_may_not_do_it(guarded_url: str) -> None:
    connection = await RedisConnection.connect(f"unix://ann:pw@{guarded_url}", SETTINGS, CLOCK)
    with pytest.raises(NotUsable, match="may not"):
        await connection.execute("SET", "k", "v")
    await connection.aclose()


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_refusal_is_clear_when_the_server_is_a_cluster_node(kind: str) -> None:
    with TemporaryStore(program_of(kind), ["--cluster-enabled", "yes"]) as store:
        connection = await RedisConnection.connect(store.url, SETTINGS, CLOCK)
        try:
            with pytest.raises(Unavailable, match="cluster"):
                await connection.execute("GET", "k")
            await connection.execute("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            with pytest.raises(NotUsable, match="cluster"):
                await connection.execute("MGET", "a", "b")
        finally:
            await connection.aclose()
