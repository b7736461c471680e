"""A view's query is checked before it runs, and yields one row per key: the newest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forebay.errors import InvalidRequest, NotUsable

from feature_store.schema import Feature, FeatureView, RowSchema
from feature_store.types import KeyField
from jobs.sources import Sources
from jobs.view_query import RowCounts, ViewQuery
from registry.definitions import Batch, Source
from registry.dtypes import DType

VIEW = FeatureView(
    name="profile",
    view_id=1,
    entity="movie",
    entity_id=1,
    key=(KeyField("movie_id", DType.parse("int64")),),
    schema=RowSchema(1, (Feature("year", DType.parse("float32")), Feature("title", DType.parse("string")))),
)
ALL = Batch(source="movies")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    movies = {"movie_id": [1, 2, 3], "year": [1995, None, 2001], "title": ["Toy Story", "Heat", None]}
    pq.write_table(pa.table(movies), tmp_path / "movies.parquet")
    (tmp_path / "movies.csv").write_text("movie_id,year,title\n7,1999,Matrix\n")
    return tmp_path


def read(root: Path, batch: Batch, view: FeatureView = VIEW, **sources: Source) -> tuple[RowCounts, pa.Table]:
    sources = {"movies": Source(parquet="movies.parquet"), **sources}
    with Sources(sources, root) as tables:
        query = ViewQuery(tables, view, batch)
        counts = query.count()
        return counts, pa.Table.from_batches(list(query.batches(counts, 2)))


def rows(table: pa.Table) -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=lambda row: row["movie_id"])


def test_rows_are_read_when_the_source_is_parquet(root: Path) -> None:
    counts, table = read(root, ALL)
    assert counts == RowCounts(returned=3, keyless=0, repeated=0)
    assert [row["title"] for row in rows(table)] == ["Toy Story", "Heat", None]


def test_rows_come_a_few_at_a_time_and_as_they_are_taken(root: Path) -> None:
    """What a refresh holds doesn't grow with its source; `slow` tests measure it."""
    many = range(200_000)
    pq.write_table(
        pa.table({"movie_id": many, "year": many, "title": [""] * len(many)}), root / "many.parquet"
    )
    with Sources({"movies": Source(parquet="many.parquet")}, root) as tables:
        query = ViewQuery(tables, VIEW, ALL)
        batches = query.batches(query.count(), 10_000)
        assert not isinstance(batches, list)
        sizes = [len(next(batches)) for _ in range(3)]
        sizes += [len(batch) for batch in batches]
    assert max(sizes) <= 10_000
    assert sum(sizes) == len(many)


def test_rows_are_read_when_the_source_is_csv(root: Path) -> None:
    _, table = read(root, ALL, movies=Source(csv="movies.csv"))
    assert rows(table) == [{"movie_id": 7, "year": 1999, "title": "Matrix"}]


def test_sql_reads_sources_that_are_sql_over_other_sources(root: Path) -> None:
    recent = Source(sql="select * from old_and_new where year > 2000")
    both = Source(sql="select * from movies")
    _, table = read(root, Batch(sql="select * from recent"), recent=recent, old_and_new=both)
    assert [row["movie_id"] for row in rows(table)] == [3]


def test_files_are_found_beside_the_application_when_sql_names_them(root: Path) -> None:
    _, table = read(root, Batch(sql="select * from 'movies.parquet' where movie_id = 1"))
    assert len(table) == 1


def test_rows_without_a_key_are_left_out_and_counted(root: Path) -> None:
    sql = "select * from movies union all select null, 1, 'nobody'"
    counts, table = read(root, Batch(sql=sql))
    assert counts == RowCounts(returned=4, keyless=1, repeated=0)
    assert len(table) == counts.loadable == 3


def test_newest_row_is_kept_when_keys_repeat(root: Path) -> None:
    sql = """
        select 1 as movie_id, 1.0 as year, 'old' as title, timestamp '2020-01-01' as event_time
        union all select 1, 2.0, 'new', timestamp '2021-01-01'
        union all select 1, 3.0, 'older', timestamp '2019-01-01'
    """
    counts, table = read(root, Batch(sql=sql))
    assert counts == RowCounts(returned=3, keyless=0, repeated=2)
    assert [row["title"] for row in rows(table)] == ["new"]


def test_event_time_is_the_column_that_the_source_names(root: Path) -> None:
    sources = {
        "movies": Source(
            sql="select 1 as movie_id, 1.0 as year, 'a' as title, now() as seen", event_time="seen"
        )
    }
    with Sources(sources, root) as tables:
        assert ViewQuery(tables, VIEW, ALL).event_time == "seen"


def test_every_wrong_column_is_named_when_the_source_does_not_fit(root: Path) -> None:
    source = Source(sql="select 1.5 as movie_id, 'x' as year, 2 as other")
    with pytest.raises(NotUsable) as caught:
        read(root, ALL, movies=source)
    problems = caught.value.message.splitlines()
    assert "source movies has no column title" in problems[0]
    assert "movie_id, year, other" in problems[0]
    assert "column movie_id of source movies can't be int64" in problems[1]
    assert "column year of source movies can't be float32" in problems[2]


def test_columns_of_the_source_are_named_when_sql_expects_another(root: Path) -> None:
    with pytest.raises(
        InvalidRequest, match=r"views.profile.batch.sql: .*yeer.*movies has the columns movie_id, year"
    ):
        read(root, Batch(sql="select movie_id, yeer as year, title from movies"))


def test_application_file_is_at_fault_when_sql_does_not_parse(root: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"views.profile.batch.sql: "):
        read(root, Batch(sql="selec movie_id from movies"))


def test_application_file_is_at_fault_when_sql_names_no_source(root: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"nowhere does not exist! The sources are movies$"):
        read(root, Batch(sql="select * from nowhere"))


def test_source_is_found_when_sql_writes_it_in_another_case(root: Path) -> None:
    assert read(root, Batch(sql="select * from MOVIES"))[0].returned == 3


@pytest.mark.parametrize("sql", ["select 1; select 2", "drop table movies", "create table a as select 1"])
def test_application_file_is_at_fault_when_sql_is_not_one_query(root: Path, sql: str) -> None:
    with pytest.raises(InvalidRequest, match=r"views.profile.batch.sql: must be one query"):
        read(root, Batch(sql=sql))


def test_part_of_a_query_is_no_source_when_it_has_the_name_of_one(root: Path) -> None:
    movies = Source(
        sql="with movies as (select * from 'movies.parquet') select * from movies where movie_id = 1"
    )
    assert read(root, ALL, movies=movies)[0].returned == 1


def test_cycle_is_named_when_sources_read_each_other(root: Path) -> None:
    one, two = Source(sql="select * from two"), Source(sql="select * from one")
    with pytest.raises(InvalidRequest, match="one -> two -> one"):
        read(root, Batch(source="one"), one=one, two=two)


def test_data_is_at_fault_when_a_file_is_missing(root: Path) -> None:
    with pytest.raises(NotUsable, match=r"sources.movies: .*nothing.parquet"):
        read(root, ALL, movies=Source(parquet="nothing.parquet"))


def test_data_is_at_fault_when_a_file_is_no_parquet(root: Path) -> None:
    (root / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(NotUsable, match=r"sources.movies: "):
        read(root, ALL, movies=Source(parquet="bad.parquet"))


def test_broken_source_is_not_touched_when_the_view_does_not_read_it(root: Path) -> None:
    counts, _ = read(root, ALL, broken=Source(parquet="nothing.parquet"))
    assert counts.returned == 3


def test_rows_are_counted_by_all_fields_when_the_key_has_several(root: Path) -> None:
    key = (KeyField("movie_id", DType.parse("int64")), KeyField("title", DType.parse("string")))
    view = replace(VIEW, key=key, schema=RowSchema(1, (Feature("year", DType.parse("float32")),)))
    sql = "select 1 as movie_id, title, 1.0 as year from (values ('a'), ('a'), ('b'), (null)) as names(title)"
    counts, table = read(root, Batch(sql=sql), view)
    assert counts == RowCounts(returned=4, keyless=1, repeated=1)
    assert sorted(table["title"].to_pylist()) == ["a", "b"]
