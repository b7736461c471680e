"""Releases that change under load: every answer is made from one of them, and none is lost."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import forebay
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runtime.embedded_store import TemporaryStore
from tests.support.served_application import ServedApplication, prepare, served
from tests.support.tiny_application import write_tiny_application

CALLERS = 4


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[ServedApplication]:
    file = write_tiny_application(tmp_path / "app")
    with TemporaryStore() as store:
        prepare(tmp_path, store.url, file, ("items",))
        with served(tmp_path, store.url, "tiny") as gateway:
            yield gateway


def refresh_with(gateway: ServedApplication, price: float) -> int:
    """Give every item this price, refresh all views, and return the release that holds it."""
    path = gateway.directory / "app/data/items.parquet"
    table = pq.read_table(path)
    prices = pa.array([price] * len(table), pa.float32())
    pq.write_table(table.set_column(table.column_names.index("price"), "price", prices), path)
    ended = gateway.forebay("refresh", "run", "--app", "tiny")
    assert ended.returncode == 0, ended.stderr
    listed = gateway.forebay("releases", "--app", "tiny", "--json")
    return max(release["number"] for release in json.loads(listed.stdout))


async def ask(
    client: forebay.aio.Client,
    pipeline: str,
    stop: asyncio.Event,
    seen: list[tuple[int, str, frozenset[float]]],
) -> None:
    while not stop.is_set():
        answer = await client.predict(
            pipeline, user_id=2, return_features=["item_profile.price"], timeout_s=5.0
        )
        prices = frozenset(float(item.features["item_profile.price"]) for item in answer)
        seen.append((answer.provenance.release, answer.provenance.index_version, prices))


@pytest.mark.parametrize("pipeline", ["items_for_user", "cached_items"])
async def test_every_answer_is_of_one_release_when_they_change_under_load(
    gateway: ServedApplication, pipeline: str
) -> None:
    stop = asyncio.Event()
    seen: list[tuple[int, str, frozenset[float]]] = []
    price_of: dict[int, float] = {}
    async with forebay.aio.Client(gateway.gateway) as client:
        callers = [asyncio.create_task(ask(client, pipeline, stop, seen)) for _ in range(CALLERS)]
        for price in (101.0, 102.0, 103.0):
            release = await asyncio.to_thread(refresh_with, gateway, price)
            price_of[release] = price
            while not any(number >= release for number, _, _ in seen[-CALLERS:]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        stop.set()
        await asyncio.gather(*callers)
    releases = [number for number, _, _ in seen]
    assert len(set(releases)) >= 4
    assert max(releases) == max(price_of)
    for number, _, prices in seen:
        if number in price_of:
            assert prices == {price_of[number]}
    versions = {number: {version for one, version, _ in seen if one == number} for number in set(releases)}
    assert all(len(found) == 1 for found in versions.values())
