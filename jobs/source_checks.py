"""What `forebay apply` says of an application's queries and files. What a query says by itself is an error,
and so is a column of a type that the view can't hold; a file or a column that isn't there is a warning, since
they are written anew. Models are in `model_checks.py`; the refresh itself reads through `sources.py`."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path

from forebay.errors import Error

from feature_store.schema import Feature, FeatureView, RowSchema
from feature_store.types import KeyField
from jobs.query_tables import QueryError, tables_named
from jobs.sources import Sources, sources_among
from jobs.view_query import ViewQuery, WrongColumns
from registry.definitions import Application, RetrieveFallback
from registry.problems import FilePath, suggestion
from registry.scope import Scope

_SCHEMA_ID = 0
"""Of a view that isn't stored: its rows are never written."""


def check_sources(scope: Scope, root: Path) -> None:
    """Report SQL that can't run, whatever the data, as errors; missing files and columns as warnings.

    Cost: reads the files' columns where the queries are right.
    """
    checks = _Checks(scope, root)
    checks.check_queries()
    checks.check_cycles()
    checks.check_files()
    checks.check_columns()


class _Checks:
    def __init__(self, scope: Scope, root: Path) -> None:
        self._scope = scope
        self._sources = scope.application.sources
        self._root = root
        self._reads: dict[FilePath, list[str]] = {}
        """Which sources each query reads, by the query's place in the file; only of those that are right."""
        self._unusable: set[str] = set()
        """Sources that can't be read now."""

    def check_queries(self) -> None:
        for path, sql in _queries(self._scope.application):
            try:
                tables = tables_named(sql)
            except QueryError as error:
                self._scope.report(path, str(error))
                continue
            read = sources_among(tables, self._sources)
            known = {name.lower() for name in read}
            unknown = [table for table in tables if table.lower() not in known and not _is_file(table)]
            for table in unknown:
                self._scope.report(path, f"unknown table {table!r}: {suggestion(table, self._sources)}")
            if not unknown:
                self._reads[path] = read

    def check_cycles(self) -> None:
        done: set[str] = set()

        def follow(name: str, within: tuple[str, ...]) -> None:
            if name in within:
                cycle = (*within[within.index(name) :], name)
                self._scope.report(_sql_of(name), f"reads itself ({' -> '.join(cycle)})")
                self._unusable.update(cycle)
            elif name not in done:
                for read in self._reads.get(_sql_of(name), ()):
                    follow(read, (*within, name))
                done.add(name)

        for name in self._sources:
            follow(name, ())

    def check_files(self) -> None:
        for name, source in self._sources.items():
            for kind, text in (("parquet", source.parquet), ("csv", source.csv)):
                if text is None:
                    continue
                if _is_remote(text):
                    self._unusable.add(name)
                elif not glob.glob(str(self._root / text), recursive=True):  # noqa: PTH207  it may be absolute
                    self._unusable.add(name)
                    self._scope.report(
                        ("sources", name, kind),
                        f"there is no file {self._root / text}: a refresh needs it",
                        "warning",
                    )

    def check_columns(self) -> None:
        """Plan each view's query over the files that are there."""
        application = self._scope.application
        with Sources(self._sources, self._root) as tables:
            for name, view in application.views.items():
                if view.batch is None or not self._is_readable(name):
                    continue
                try:
                    ViewQuery(tables, _unstored(application, name), view.batch)
                except Error as error:
                    place = "sql" if view.batch.sql is not None else "source"
                    for line in error.message.splitlines():
                        # A column may come with the next file; one of another type was written otherwise.
                        misfit = isinstance(error, WrongColumns) and line in error.misfits
                        self._scope.report(
                            ("views", name, "batch", place),
                            _without_place(line, name),
                            "error" if misfit else "warning",
                        )

    def _is_readable(self, view: str) -> bool:
        batch = self._scope.application.views[view].batch
        assert batch is not None
        if batch.sql is None:
            return self._is_usable(batch.source or "")
        return self._is_usable_query(("views", view, "batch", "sql"), batch.sql)

    def _is_usable(self, source: str) -> bool:
        if source in self._unusable:
            return False
        sql = self._sources[source].sql
        return sql is None or self._is_usable_query(_sql_of(source), sql)

    def _is_usable_query(self, path: FilePath, sql: str) -> bool:
        return not _is_remote(sql) and path in self._reads and all(map(self._is_usable, self._reads[path]))


def _queries(application: Application) -> Iterator[tuple[FilePath, str]]:
    for name, source in application.sources.items():
        if source.sql is not None:
            yield _sql_of(name), source.sql
    for name, view in application.views.items():
        if view.batch is not None and view.batch.sql is not None:
            yield ("views", name, "batch", "sql"), view.batch.sql
    for name, pipeline in application.pipelines.items():
        fallback = pipeline.degrade.retrieve
        if isinstance(fallback, RetrieveFallback) and fallback.candidates.sql is not None:
            where = ("pipelines", name, "degrade", "retrieve", "candidates", "sql")
            yield where, fallback.candidates.sql


def _sql_of(source: str) -> FilePath:
    return ("sources", source, "sql")


def _is_remote(text: str) -> bool:
    """Return whether another machine would have to be asked: that is left to the refresh."""
    return "://" in text


def _is_file(table: str) -> bool:
    """Return whether the engine would look for a file of that name."""
    return any(mark in table for mark in "./*")


def _unstored(application: Application, name: str) -> FeatureView:
    """Return the view as its query has to fill it."""
    view = application.views[name]
    features = tuple(Feature(feature, declared.dtype) for feature, declared in view.features.items())
    key = application.entities[view.entity].key
    return FeatureView(
        name=name,
        view_id=0,
        entity=view.entity,
        entity_id=0,
        key=tuple(KeyField(field, dtype) for field, dtype in key.items()),
        schema=RowSchema(_SCHEMA_ID, features),
    )


def _without_place(message: str, view: str) -> str:
    """Return a query's error without the place that the report names."""
    for place in (f"views.{view}.batch.sql: ", f"views.{view}.batch: "):
        message = message.removeprefix(place)
    return message
