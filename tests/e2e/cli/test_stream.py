"""`forebay stream` as a person uses it: publish, run, status, dead letters, backfill; and its exit codes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.embedded_store import TemporaryStore
from tests.support.served_application import forebay
from tests.support.trend_application import WITH_HISTORY, Event, some_events, write_past


@pytest.fixture(scope="module")
def events() -> list[Event]:
    found = some_events(300, time.time_ns() // 1000 - 60_000_000)
    return sorted(found, key=lambda event: event["rated_at"])


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory, events: list[Event]) -> Iterator[tuple[Path, str]]:
    directory = tmp_path_factory.mktemp("stream")
    (directory / "trend.yaml").write_text(WITH_HISTORY)
    write_past(directory, events[:200])
    with TemporaryStore() as store:
        assert forebay(directory, store.url, "apply", "trend.yaml").returncode == 0
        yield directory, store.url


def stream(applied: tuple[Path, str], *args: str, code: int = 0) -> str:
    ended = forebay(*applied, "stream", *args)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout if code == 0 else ended.stderr


def status(applied: tuple[Path, str]) -> Any:
    [found] = json.loads(stream(applied, "status", "--json"))
    return found


def test_stream_is_published_run_and_looked_at(applied: tuple[Path, str], events: list[Event]) -> None:
    directory, _ = applied
    assert {view["history"] for view in status(applied)["views"]} == {"waiting"}
    lines = [json.dumps(event) for event in events[150:]] + ['{"user_id": 5, "rating": "NaN"}']
    (directory / "new.jsonl").write_text("\n".join(lines))
    assert stream(applied, "publish", "ratings", "new.jsonl") == "published 151 events on stream ratings\n"
    assert status(applied)["lag_events"] == 151
    said = stream(applied, "run", "--once").splitlines()
    assert said[0].startswith("ready worker=")
    assert said[1:] == [
        "history of user_trend: 200 applied",
        "history of movie_trend: 200 applied",
        "stream ratings: 200 applied, 100 covered, 1 invalid",
    ]
    found = status(applied)
    assert (found["lag_events"], found["dead_letters"]) == (0, 1)
    assert all(view["age_s"] < 60 for view in found["views"])
    [letter] = json.loads(stream(applied, "dead-letters", "ratings", "--json"))
    assert letter["reason"] == "movie_id is missing"
    assert letter["event"] == [["user_id", "5"], ["rating", "NaN"]]
    assert stream(applied, "dead-letters", "ratings", "--requeue", letter["letter"]) == "requeued 1\n"
    assert stream(applied, "dead-letters", "ratings") == "no dead letters\n"
    assert "1 invalid" in stream(applied, "run", "ratings", "--once")
    assert "movie_id is missing" in stream(applied, "dead-letters", "ratings")
    assert "ratings" in stream(applied, "status")


def test_table_is_published_in_the_order_of_time_when_it_is_a_file(applied: tuple[Path, str]) -> None:
    said = stream(applied, "publish", "ratings", "past.parquet", "--speed", "1000000x", "--limit", "50")
    assert said == "published 50 events on stream ratings\n"
    said = stream(applied, "publish", "ratings", "past.parquet", "--times", "now", "--limit", "7")
    assert said == "published 7 events on stream ratings\n"
    assert "14 applied" in stream(applied, "run", "--once")


def test_view_gets_new_rows_when_its_history_is_read_anew(applied: tuple[Path, str]) -> None:
    assert "is live" in stream(applied, "backfill", "movie_trend", "--anew")
    assert {one["view"]: one["history"] for one in status(applied)["views"]}["movie_trend"] == "waiting"
    assert "history of movie_trend: 200 applied" in stream(applied, "run", "--once")


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("publish", "ratings", "none.jsonl"), 2, "there is no file"),
        (("publish", "rating", "past.parquet"), 2, "its streams: ratings"),
        (("publish", "ratings", "bad.jsonl"), 2, "line 2 is no JSON"),
        (("publish", "ratings", "late.jsonl"), 2, "before this:\nerror: line"),
        (("publish", "ratings", "keyless.jsonl"), 2, "event 1 has no user_id"),
        (("publish", "ratings", "past.parquet", "--speed", "0x"), 2, "--speed"),
        (("run", "rating", "--once"), 2, "its streams: ratings"),
        (("status", "rating"), 2, "its streams: ratings"),
        (("dead-letters", "ratings", "--requeue", "7"), 2, "PARTITION/ID"),
        (("dead-letters", "ratings", "--requeue", "0/1-1"), 2, "no dead letter"),
        (("backfill", "movies", "--anew"), 1, "no view"),
    ],
)
def test_command_refuses_when_it_is_told_nonsense(
    applied: tuple[Path, str], args: tuple[str, ...], code: int, says: str
) -> None:
    directory, _ = applied
    (directory / "bad.jsonl").write_text('{"user_id": 1}\nnot\n')
    (directory / "keyless.jsonl").write_text('{"movie_id": 1}\n')
    event = '{"user_id": 1, "movie_id": 1, "rated_at": 1}\n'
    (directory / "late.jsonl").write_text(event * 2_000 + "not\n")
    assert says in stream(applied, *args, code=code)
