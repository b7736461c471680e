"""An application whose stream of ratings feeds two views: one of the key that it is partitioned by, one of
another. Its events, and a recount of their rows from the events alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.keys import row_keys
from feature_store.schema import feature_view
from feature_store.windows.covering import tile_number
from feature_store.windows.ring_row import unpack_ring
from jobs.stream.partitions import events_key, partition_of
from registry.application_file import load_application_file
from registry.registry import Registry
from runtime.clock import SystemClock
from runtime.redis_connection import RedisConnection

APP = "trend"
YAML = """\
app: trend
entities:
  user:  {key: {user_id: int64}}
  movie: {key: {movie_id: int64}}
sources:
  past: {parquet: past.parquet, event_time: rated_at}
streams:
  ratings:
    redis: {stream: ratings, partitions: 4}
    fields: {user_id: int64, movie_id: int64, rating: float32, rated_at: timestamp}
    event_time: rated_at
    partition_by: user_id
views:
  user_trend:
    entity: user
    stream: ratings
    windows:
      ratings_2h: {count: rating, over: 2h, tile: 10m}
      mean_2h: {mean: rating, over: 2h, tile: 10m}
    max_age: 1m
  movie_trend:
    entity: movie
    stream: ratings
    windows:
      ratings_1h: {count: rating, over: 1h, tile: 10m}
      sum_1h: {sum: rating, over: 1h, tile: 10m}
      least_2h: {min: rating, over: 2h, tile: 20m}
      last_2h: {last: rating, over: 2h, tile: 20m}
    max_age: 1m
"""
WITH_HISTORY = YAML.replace("    partition_by: user_id\n", "    partition_by: user_id\n    history: past\n")
PARTITIONS = 4
USERS, MOVIES = 30, 20
TILE_US = 600_000_000
HOUR_US = 3_600_000_000
KEYS = {"user_trend": "user_id", "movie_trend": "movie_id"}

Event = dict[str, Any]


def some_events(count: int, now_us: int, seed: int = 1, span_us: int = HOUR_US) -> list[Event]:
    """Return events of the last `span_us` in a random order of time; no two at one instant."""
    random = np.random.default_rng(seed)
    times = now_us - random.choice(span_us, count, replace=False)
    return [
        {
            "user_id": int(random.integers(1, USERS + 1)),
            "movie_id": int(random.integers(1, MOVIES + 1)),
            "rating": float(random.integers(1, 11)) / 2,
            "rated_at": int(at),
        }
        for at in times
    ]


def write_past(directory: Path, events: Sequence[Event]) -> None:
    """Write events as the history's file."""
    table: dict[str, Any] = {name: [event[name] for event in events] for name in ("user_id", "movie_id")}
    table["rating"] = pa.array([event["rating"] for event in events], pa.float32())
    table["rated_at"] = pa.array([event["rated_at"] for event in events], pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table(table), directory / "past.parquet")


@dataclass(frozen=True)
class Trend:
    """The application in a store."""

    directory: Path
    connection: RedisConnection

    @property
    def registry(self) -> Registry:
        return Registry(self.connection, APP, SystemClock())

    async def apply(self, text: str = YAML) -> None:
        """Apply the application file."""
        file = self.directory / "trend.yaml"
        file.write_text(text)
        loaded = load_application_file(file)
        await self.registry.apply(loaded.application, loaded.root)

    async def publish(self, events: Iterable[Event]) -> None:
        """Put events where they belong, as any producer would."""
        commands = [
            ("XADD", events_key(APP, "ratings", _partition(event)), "*", *_flat(event)) for event in events
        ]
        for start in range(0, len(commands), 1_000):
            await self.connection.execute_many(commands[start : start + 1_000])

    async def add(self, partition: int, *fields: bytes | str, name: str = "*") -> None:
        """Put one entry of any form on a partition."""
        await self.connection.execute("XADD", events_key(APP, "ratings", partition), name, *fields)

    async def tiles(self, view: str) -> dict[int, dict[int, list[float]]]:
        """Return all rows of a view: by key, the tiles by number."""
        live, plan = await self.registry.live(), await self.registry.live_plan()
        assert live is not None
        assert plan is not None
        definition = feature_view(plan, view)
        assert definition.ring is not None
        keys = list(range(1, max(USERS, MOVIES) + 1))
        names = row_keys(
            definition.entity_id, definition.view_id, live.views[view].generation, [str(key) for key in keys]
        )
        rows = await self.connection.execute("MGET", *names)
        found: dict[int, dict[int, list[float]]] = {}
        for key, row in zip(keys, rows, strict=True):
            if row is not None:
                ring = unpack_ring(definition.ring, row)
                assert ring is not None
                found[key] = ring.tiles
        return found

    async def checkpoint(self, partition: int) -> dict[str, str]:
        """Return what is noted of a partition."""
        reply = await self.connection.execute("HGETALL", f"forebay:{{trend:ratings:{partition}}}:checkpoint")
        return {bytes(k).decode(): bytes(v).decode() for k, v in zip(reply[::2], reply[1::2], strict=True)}

    async def check_recount(self, events: Sequence[Event]) -> None:
        """Compare every tile of every row with a recount from the events."""
        for view in KEYS:
            found, wanted = await self.tiles(view), recount(view, events)
            assert set(found) == set(wanted), view
            for key, tiles in wanted.items():
                assert found[key].keys() == tiles.keys(), (view, key)
                for number, parts in tiles.items():
                    np.testing.assert_allclose(found[key][number], parts, err_msg=f"{view} {key} {number}")


def recount(view: str, events: Sequence[Event]) -> dict[int, dict[int, list[float]]]:
    """Return a view's rows as the events alone make them: the parts as ring_row.py orders them."""
    tiles: dict[int, dict[int, list[Event]]] = {}
    for event in events:
        number = tile_number(int(event["rated_at"]), TILE_US)
        tiles.setdefault(event[KEYS[view]], {}).setdefault(number, []).append(event)
    return {
        key: {number: _parts(view, found) for number, found in by_number.items()}
        for key, by_number in tiles.items()
    }


def _parts(view: str, events: Sequence[Event]) -> list[float]:
    ratings = [event["rating"] for event in events]
    parts = [float(len(ratings)), sum(ratings)]
    if view == "movie_trend":
        last = max(events, key=lambda event: event["rated_at"])
        parts += [min(ratings), last["rating"], float(last["rated_at"])]
    return parts


def _partition(event: Event) -> int:
    return partition_of(str(event["user_id"]), PARTITIONS)


def _flat(event: Event) -> list[str]:
    return [part for name, value in event.items() for part in (name, str(value))]
