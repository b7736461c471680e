"""An application's queries and files before they are applied: what can't run, and what isn't there yet."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.source_checks import check_sources
from registry.application_file import load_application_file

FILE = """\
app: shop
entities:
  item: {key: {item_id: int64}}
sources:
  items: {parquet: items.parquet}
  SOURCES
views:
  bargain:
    entity: item
    batch: {sql: "SQL"}
    features: {price: float32}
"""
SQL = "select item_id, price from items"


def found(root: Path, sql: str = SQL, *sources: str) -> list[tuple[str, str, str]]:
    """Return severity, line and path, and message of each problem."""
    file = root / "app.yaml"
    file.write_text(FILE.replace("SQL", sql).replace("SOURCES", "\n  ".join(sources)))
    loaded = load_application_file(file)
    scope = loaded.scope()
    check_sources(scope, loaded.root)
    return [
        (problem.severity, f"{problem.line} {problem.path}", problem.message) for problem in scope.problems
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    pq.write_table(pa.table({"item_id": [1], "price": [2.0]}), tmp_path / "items.parquet")
    return tmp_path


@pytest.mark.parametrize(
    "sql",
    [
        SQL,
        "select item_id, price from Items;",
        "select item_id, price from 'items.parquet'",
        "select item_id, price from read_parquet('items.parquet')",
        "with cheap as (select * from items where price < 9) select item_id, price from cheap",
        "with recursive n as (select 1 as i union all select i + 1 from n) select i item_id, 1 price from n",
        "from items select item_id, price where item_id in (select i from range(3) as r(i))",
        "select item_id, price from items, (values (1)) as one(x)",
    ],
)
def test_nothing_is_reported_when_the_query_can_run(root: Path, sql: str) -> None:
    assert found(root, sql) == []


def test_unknown_table_is_an_error_with_the_source_that_was_meant(root: Path) -> None:
    sql = "select item_id, price from itemz join (select 1 as z from nothing) as n on true"
    assert found(root, sql) == [
        ("error", "10 views.bargain.batch.sql", "unknown table 'itemz': did you mean 'items'?"),
        ("error", "10 views.bargain.batch.sql", "unknown table 'nothing': known: items"),
    ]


def test_table_is_unknown_when_another_part_of_the_query_defines_it(root: Path) -> None:
    sql = "select item_id, price from items where item_id in (with q as (select 1 as i) select i from q) "
    assert found(root, sql) == []
    [(severity, _, message)] = found(root, sql + "and exists (select 1 from q)")
    assert (severity, message) == ("error", "unknown table 'q': known: items")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("selec item_id from items", "syntax error"),
        ("select item_id from", "syntax error"),
        ("select 1; select 2", "one query"),
        ("drop table items", "one query"),
    ],
)
def test_wrong_syntax_is_an_error(root: Path, sql: str, message: str) -> None:
    [(severity, place, said)] = found(root, sql)
    assert (severity, place) == ("error", "10 views.bargain.batch.sql")
    assert message in said
    assert "\x1b" not in said


def test_cycle_is_an_error_once_when_sources_read_each_other(root: Path) -> None:
    one, two = 'one: {sql: "select * from two"}', 'two: {sql: "select * from ONE, items"}'
    three = 'three: {sql: "select * from one"}'
    assert found(root, SQL, one, two, three) == [
        ("error", "6 sources.one.sql", "reads itself (one -> two -> one)")
    ]
    assert found(root, "select * from three", one, two, three) == [
        ("error", "6 sources.one.sql", "reads itself (one -> two -> one)")
    ]


def test_source_is_checked_when_no_view_reads_it(root: Path) -> None:
    [(severity, place, _)] = found(root, SQL, 'unused: {sql: "selec 1"}')
    assert (severity, place) == ("error", "6 sources.unused.sql")


def test_missing_file_is_a_warning_that_names_its_path(tmp_path: Path) -> None:
    missing = ["more: {csv: data/more-*.csv}", "far: {parquet: s3://bucket/x.parquet}"]
    assert found(tmp_path, SQL, *missing) == [
        (
            "warning",
            "5 sources.items.parquet",
            f"there is no file {tmp_path}/items.parquet: a refresh needs it",
        ),
        ("warning", "6 sources.more.csv", f"there is no file {tmp_path}/data/more-*.csv: a refresh needs it"),
    ]


def test_pattern_is_a_file_when_one_matches(root: Path) -> None:
    assert found(root, "select item_id, price from all_items", "all_items: {parquet: item*.parquet}") == []


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select item_id, prize as price from items", "source items has the columns item_id, price"),
        ("select item_id from items", "the SQL has no column price, which the view needs; it has item_id"),
        ("select item_id, cheapest(price) as price from items", "cheapest"),
    ],
)
def test_column_that_the_data_does_not_give_is_a_warning(root: Path, sql: str, message: str) -> None:
    [(severity, place, said)] = found(root, sql)
    assert (severity, place) == ("warning", "10 views.bargain.batch.sql")
    assert message in said
    assert "views." not in said


def test_column_of_a_type_that_the_view_cannot_hold_is_an_error(root: Path) -> None:
    [(severity, place, said)] = found(root, "select item_id, 'x' as price from items")
    assert (severity, place) == ("error", "10 views.bargain.batch.sql")
    assert "column price of the SQL can't be float32: the column is string" in said


def test_two_columns_of_one_name_are_told(root: Path) -> None:
    [(_, place, said)] = found(root, "select item_id, price, price as price from items")
    assert place == "10 views.bargain.batch.sql"
    assert said == "column price is returned 2 times; name each apart, or join by USING"


def test_nothing_is_asked_of_another_machine(root: Path) -> None:
    assert found(root, "select item_id, price from read_parquet('http://127.0.0.1:1/x.parquet')") == []
