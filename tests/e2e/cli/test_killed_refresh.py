"""A refresh that is killed with SIGKILL half way leaves what was live as it was. The next one goes on with it
where the source is the same, and else removes what it wrote."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from runtime.embedded_store import TemporaryStore
from tests.support.wide_application import COLUMNS, WideApplication

ROWS = 70_000


@pytest.fixture
def wide(tmp_path: Path) -> Iterator[WideApplication]:
    with TemporaryStore() as store:
        application = WideApplication(tmp_path, store.url)
        application.write(ROWS)
        application.apply()
        yield application


def check_rows(wide: WideApplication, generation: int) -> None:
    """Compare every stored row of a generation, and that there are no others, with the source."""
    table = pq.read_table(wide.directory / "items.parquet")
    wanted = np.stack([table[f"f{number}"].to_numpy() for number in range(COLUMNS)], axis=1)
    rows = {key: row for key, row in wide.rows().items() if key.endswith(f":{generation}".encode())}
    assert len(rows) == len(wanted)
    for key, row in rows.items():
        item = int(key[key.index(b":") + 1 : key.index(b"}")])
        assert row[-4 * COLUMNS :] == struct.pack(f"<{COLUMNS}f", *wanted[item])


@pytest.mark.slow
def test_rows_are_those_of_the_source_when_ten_refreshes_were_killed_anywhere(wide: WideApplication) -> None:
    wide.refreshed()
    random = np.random.default_rng()
    started_s = time.perf_counter()
    wide.refreshed()
    took_s = time.perf_counter() - started_s
    killed = 0
    for attempt in range(10):
        if attempt % 3 == 0:
            wide.write(ROWS, seed=attempt)
        killed += wide.refresh_killed_after(took_s * random.uniform(0.4, 1))
    assert killed > 0
    last = wide.refreshed()["views"][0]["generation"]
    check_rows(wide, last)
    kept = {key.rpartition(b":")[2] for key in wide.rows()}
    listed = {key.rpartition(b":")[2] for key in wide.others() if key.count(b":") == 4}
    assert kept == {key for key in listed if key.isdigit()}
    assert {record["status"] for record in wide.batches()} <= {"done", "failed"}


def test_next_refresh_goes_on_when_one_was_killed_and_the_source_is_the_same(wide: WideApplication) -> None:
    noted = wide.killed_refresh(chunks=3, generation=1)
    [record] = wide.batches()
    assert record["status"] == "running"
    outcome = wide.refreshed()
    [view] = outcome["views"]
    assert (outcome["batch"], view["generation"], view["rows"]) == (record["id"], 1, ROWS)
    assert view["resumed"] >= (noted - 1) * 10_000
    check_rows(wide, 1)
    [record] = wide.batches()
    assert (record["status"], record["resumed"], record["row_count"]) == ("done", 1, ROWS)
    assert not [key for key in wide.others() if b":holder:" in key]


def test_rows_of_a_killed_refresh_are_removed_when_the_source_has_changed(wide: WideApplication) -> None:
    wide.killed_refresh(chunks=3, generation=1)
    wide.write(1_000, seed=2)
    outcome = wide.refreshed()
    assert [view["resumed"] for view in outcome["views"]] == [0]
    assert outcome["views"][0]["generation"] == 2
    assert len(wide.rows()) == 1_000
    check_rows(wide, 2)
    done, killed = wide.batches()
    assert (done["status"], killed["status"]) == ("done", "failed")
    assert "its process ended without a word" in killed["error"]
    assert not [key for key in wide.others() if key.endswith(b":1") and key.count(b":") == 4]


@pytest.mark.slow
def test_live_generation_stays_when_the_next_is_killed_twice(wide: WideApplication) -> None:
    wide.refreshed()
    wide.write(ROWS, seed=3)
    wide.killed_refresh(chunks=3, generation=2)
    wide.killed_refresh(chunks=5, generation=2)
    with_live = {key for key in wide.rows() if key.endswith(b":1")}
    assert len(with_live) == ROWS
    outcome = wide.refreshed()
    assert outcome["views"][0]["resumed"] > 0
    check_rows(wide, 2)
    assert len(wide.rows()) == 2 * ROWS
    wide.done("refresh", "rollback", "wide", "--app", "wide")
    assert wide.refreshed()["views"][0]["generation"] == 3
