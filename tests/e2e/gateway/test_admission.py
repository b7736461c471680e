"""What a real gateway refuses when too many come, and what it tells them."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import forebay
import grpc
import pytest
from forebay._rpc import error_details_pb2, status_pb2
from forebay._status import DETAILS_KEY, PUSHBACK_KEY
from forebay.v1 import features_pb2, features_pb2_grpc, prediction_pb2, prediction_pb2_grpc, values_pb2

from runtime.embedded_store import TemporaryStore
from tests.support.paused_store import paused
from tests.support.served_application import ServedApplication, prepare, served
from tests.support.tiny_application import write_tiny_application
from tests.support.until import LONG_S, until

SETTINGS = {
    "FOREBAY_REDIS__MAX_UNANSWERED_AGE_S": "30",  # a pause isn't an outage
    "FOREBAY_ADMISSION__MAX_IN_FLIGHT": "2",
    "FOREBAY_ADMISSION__MAX_READS": "2",
    "FOREBAY_ADMISSION__CALLERS": '{"nightly": {"rate_per_s": 0.01, "burst": 2}}',
}
RISK = prediction_pb2.PredictRequest(
    pipeline="risk_of_user",
    inputs={"user_id": values_pb2.Value(int64_value=1), "amount": values_pb2.Value(double_value=1.0)},
)
Metadata = tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApplication]:
    directory = tmp_path_factory.mktemp("admission")
    file = write_tiny_application(directory / "app")
    with pytest.MonkeyPatch.context() as environment, TemporaryStore() as store:
        for name, value in SETTINGS.items():
            environment.setenv(name, value)
        prepare(directory, store.url, file, ("items",))
        with served(directory, store.url, "tiny") as serving:
            yield serving


async def predicted(
    gateway: ServedApplication, count: int, metadata: Metadata = (), timeout_s: float = 5.0
) -> list[grpc.aio.AioRpcError | None]:
    """Make as many calls at once; return how each ended."""
    async with grpc.aio.insecure_channel(gateway.gateway) as channel:
        stub = prediction_pb2_grpc.PredictionServiceStub(channel)
        calls = [stub.Predict(RISK, timeout=timeout_s, metadata=metadata) for _ in range(count)]
        return [await ended(call) for call in calls]


async def ended(call: Any) -> grpc.aio.AioRpcError | None:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    return None


def refusals(results: Sequence[grpc.aio.AioRpcError | None]) -> list[grpc.aio.AioRpcError]:
    """Return the refused ones; fail where a call failed otherwise."""
    failed = [error for error in results if error is not None]
    assert {error.code() for error in failed} <= {grpc.StatusCode.RESOURCE_EXHAUSTED}, [
        error.details() for error in failed
    ]
    return failed


def told(error: grpc.aio.AioRpcError) -> tuple[float, int, dict[str, str]]:
    """Return RetryInfo's seconds, the pushback's milliseconds, and the facts of ErrorInfo."""
    trailers = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers[DETAILS_KEY])
    retry, info = error_details_pb2.RetryInfo(), error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert any(detail.Unpack(info) for detail in status.details)
    assert (info.domain, info.reason) == ("forebay", "OVERLOADED")
    seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return seconds, int(trailers[PUSHBACK_KEY]), dict(info.metadata)


async def crowded(
    gateway: ServedApplication, count: int, call: Callable[[grpc.aio.Channel], Any]
) -> list[grpc.aio.AioRpcError | None]:
    """Make as many calls at once while the store is paused, so that few can be under way, until half of them
    have been refused; return how each ended."""
    async with grpc.aio.insecure_channel(gateway.gateway) as channel:
        with paused(gateway.redis_url):
            calls = [asyncio.ensure_future(ended(call(channel))) for _ in range(count)]
            await until(lambda: sum(one.done() for one in calls) >= count // 2)
        return await asyncio.gather(*calls)


async def test_those_refused_are_told_when_to_come_back(gateway: ServedApplication) -> None:
    await predicted(gateway, 1)  # so that it knows how long one takes
    results = await crowded(
        gateway,
        100,
        lambda channel: prediction_pb2_grpc.PredictionServiceStub(channel).Predict(RISK, timeout=LONG_S),
    )
    refused = refusals(results)
    assert 50 <= len(refused) < 100
    for error in refused:
        seconds, pushback_ms, facts = told(error)
        assert 0.001 <= seconds < 60
        assert pushback_ms == round(seconds * 1000)
        assert facts == {"limit": "pipeline"}
        assert "pipeline risk_of_user has" in (error.details() or "")


async def test_nobody_is_refused_once_the_crowd_has_gone(gateway: ServedApplication) -> None:
    await predicted(gateway, 100)
    for _ in range(20):
        assert await predicted(gateway, 1) == [None]


async def test_callers_who_hang_up_leave_their_place(gateway: ServedApplication) -> None:
    async with grpc.aio.insecure_channel(gateway.gateway) as channel:
        stub = prediction_pb2_grpc.PredictionServiceStub(channel)
        for _ in range(10):
            calls = [stub.Predict(RISK, timeout=5.0) for _ in range(20)]
            await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
    async with asyncio.timeout(LONG_S):
        while await predicted(gateway, 1) != [None]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_quota_is_a_callers_own(gateway: ServedApplication) -> None:
    nightly = (("forebay-caller", "nightly"),)
    results = await predicted(gateway, 1, nightly) + await predicted(gateway, 1, nightly)
    refused = refusals(results + await predicted(gateway, 1, nightly))
    assert len(refused) == 1
    seconds, pushback_ms, facts = told(refused[0])
    assert facts == {"limit": "caller"}
    assert seconds > 50
    assert pushback_ms == -1, "a retry would only wait for the deadline"
    assert "caller 'nightly' may make 0.01 calls a second, 2 at once" in (refused[0].details() or "")
    assert await predicted(gateway, 1, (("forebay-caller", "web"),)) == [None]


async def test_reads_are_bounded_too(gateway: ServedApplication) -> None:
    keys = [values_pb2.Tensor(dtype=values_pb2.DTYPE_INT64, shape=[1], data=(1).to_bytes(8, "little"))]
    request = features_pb2.ReadFeaturesRequest(
        features=["user_profile.age"], keys=[values_pb2.Column(name="user_id", values=keys[0])]
    )
    results = await crowded(
        gateway,
        100,
        lambda channel: features_pb2_grpc.FeatureServiceStub(channel).ReadFeatures(request, timeout=LONG_S),
    )
    refused = refusals(results)
    assert 50 <= len(refused) < 100
    assert told(refused[0])[2] == {"limit": "reads"}


def test_the_sdk_says_when_to_come_back(gateway: ServedApplication) -> None:
    def ask() -> None:
        for _ in range(3):
            client.predict("risk_of_user", user_id=1, amount=1.0)

    client = forebay.Client(gateway.gateway, caller="nightly", timeout_s=1.0)
    with client, pytest.raises(forebay.Overloaded) as refused:
        ask()
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s > 50
