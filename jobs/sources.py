"""The application's sources as tables of one query engine (Ibis on DuckDB). Each is registered the first time
a query needs it, so that a broken source stops only the views that read it. `view_query.py` comes next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import duckdb
import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa
from forebay.errors import Error, InvalidRequest, NotUsable

from jobs.executors import Executors
from jobs.query_tables import QueryError, first_paragraph, tables_named
from registry.definitions import Batch, Source

_epoch_us = ibis.udf.scalar.builtin(
    lambda at: at, name="epoch_us", signature=((dt.Timestamp(timezone="UTC"),), dt.int64)
)
"""The engine's own function: microseconds since 1970."""

DEFAULT_MEMORY_BYTES = 1 << 30
"""What the engine keeps in memory at most, before it goes on on disk."""


class Sources:
    """The tables that a batch may name. A context manager: the engine's memory and disk are freed at the end.

    File paths are relative to `root`, in a source's `parquet` and `csv` and inside SQL.
    """

    def __init__(
        self, sources: Mapping[str, Source], root: Path, memory_bytes: int = DEFAULT_MEMORY_BYTES
    ) -> None:
        self._sources = sources
        self._root = root
        self._registered: set[str] = set()
        self._engine: Any
        self._spill = TemporaryDirectory(prefix="forebay-spill-")
        self._engine = ibis.duckdb.connect(
            memory_limit=f"{memory_bytes // 1024}KiB", temp_directory=self._spill.name
        )
        quoted_root = str(root).replace("'", "''")
        self._engine.raw_sql(f"SET file_search_path = '{quoted_root}'")
        self._engine.raw_sql("SET TimeZone = 'UTC'")
        self._engine.raw_sql("SET enable_progress_bar = false")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the engine's memory and disk."""
        self._engine.disconnect()
        self._spill.cleanup()

    @property
    def executors(self) -> Executors | None:
        """What writes rows where they are computed; None where that is here."""
        return None

    def table(self, batch: Batch, *, wanted_by: str) -> Any:
        """Return the Ibis table that a view's batch reads; nothing is run yet.

        Raises: InvalidRequest where the application file is wrong (SQL, names of tables and columns);
        NotUsable where the data is (a missing file, one that can't be read).
        """
        if batch.sql is not None:
            return self._query(batch.sql, f"{wanted_by}.batch.sql", within=())
        return self.named(batch.source or "")

    def named(self, name: str) -> Any:
        """Return the Ibis table of a declared source; nothing is run yet. Raises: as `table`."""
        self._register(name, within=())
        with translated(f"source {name}"):
            return self._engine.table(name)

    @contextmanager
    def rows(self, sql: str, chunk_rows: int, *, place: str) -> Iterator[pa.RecordBatchReader]:
        """Give a reader of the rows of `sql`, in the order that it asks for; streamed, in record batches.

        Raises: as `table`, errors led by `place`; those of running the query too.
        """
        self._query(sql, place, within=())
        with translated(place):
            reader = self._engine.raw_sql(sql).fetch_record_batch(chunk_rows)
            try:
                yield reader
            finally:
                reader.close()

    def file(self, path: Path, name: str) -> Any:
        """Return a Parquet file that a job wrote as an Ibis table, under a name that no source has."""
        return self._engine.read_parquet(path, table_name=name)

    def micros(self, column: Any) -> Any:
        """Return an event time as int64 microseconds, UTC; a time without a zone is taken as UTC."""
        if column.type().is_integer():
            return column.cast("int64")
        return _epoch_us(column.cast(dt.Timestamp(timezone="UTC")))

    def newest_by(self, asked: Any, rows: Any, times: tuple[str, str], same: Sequence[Any]) -> Any:
        """Return `asked`, each row with the newest of `rows` that is as `same` says, and whose time isn't
        later; nulls where there is none. `times` are the columns of both; rows of one key differ in theirs.

        Cost: when it is run, a sort of each side.
        """
        of_asked, of_rows = times
        return asked.asof_join(rows, on=asked[of_asked] >= rows[of_rows], predicates=list(same))

    def fetched(self, table: Any, *, place: str) -> pa.Table:
        """Return the few rows of an expression. Raises: as `rows`."""
        with translated(place):
            return self._engine.raw_sql(str(ibis.to_sql(table, dialect="duckdb"))).fetch_arrow_table()

    def write(self, table: Any, path: Path, *, place: str) -> None:
        """Run an expression and write its rows, in its order, as one Parquet file.

        Raises: as `rows`. Cost: streamed; what is sorted, grouped and joined spills to disk.
        """
        target = str(path).replace("'", "''")
        with translated(place):
            query = ibis.to_sql(table, dialect="duckdb")
            self._engine.raw_sql(f"COPY ({query}) TO '{target}' (FORMAT parquet)")

    def event_time_of(self, batch: Batch) -> str:
        """Return the column that a batch's rows carry their event time in, where they have one."""
        source = self._sources.get(batch.source or "")
        return (source.event_time if source else None) or "event_time"

    def _register(self, name: str, within: tuple[str, ...]) -> None:
        if name in within:
            raise InvalidRequest(f"sources.{name}: reads itself ({' -> '.join((*within, name))})")
        source = self._sources.get(name)
        if source is None or name in self._registered:
            return
        place = f"sources.{name}"
        with translated(place):
            if source.sql is not None:
                self._create_view(name, self._query(source.sql, f"{place}.sql", (*within, name)))
            else:
                self._read_file(name, source)
        self._registered.add(name)

    def _create_view(self, name: str, table: Any) -> None:
        self._engine.create_view(name, table)

    def _read_file(self, name: str, source: Source) -> None:
        if source.parquet is not None:
            self._engine.read_parquet(self._path(source.parquet), table_name=name)
        elif source.csv is not None:
            self._engine.read_csv(self._path(source.csv), table_name=name)

    def _query(self, sql: str, place: str, within: tuple[str, ...]) -> Any:
        try:
            read = sources_among(tables_named(sql), self._sources)
        except QueryError as error:
            raise InvalidRequest(f"{place}: {error}") from error
        for name in read:
            self._register(name, within)
        return self._select(sql, place, read)

    def _select(self, sql: str, place: str, read: list[str]) -> Any:
        """Return a query that reads the sources `read`, which are registered."""
        with translated(place):
            try:
                self._check_names(sql, place)
                return self._engine.sql(sql)
            except duckdb.CatalogException as error:
                raise InvalidRequest(f"{place}: {self._unknown(error)}") from error
            except duckdb.BinderException as error:
                # The query is well formed, but the data isn't what it expects: say what the data is.
                raise InvalidRequest(f"{place}: {first_paragraph(error)}{self._described(read)}") from error

    def _check_names(self, sql: str, place: str) -> None:
        """Refuse two columns of one name: which of them is read would be anybody's guess."""
        names = [name.lower() for name in self._engine.con.sql(sql).columns]
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                many = f"column {name} is returned {names.count(name)} times"
                raise InvalidRequest(f"{place}: {many}; name each apart, or join by USING")

    def _unknown(self, error: duckdb.CatalogException) -> str:
        """Return what the engine doesn't know; of tables, which sources there are: its own are none."""
        says = first_paragraph(error)
        if "Table with name" not in says:
            return says
        return f"{says.partition(' Did you mean')[0]} The sources are {', '.join(self._sources) or 'none'}"

    def _described(self, names: list[str]) -> str:
        tables = {name: ", ".join(self._engine.table(name).columns) for name in names}
        return "".join(f"; source {name} has the columns {columns}" for name, columns in tables.items())

    def _path(self, text: str) -> str:
        return text if "://" in text else str(self._root / text)


def load_engine() -> None:
    """Load the engine's modules: a tenth of a second, which else the first `Sources` takes, in the middle of
    what is timed and may be waited for."""
    _ = ibis.duckdb


def sources_among(tables: Iterable[str], sources: Mapping[str, Source]) -> list[str]:
    """Return the sources that `tables` are; the engine takes no account of case."""
    folded = {name.lower(): name for name in sources}
    return [folded[table.lower()] for table in tables if table.lower() in folded]


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn the engine's errors into ours, led by the `place` in the application file that they come from."""
    try:
        yield
    except Error:
        raise
    except (duckdb.ParserException, duckdb.CatalogException) as error:
        raise InvalidRequest(f"{place}: {first_paragraph(error)}") from error
    except duckdb.OutOfMemoryException as error:
        remedy = "give the engine more memory (refresh.engine_memory_bytes)"
        raise NotUsable(f"{place}: {first_paragraph(error).partition(' Possible')[0]}: {remedy}") from error
    except duckdb.Error as error:
        raise NotUsable(f"{place}: {first_paragraph(error)}") from error
    except ibis.common.exceptions.IbisError as error:
        raise InvalidRequest(f"{place}: {first_paragraph(error)}") from error
    except OSError as error:
        raise NotUsable(f"{place}: {error}") from error
