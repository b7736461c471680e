"""`forebay refresh` and `forebay batches` as a person types them: what is refused, accepted, read in part."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from cli import main
from runtime.embedded_store import TemporaryStore

YAML = """\
app: shop
entities: {item: {key: {item_id: int64}}}
sources: {items: {csv: items.csv}, sales: {csv: sales.csv, event_time: sold_at}}
views:
  item_profile:
    entity: item
    batch: {source: items, checks: {nulls: {price: 0.2}, ranges: {price: [0, 100]}}}
    features: {price: float32}
  item_sales:
    entity: item
    batch: {source: sales, publish: upsert}
    features: {sold: int64}
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    stdout: str
    stderr: str


Shop = Callable[..., Ended]


@pytest.fixture(scope="module")
def store() -> Iterator[TemporaryStore]:
    with TemporaryStore() as store:
        yield store


@pytest.fixture
def shop(
    tmp_path: Path,
    store: TemporaryStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shop:
    """Return what runs a command on the application, applied and refreshed."""
    with Redis.from_url(store.url) as redis:
        redis.flushall()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOREBAY_REDIS_URL", store.url)

    def command(*args: str) -> Ended:
        capsys.readouterr()
        code = main.run(args)
        return Ended(code, *capsys.readouterr())

    (tmp_path / "app.yaml").write_text(YAML)
    write_items(range(100))
    write_sales((1, 5, "2023-01-01"), (2, 6, "2023-01-02"))
    for args in (("apply", "app.yaml"), ("refresh", "run")):
        assert command(*args).code == 0
    return command


def write_items(prices: object) -> None:
    lines = [f"{number},{price}" for number, price in enumerate(prices)]  # type: ignore[call-overload]
    Path("items.csv").write_text("\n".join(["item_id,price", *lines]))


def write_sales(*rows: tuple[int, int, str]) -> None:
    lines = [f"{item},{sold},{day} 00:00:00" for item, sold, day in rows]
    Path("sales.csv").write_text("\n".join(["item_id,sold,sold_at", *lines]))


def test_every_broken_check_is_printed_and_recorded_when_a_refresh_is_refused(shop: Shop) -> None:
    write_items([*range(100, 130), *[""] * 40])
    ended = shop("refresh", "run", "item_profile")
    assert ended.code == 3
    assert "refused: 2 checks are broken, and what is live stays live" in ended.stderr
    assert "item_profile.nulls.price: 40 of 70 values are null (57.1%); at most 20.0%" in ended.stderr
    assert "item_profile.ranges.price: values from 100 to 129; allowed from 0 to 100" in ended.stderr
    record = json.loads(shop("batches", "--json").stdout)[0]
    assert record["status"] == "refused"
    assert record["checks"]["item_profile.nulls.price"].startswith("broken: 40 of 70")
    assert record["figures"]["item_profile"]["rows"] == 70
    assert "2 broken" in shop("batches").stdout


def test_broken_check_is_published_when_it_is_accepted_by_name(shop: Shop) -> None:
    write_items([200, *range(99)])
    assert shop("refresh", "run", "item_profile").code == 3
    ended = shop("refresh", "run", "item_profile", "--accept", "item_profile.ranges.price")
    assert ended.code == 0
    assert "warning: item_profile.ranges.price: values from 0 to 200" in ended.stderr


def test_shrunken_view_is_refused_and_allowed(shop: Shop) -> None:
    write_items(range(10))
    ended = shop("refresh", "run", "item_profile")
    assert (ended.code, "--allow-shrink" in ended.stderr) == (3, True)
    assert shop("refresh", "run", "item_profile", "--allow-shrink").code == 0


def test_only_new_rows_are_read_since_the_last_batch(shop: Shop) -> None:
    write_sales((1, 50, "2022-12-31"), (3, 7, "2023-01-03"))
    ended = shop("refresh", "run", "item_sales", "--since", "last", "--json")
    assert ended.code == 0, ended.stderr
    assert [row["rows"] for row in json.loads(ended.stdout)["views"]] == [1]


def test_part_of_a_swapped_view_is_refused_as_bad_usage(shop: Shop) -> None:
    ended = shop("refresh", "run", "item_profile", "--since", "last")
    assert (ended.code, "it is swapped" in ended.stderr) == (2, True)
    ended = shop("refresh", "run", "item_sales", "--since", "sunday")
    assert (ended.code, "--since takes `last` or a time" in ended.stderr) == (2, True)


def test_view_is_rolled_back_and_refreshed_again(shop: Shop) -> None:
    assert shop("refresh", "run", "item_profile").code == 0
    assert "view item_profile is back at generation 1" in shop("refresh", "rollback", "item_profile").stdout
    assert "written in place" in shop("refresh", "rollback", "item_sales").stderr
    assert shop("refresh", "run", "item_profile").code == 0
