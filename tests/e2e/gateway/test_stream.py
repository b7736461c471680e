"""StreamPredict over a real gateway: many messages on one stream, each with its own answer or error."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import forebay
import grpc
import pytest
from forebay.v1.admin_pb2 import ListRecentRequestsRequest, ListRecentRequestsResponse
from forebay.v1.prediction_pb2 import PredictRequest
from forebay.v1.prediction_pb2 import StreamPredictRequest as Ask
from forebay.v1.prediction_pb2 import StreamPredictResponse as Answer
from forebay.v1.values_pb2 import Value

from gateway.app import Addresses, serve
from runtime.embedded_store import TemporaryStore
from runtime.settings import Settings
from tests.support.served_application import ServedApplication, prepare
from tests.support.tiny_application import write_tiny_application

PATH = "/forebay.v1.PredictionService/StreamPredict"
RECENT = "/forebay.v1.AdminService/ListRecentRequests"
LONG_S = 30.0
SHED = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


def ask(identity: str, user_id: int, timeout_us: int = 0, **options: Any) -> bytes:
    """One request, as bytes."""
    inputs = {"user_id": Value(int64_value=user_id)}
    request = PredictRequest(pipeline="items_for_user", inputs=inputs, **options)
    return Ask(request_id=identity, request=request, timeout_us=timeout_us).SerializeToString()


async def write_all(stream: Any, messages: list[bytes]) -> None:
    for message in messages:
        await stream.write(message)
    await stream.done_writing()


async def read_all(stream: Any) -> dict[str, Answer]:
    """Every answer by its id; each must come once."""
    found: dict[str, Answer] = {}
    while (raw := await stream.read()) is not grpc.aio.EOF:
        answer = Answer.FromString(raw)
        assert answer.request_id not in found
        found[answer.request_id] = answer
    assert await stream.code() is grpc.StatusCode.OK
    return found


def ranking(answer: Answer) -> list[int]:
    assert not answer.HasField("error"), answer.error.message
    (column,) = answer.response.entities
    return memoryview(column.values.data).cast("q").tolist()


async def test_a_thousand_pipelined_messages_each_get_their_own_answer(
    tiny: ServedApplication, client: forebay.Client
) -> None:
    alone = {user: client.predict("items_for_user", user_id=user) for user in range(1, 21)}
    expected = {user: [item.entity["item_id"] for item in answer] for user, answer in alone.items()}
    answers: dict[str, Answer] = {}
    async with grpc.aio.insecure_channel(tiny.gateway) as channel:
        left = [str(number) for number in range(1000)]
        for _ in range(10):  # on a busy machine some are shed, and asked again
            stream = channel.stream_stream(PATH)(timeout=LONG_S)
            messages = [ask(identity, 1 + int(identity) % 20) for identity in left]
            writing = asyncio.create_task(write_all(stream, messages))
            found = await read_all(stream)
            await writing
            assert sorted(found) == sorted(left)
            left = [identity for identity, answer in found.items() if answer.error.code == SHED]
            answers.update(found)
            if not left:
                break
            await asyncio.sleep(0.1)
    assert len(answers) == 1000
    for number in range(1000):
        assert ranking(answers[str(number)]) == expected[1 + number % 20]


async def test_a_wrong_message_fails_alone_and_is_in_the_trace(tiny: ServedApplication) -> None:
    messages = [
        ask("good", 1),
        ask("top", 1, top=0),
        Ask(request_id="none", request=PredictRequest(pipeline="nowhere")).SerializeToString(),
        Ask(request_id="bare").SerializeToString(),
        ask("late", 1, timeout_us=1),
    ]
    async with (
        grpc.aio.insecure_channel(tiny.gateway) as channel,
        grpc.aio.insecure_channel(tiny.admin) as admin,
    ):
        stream = channel.stream_stream(PATH)(timeout=LONG_S)
        await write_all(stream, messages)
        answers = await read_all(stream)
        asked = ListRecentRequestsRequest(id=answers["good"].response.provenance.prediction_id, limit=5)
        found = await admin.unary_unary(RECENT)(asked.SerializeToString(), timeout=LONG_S)
    codes = {name: answer.error.code for name, answer in answers.items()}
    # Refused where the queue alone takes longer, late otherwise.
    late = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert codes.pop("late") in {code.value[0] for code in late}
    assert codes == {
        "good": 0,
        "top": grpc.StatusCode.INVALID_ARGUMENT.value[0],
        "none": grpc.StatusCode.NOT_FOUND.value[0],
        "bare": grpc.StatusCode.NOT_FOUND.value[0],
    }
    (record,) = ListRecentRequestsResponse.FromString(found).requests
    assert record.method.endswith("StreamPredict.message")
    assert (record.pipeline, record.status) == ("items_for_user", "OK")
    assert [timing.stage for timing in record.provenance.stages][-1] == "select"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TemporaryStore, Path]]:
    """A store that holds the tiny application, and the directory of its files."""
    directory = tmp_path_factory.mktemp("streamed")
    with TemporaryStore() as store:
        prepare(directory, store.url, write_tiny_application(directory / "app"), ("items",))
        yield store, directory


@asynccontextmanager
async def serving_here(
    prepared: tuple[TemporaryStore, Path], **gateway: Any
) -> AsyncIterator[tuple[Addresses, asyncio.Event]]:
    """The gateway in this very loop, so that its tasks can be counted."""
    store, directory = prepared
    settings = Settings(
        app="tiny",
        artifacts=directory / ".forebay/artifacts",
        server={"bind": "127.0.0.1:0", "admin": "127.0.0.1:0"},
        gateway=gateway,
    )
    stop = asyncio.Event()
    ready: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(settings, store.url, stop, ready.set_result))
    try:
        yield await asyncio.wait_for(ready, LONG_S), stop
    finally:
        stop.set()
        await asyncio.wait_for(task, LONG_S)


def tasks() -> Counter[str]:
    """How many tasks there are of each coroutine."""
    return Counter(getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())


async def until_only(expected: Counter[str]) -> None:
    """Wait until no other tasks are left."""
    for _ in range(100):
        if tasks() <= expected:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"still there: {tasks() - expected}")


async def test_nothing_is_left_behind_when_the_caller_hangs_up_half_way(
    prepared: tuple[TemporaryStore, Path],
) -> None:
    async with (
        serving_here(prepared) as (addresses, _),
        grpc.aio.insecure_channel(addresses.gateway) as channel,
    ):
        warm = channel.stream_stream(PATH)(timeout=LONG_S)
        await write_all(warm, [ask("warm", 1)])
        await read_all(warm)
        await asyncio.sleep(0.1)
        before = tasks()
        for _ in range(5):
            stream = channel.stream_stream(PATH)(timeout=LONG_S)
            for number in range(200):
                await stream.write(ask(str(number), 1 + number % 20))
            await stream.read()
            stream.cancel()
        await until_only(before)
        again = channel.stream_stream(PATH)(timeout=LONG_S)
        await write_all(again, [ask(str(number), 1) for number in range(300)])
        assert len(await read_all(again)) == 300


async def test_a_caller_that_does_not_read_holds_no_more_than_the_limit(
    prepared: tuple[TemporaryStore, Path],
) -> None:
    features = ["item_profile.title", "item_profile.vector", "user_profile.country", "user_profile.taste"]
    async with (
        serving_here(prepared, stream_messages=8) as (addresses, _),
        grpc.aio.insecure_channel(addresses.gateway) as channel,
        grpc.aio.insecure_channel(addresses.admin) as admin,
    ):
        stream = channel.stream_stream(PATH)(timeout=LONG_S)
        big = [ask(str(number) + "x" * 100_000, 1, return_features=features) for number in range(300)]
        writing = asyncio.create_task(write_all(stream, big))
        counted = [-1, 0]
        while counted[-1] != counted[-2] or counted[-1] < 8:
            await asyncio.sleep(0.2)
            raw = await admin.unary_unary(RECENT)(
                ListRecentRequestsRequest(limit=1000).SerializeToString(), timeout=LONG_S
            )
            counted.append(len(ListRecentRequestsResponse.FromString(raw).requests))
        assert counted[-1] < 300
        assert not writing.done()
        answers = await read_all(stream)
        await writing
        assert len(answers) == 300
