"""The application's sources as tables of Spark, by the same Ibis expressions and the same SQL as on one
machine: queries are written in DuckDB's dialect, and translated. Rows are packed and written by Spark's
executors.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
from forebay.errors import Error, InvalidRequest, NotUsable
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from sqlglot.errors import SqlglotError

from jobs.executors import REPORT_COLUMN, Executors, PartReport, PartWriter, StoreAddress, combined
from jobs.query_tables import first_paragraph
from jobs.sources import Sources, translated
from registry.definitions import Source

_CONFIGURATION = {
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.showConsoleProgress": "false",
    # A part that is written twice notes its keys twice: a part that fails, fails the refresh.
    "spark.task.maxFailures": "1",
    "spark.speculation": "false",
}
_DATA_CONDITIONS = ("PATH_NOT_FOUND", "FAILED_READ_FILE", "UNABLE_TO_INFER_SCHEMA", "CANNOT_READ")


class SparkSources(Sources):
    """Sources on Spark. A session that was there is used, and left; else one is made, and stopped at the
    end."""

    def __init__(self, sources: Mapping[str, Source], root: Path, address: StoreAddress, master: str) -> None:
        self._sources = sources
        self._root = root
        self._registered = set()
        self._address = address
        found = SparkSession.getActiveSession()
        self._session = found or _session(master)
        self._is_own = found is None
        self._engine = ibis.pyspark.connect(self._session)

    def close(self) -> None:
        """Stop the session, where it was made for this."""
        if self._is_own:
            self._session.stop()

    @property
    def executors(self) -> Executors:
        """What writes rows where they are computed."""
        return self

    @property
    def address(self) -> StoreAddress:
        """Where executors write."""
        return self._address

    def run(self, table: Any, writer: PartWriter, *, place: str) -> PartReport:
        with _translated(place):
            parts = self._frame(table).mapInArrow(writer, f"{REPORT_COLUMN} string").collect()
        return combined([PartReport.from_json(part[REPORT_COLUMN]) for part in parts])

    def sample(self, table: Any, rows: int, *, place: str) -> pa.Table:
        with _translated(place):
            found: pa.Table = self._frame(table).limit(rows).toArrow()
            return found

    @contextmanager
    def rows(self, sql: str, chunk_rows: int, *, place: str) -> Iterator[pa.RecordBatchReader]:
        """Give a reader of the rows of `sql`, as Sources.rows; all of them are fetched."""
        found = self.fetched(self._query(sql, place, within=()), place=place)
        yield found.to_reader(max_chunksize=chunk_rows)

    def fetched(self, table: Any, *, place: str) -> pa.Table:
        with _translated(place):
            found: pa.Table = self._frame(table).toArrow()
            return found

    def _frame(self, table: Any) -> Any:
        return self._session.sql(self._engine.compile(table))

    def _select(self, sql: str, place: str, read: list[str]) -> Any:
        with _translated(place):
            return self._engine.sql(sql, dialect="duckdb")

    def _read_file(self, name: str, source: Source) -> None:
        with _translated(f"sources.{name}"):
            if source.parquet is not None:
                self._engine.read_parquet(self._path(source.parquet), table_name=name)
            elif source.csv is not None:
                path = self._path(source.csv)
                self._engine.read_csv(path, table_name=name, header=True, inferSchema=True)

    def _create_view(self, name: str, table: Any) -> None:
        self._frame(table).createOrReplaceTempView(name)


def _session(master: str) -> SparkSession:
    builder = SparkSession.builder.appName("forebay")
    if master:
        builder = builder.master(master)
    for name, value in _CONFIGURATION.items():
        builder = builder.config(name, value)
    if master.startswith("local"):
        builder = builder.config("spark.driver.host", "127.0.0.1").config(
            "spark.driver.bindAddress", "127.0.0.1"
        )
        builder = builder.config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", "8")
    session: SparkSession = builder.getOrCreate()
    if master.startswith("local"):
        # Executors are this interpreter, with the packages of this one.
        session.sparkContext.pythonExec = sys.executable
        session.sparkContext.environment["PYTHONPATH"] = ":".join(filter(None, sys.path))
    return session


@contextmanager
def _translated(place: str) -> Iterator[None]:
    """Turn Spark's errors into ours, led by the `place` in the application file that they come from."""
    try:
        with translated(place):
            yield
    except Error:
        raise
    except PySparkException as error:
        condition = error.getCondition() or ""
        says = first_paragraph(error)
        if type(error).__name__ in ("AnalysisException", "ParseException") and not condition.startswith(
            _DATA_CONDITIONS
        ):
            raise InvalidRequest(f"{place}: {says}") from error
        raise NotUsable(f"{place}: {says}") from error
    except SqlglotError as error:
        raise InvalidRequest(f"{place}: {first_paragraph(error)}") from error
