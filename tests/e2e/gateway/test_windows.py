"""Views over a stream, through a real gateway: present, stale, defaulted, deleted, not written by callers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import forebay
import grpc
import numpy as np
import pytest
import redis
from forebay import Outcome, Status
from forebay.errors import NotUsable
from forebay.v1 import features_pb2, features_pb2_grpc

from feature_store.windows.events import EventOutcome
from runtime.embedded_store import TemporaryStore
from tests.support.served_application import ServedApplication, served
from tests.support.served_application import forebay as forebay_command
from tests.support.stream_application import StreamWorker, write_stream_application
from tests.support.windowed_view import MINUTE_US, Rated

TREND = ["item_trend.count", "item_trend.mean", "item_trend.highest"]
APPLIED, REPEATED, DELETED = EventOutcome.APPLIED, EventOutcome.REPEATED, EventOutcome.DELETED


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApplication]:
    directory = tmp_path_factory.mktemp("trends")
    file = write_stream_application(directory / "app")
    with TemporaryStore() as store:
        assert forebay_command(directory, store.url, "apply", str(file)).returncode == 0
        with served(directory, store.url, "trends") as gateway:
            yield gateway


@pytest.fixture(scope="module")
def client(gateway: ServedApplication) -> Iterator[forebay.Client]:
    with forebay.Client(gateway.gateway, timeout_s=5.0) as client:
        yield client


@pytest.fixture(scope="module")
def worker(gateway: ServedApplication) -> StreamWorker:
    return StreamWorker(gateway.redis_url, "item_trend")


def now_us() -> int:
    return time.time_ns() // 1000


def read(client: forebay.Client, *item_ids: int) -> list[list[tuple[float, int]]]:
    """Return each feature's values and statuses."""
    table = client.features(TREND, item_id=list(item_ids))
    return [
        list(zip(map(float, table.values(name)), map(int, table.statuses(name)), strict=True))
        for name in TREND
    ]


def wait_until(holds: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < give_up_s
        time.sleep(0.05)


def test_windows_turn_from_stale_to_present_when_the_watermark_comes(
    client: forebay.Client, worker: StreamWorker
) -> None:
    start_us = now_us() - 5 * MINUTE_US
    events = [Rated("1", start_us, 4.0), Rated("2", start_us, 2.0), Rated("1", start_us + 1, 5.0)]
    assert worker.apply(events) == [APPLIED] * 3
    assert worker.apply(events) == [REPEATED] * 3
    counts, means, highest = read(client, 1, 3)
    assert counts == [(2.0, Status.STALE), (0.0, Status.STALE)]
    assert means == [(4.5, Status.STALE), (3.5, Status.DEFAULTED)]
    early = client.predict("rate_items", user_id=1, candidates={"item_id": [1, 3]})
    assert [(part.reason, part.action, part.count) for part in early.degradations] == [
        ("STALE", "DEFAULTS", 2)
    ]

    watermark_us = now_us()
    worker.advance(watermark_us)
    wait_until(lambda: read(client, 1)[0][0][1] == Status.PRESENT)
    counts, means, highest = read(client, 1, 3)
    assert counts == [(2.0, Status.PRESENT), (0.0, Status.PRESENT)]
    assert means == [(4.5, Status.PRESENT), (3.5, Status.DEFAULTED)]
    assert highest[0] == (5.0, Status.PRESENT)
    assert highest[1][1] == Status.NULL
    answer = client.predict("rate_items", user_id=1, candidates={"item_id": [1, 3]})
    assert [(item.entity["item_id"], item.scores["score"]) for item in answer] == [(1, 452.0), (3, 350.0)]
    assert answer.provenance.oldest_as_of_us == watermark_us
    assert [(part.reason, part.count) for part in answer.degradations] == [("NOT_FOUND", 1)]


def test_a_view_turns_stale_when_its_worker_is_dead(
    client: forebay.Client, gateway: ServedApplication
) -> None:
    worker = StreamWorker(gateway.redis_url, "user_trend")
    worker.apply([Rated("1", now_us(), 4.0)])
    worker.advance(now_us() + 1_000_000)

    def status() -> int:
        return int(client.features(["user_trend.total"], user_id=[1]).statuses("user_trend.total")[0])

    wait_until(lambda: status() == Status.PRESENT)
    wait_until(lambda: status() == Status.STALE)
    assert float(client.features(["user_trend.total"], user_id=[1]).values("user_trend.total")[0]) == 4.0


def test_event_times_are_those_of_the_newest_events_when_asked_for(
    client: forebay.Client, worker: StreamWorker
) -> None:
    event_us = now_us() - MINUTE_US
    worker.apply([Rated("40", event_us, 4.0), Rated("40", event_us - 5, 4.0)], first=100)
    table = client.features(TREND[:1], item_id=[40, 41], event_times=True)
    newest, none = table.event_times(TREND[0])
    assert int(newest.astype(np.int64)) == event_us
    assert np.isnat(none)


def test_a_deleted_entity_has_no_events_when_older_ones_come_late(
    client: forebay.Client, worker: StreamWorker
) -> None:
    worker.advance(now_us())
    wait_until(lambda: read(client, 50)[0][0][1] == Status.PRESENT)
    event_us = now_us() - MINUTE_US
    assert worker.apply([Rated("50", event_us, 4.0)], first=200) == [APPLIED]
    assert client.delete("item", item_id=[50]) == [Outcome.APPLIED]
    assert read(client, 50)[0] == [(0.0, Status.PRESENT)]
    later_us = now_us()
    events = [Rated("50", event_us, 4.0), Rated("50", later_us, 1.0), Rated("50", event_us, 4.0)]
    assert worker.apply(events, first=201) == [DELETED, APPLIED, DELETED]
    assert read(client, 50)[1] == [(1.0, Status.PRESENT)]


def test_releases_are_followed_when_watermarks_cannot_be_read(
    client: forebay.Client, worker: StreamWorker, gateway: ServedApplication
) -> None:
    worker.advance(now_us())
    wait_until(lambda: read(client, 60)[0][0][1] == Status.PRESENT)
    file = gateway.directory / "app" / "trends.yaml"
    file.write_text(file.read_text().replace("default: 3.5", "default: 2.5"))
    with redis.Redis.from_url(gateway.redis_url) as store:
        store.hset("forebay:{trends}:watermarks", "what", "ever")
        applied = forebay_command(gateway.directory, gateway.redis_url, "apply", str(file))
        assert applied.returncode == 0, applied.stderr
        wait_until(lambda: read(client, 60)[1] == [(2.5, Status.DEFAULTED)])
        assert read(client, 60)[0] == [(0.0, Status.PRESENT)]
        store.hdel("forebay:{trends}:watermarks", "what")


def test_writes_are_refused_when_the_view_is_over_a_stream(client: forebay.Client) -> None:
    with pytest.raises(NotUsable, match="item_trend is made of a stream's events"):
        client.write("item_trend", item_id=[1], count=[4])


def test_a_view_over_a_stream_is_described_as_one(gateway: ServedApplication, worker: StreamWorker) -> None:
    worker.advance(now_us())
    request = features_pb2.DescribeViewRequest(view="item_trend")
    with grpc.insecure_channel(gateway.gateway) as channel:
        stub = features_pb2_grpc.FeatureServiceStub(channel)
        wait_until(lambda: stub.DescribeView(request, timeout=5).view.as_of_us > 0)
        described = stub.DescribeView(request, timeout=5).view
    assert (described.publish, described.stale) == ("stream", False)
    assert [(feature.name, feature.dtype) for feature in described.features] == [
        ("count", "int64"),
        ("mean", "float64"),
        ("highest", "float64"),
    ]
