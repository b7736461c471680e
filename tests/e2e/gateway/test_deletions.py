"""Entities that are deleted, and views that are described, over a real gateway and a real store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import forebay
import grpc
import pytest
import redis
from forebay import Outcome, Status
from forebay._rpc import error_details_pb2, status_pb2
from forebay.v1 import features_pb2, features_pb2_grpc, values_pb2

from runtime.embedded_store import TemporaryStore
from tests.support.served_application import ServedApplication, prepare, served
from tests.support.tiny_application import write_tiny_application

PRESENT, NOT_FOUND, DEFAULTED = Status.PRESENT, Status.NOT_FOUND, Status.DEFAULTED
ITEM = ["item_profile.price", "item_profile.title", "item_now.rate"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApplication]:
    """A gateway of this file's own: what is deleted is missed by others."""
    directory = tmp_path_factory.mktemp("deletions")
    file = write_tiny_application(directory / "app")
    with TemporaryStore() as store:
        prepare(directory, store.url, file, ("items",))
        with served(directory, store.url, "tiny") as gateway:
            yield gateway


@pytest.fixture(scope="module")
def client(gateway: ServedApplication) -> Iterator[forebay.Client]:
    with forebay.Client(gateway.gateway, timeout_s=5.0) as client:
        yield client


@pytest.fixture(scope="module")
def stub(gateway: ServedApplication) -> Iterator[features_pb2_grpc.FeatureServiceStub]:
    """What somebody has who knows nothing but the protos."""
    with grpc.insecure_channel(gateway.gateway) as channel:
        yield features_pb2_grpc.FeatureServiceStub(channel)


def statuses(client: forebay.Client, item_id: int) -> list[int]:
    table = client.features(ITEM, item_id=[item_id])
    return [int(table.statuses(name)[0]) for name in ITEM]


def release_of(client: forebay.Client) -> int:
    return client.predict("risk_of_user", user_id=3, amount=1.0).provenance.release


def wait_for_release(client: forebay.Client, after: int) -> None:
    give_up_s = time.monotonic() + 30
    while release_of(client) <= after:
        assert time.monotonic() < give_up_s
        time.sleep(0.05)


def test_a_deleted_entity_is_not_found_until_something_newer_is_written(client: forebay.Client) -> None:
    now_us = time.time_ns() // 1000
    client.write("item_now", item_id=[110], event_time=[now_us], clicks=[5], rate=[0.5])
    assert statuses(client, 110) == [PRESENT] * 3
    assert client.delete("item", item_id=[110, 111]) == [Outcome.APPLIED] * 2
    assert statuses(client, 110) == [NOT_FOUND] * 3
    assert statuses(client, 112)[:2] == [PRESENT] * 2
    assert client.delete("item", item_id=[110]) == [Outcome.APPLIED]
    late = client.write("item_now", item_id=[110], event_time=[now_us], clicks=[6], rate=[0.5])
    assert late == [Outcome.OLDER]
    assert statuses(client, 110) == [NOT_FOUND] * 3
    assert client.write("item_now", item_id=[110], clicks=[7], rate=[0.5]) == [Outcome.APPLIED]
    assert statuses(client, 110) == [NOT_FOUND, NOT_FOUND, PRESENT]


async def test_the_async_client_deletes_too(gateway: ServedApplication) -> None:
    async with forebay.aio.Client(gateway.gateway, timeout_s=5.0) as client:
        await client.write("item_now", item_id=[113], rate=[0.5])
        assert await client.delete("item", item_id=[113]) == [Outcome.APPLIED]
        table = await client.features(ITEM, item_id=[113])
    assert [int(table.statuses(name)[0]) for name in ITEM] == [NOT_FOUND] * 3


def test_a_prediction_reads_a_deleted_entity_as_not_found(client: forebay.Client) -> None:
    client.write("item_now", item_id=[120], clicks=[4], rate=[0.5])
    asked: dict[str, Any] = {"user_id": 4, "candidates": {"item_id": [120, 121]}}
    whole = client.predict("rate_items", **asked)
    client.delete("item", item_id=[120])
    answer = client.predict("rate_items", **asked, return_features=["item_profile.title"])
    assert "NOT_FOUND" in {part.reason for part in answer.degradations}
    assert "CORRUPT" not in {part.reason for part in answer.degradations}
    assert not [part for part in whole.degradations if part.subject == "item_profile"]
    titles = {item.entity["item_id"]: item.features["item_profile.title"] for item in answer}
    assert titles == {120: None, 121: "item 121 ü"}


def test_a_deleted_candidate_is_not_answered_when_its_view_is_required(client: forebay.Client) -> None:
    before = [item.entity["item_id"] for item in client.predict("items_for_user", user_id=5)]
    client.delete("item", item_id=before[:1])
    after = [item.entity["item_id"] for item in client.predict("items_for_user", user_id=5)]
    assert before[0] not in after
    assert set(before[1:]) <= set(after)


def test_kept_answers_are_dropped_when_an_entity_of_theirs_is_deleted(client: forebay.Client) -> None:
    first = client.predict("cached_items", user_id=6)
    assert client.predict("cached_items", user_id=6).provenance.cache == "HIT"
    client.delete("item", item_id=[first[0].entity["item_id"]])
    again = client.predict("cached_items", user_id=6)
    assert again.provenance.cache == "MISS"


def test_a_rollback_brings_nothing_back_and_a_refresh_what_the_source_holds(
    client: forebay.Client, gateway: ServedApplication
) -> None:
    number = release_of(client)
    ended = gateway.forebay("refresh", "run", "--app", "tiny")
    assert ended.returncode == 0, ended.stderr
    wait_for_release(client, number)
    assert statuses(client, 130)[:2] == [PRESENT, PRESENT]
    client.delete("item", item_id=[130])
    number = release_of(client)
    ended = gateway.forebay("refresh", "rollback", "item_profile", "--app", "tiny")
    assert ended.returncode == 0, ended.stderr
    wait_for_release(client, number)
    assert statuses(client, 130) == [NOT_FOUND] * 3
    assert statuses(client, 131)[:2] == [PRESENT, PRESENT]
    number = release_of(client)
    ended = gateway.forebay("refresh", "run", "--app", "tiny")
    assert ended.returncode == 0, ended.stderr
    wait_for_release(client, number)
    assert statuses(client, 130) == [PRESENT, PRESENT, NOT_FOUND]


def test_a_tombstone_has_a_time_to_live(client: forebay.Client, gateway: ServedApplication) -> None:
    client.delete("item", item_id=[4242])
    with redis.Redis.from_url(gateway.redis_url) as connection:
        keys = list(connection.scan_iter(match="f{*:4242}*"))
        assert len(keys) == 1
        assert 3_590_000 < connection.pttl(keys[0]) <= 3_600_000
        assert connection.strlen(keys[0]) == 20


def item_keys(*item_ids: int) -> values_pb2.Column:
    data = b"".join(item_id.to_bytes(8, "little") for item_id in item_ids)
    tensor = values_pb2.Tensor(dtype=values_pb2.DTYPE_INT64, shape=[len(item_ids)], data=data)
    return values_pb2.Column(name="item_id", values=tensor)


def test_any_grpc_client_deletes(stub: features_pb2_grpc.FeatureServiceStub) -> None:
    request = features_pb2.DeleteEntitiesRequest(entity="item", keys=[item_keys(140, 9_999, 140)])
    assert stub.DeleteEntities(request, timeout=5).outcomes == bytes([1, 1, 1])
    read = features_pb2.ReadFeaturesRequest(features=ITEM, keys=[item_keys(140, 141)])
    columns = stub.ReadFeatures(read, timeout=5).columns
    assert [column.statuses[0] for column in columns] == [NOT_FOUND] * 3


@pytest.mark.parametrize(
    ("entity", "keys", "code", "field", "text"),
    [
        ("item", [item_keys()], grpc.StatusCode.INVALID_ARGUMENT, "keys", "1 to 10000 rows"),
        ("item", [], grpc.StatusCode.INVALID_ARGUMENT, "keys", "item_id"),
        (
            "item",
            [item_keys(*range(10_001))],
            grpc.StatusCode.INVALID_ARGUMENT,
            "keys",
            "at most 10000 rows, not 10001",
        ),
        ("nobody", [item_keys(1)], grpc.StatusCode.NOT_FOUND, "entity", "user"),
        ("user", [item_keys(1)], grpc.StatusCode.INVALID_ARGUMENT, "keys", "user_id"),
        (
            "item",
            [
                values_pb2.Column(
                    name="item_id",
                    values=values_pb2.Tensor(dtype=values_pb2.DTYPE_FLOAT64, shape=[1], data=bytes(8)),
                )
            ],
            grpc.StatusCode.INVALID_ARGUMENT,
            "keys.item_id",
            "must be an integer",
        ),
    ],
)
def test_a_wrong_deletion_names_the_field_and_the_limit(
    stub: features_pb2_grpc.FeatureServiceStub,
    entity: str,
    keys: list[values_pb2.Column],
    code: grpc.StatusCode,
    field: str,
    text: str,
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.DeleteEntities(features_pb2.DeleteEntitiesRequest(entity=entity, keys=keys), timeout=5)
    error: Any = caught.value
    assert error.code() == code
    assert text in error.details()
    assert field in fields_of(error)


def fields_of(error: Any) -> set[str]:
    """Return the fields that an error's details name."""
    trailers = dict(error.trailing_metadata())
    fields: set[str] = set()
    for detail in status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details:
        bad, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
        if detail.Unpack(bad):
            fields.update(violation.field for violation in bad.field_violations)
        elif detail.Unpack(info):
            fields.add(info.metadata.get("field", ""))
    return fields


def test_views_are_listed_and_described(stub: features_pb2_grpc.FeatureServiceStub) -> None:
    listed = {view.name: view for view in stub.ListViews(features_pb2.ListViewsRequest(), timeout=5).views}
    assert set(listed) == {"user_profile", "item_profile", "item_now"}
    user = listed["user_profile"]
    assert (user.entity, user.publish, user.max_age_us) == ("user", "swap", 30 * 86_400_000_000)
    assert [(part.name, part.dtype) for part in user.key] == [("user_id", "int64")]
    assert [(part.name, part.dtype) for part in user.features] == [
        ("age", "float32"),
        ("taste", "float32[4]"),
        ("seen", "int64[]"),
        ("country", "string"),
    ]
    assert [part.has_default for part in user.features] == [True, False, False, False]
    assert user.features[0].default_value.double_value == 40
    assert user.generation > 0
    assert user.batch.startswith("b")
    assert (user.row_count, listed["item_profile"].row_count) == (20, 60)
    assert 0 <= user.age_us < 600_000_000
    assert abs(user.as_of_us + user.age_us - time.time_ns() // 1000) < 60_000_000
    assert user.HasField("stale")
    assert not user.stale
    assert len({view.view_id for view in listed.values()}) == 3
    assert listed["item_profile"].entity_id == listed["item_now"].entity_id != user.entity_id
    assert listed["item_profile"].features[1].default_value.int64_value == 7

    request = features_pb2.DescribeViewRequest(view="item_now")
    now = stub.DescribeView(request, timeout=5).view
    assert (now.publish, now.as_of_us, now.batch) == ("upsert", 0, "")
    assert not any(now.HasField(field) for field in ("row_count", "age_us", "stale"))
