"""What a refresh reads, in one word: two refreshes of the same word read the same rows. A batch whose process
was killed is only resumed under the word that it began with."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.code_version import code_version
from jobs.load import CHUNK_ROWS
from jobs.query_tables import QueryError, reads_only_names, tables_named
from registry.definitions import Source
from registry.plan import Plan

_LENGTH = 32


def fingerprint(plan: Plan, views: Sequence[str]) -> str:
    """Return the fingerprint of the plan, this code and the files that the views' batches read.

    A file is known by its path, size and time of change. Empty where what is read can't be known beforehand:
    files elsewhere (`s3://...`), table functions in SQL, a file that isn't there. Cost: blocking; looks at
    each file's entry.
    """
    seen = [f"{plan.app} {plan.number} {code_version()} {CHUNK_ROWS} {' '.join(views)}"]
    sources = {name.lower(): source for name, source in plan.application.sources.items()}
    try:
        for view in views:
            batch = plan.application.views[view].batch
            if batch is not None:
                tables = tables_of(batch.sql) if batch.sql else [batch.source or ""]
                seen += _files(tables, sources, Path(plan.root), ())
    except (_Unknowable, QueryError, OSError):
        return ""
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()[:_LENGTH]


def source_files(plan: Plan, source: str) -> str:
    """Return what tells one state of the files that a source is read from from another; empty where what is
    read can't be known beforehand. Cost: as `fingerprint`."""
    sources = {name.lower(): declared for name, declared in plan.application.sources.items()}
    try:
        files = list(_files([source], sources, Path(plan.root), ()))
    except (_Unknowable, QueryError, OSError):
        return ""
    seen = [repr(plan.application.sources[source]), *files]
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()[:_LENGTH]


def definition_of(plan: Plan, view: str, schema_id: int) -> str:
    """Return what identifies how a view's rows are made: its query or source, and its row format."""
    batch = plan.application.views[view].batch
    text = "" if batch is None else f"{batch.sql or ''}\n{batch.source or ''}"
    sources = "\n".join(f"{name} {source!r}" for name, source in sorted(plan.application.sources.items()))
    return hashlib.sha256(f"{schema_id}\n{text}\n{sources}".encode()).hexdigest()[:_LENGTH]


class _Unknowable(Exception):
    """What a query reads isn't known before it runs."""


def tables_of(sql: str) -> list[str]:
    """Return the tables and files that a query reads. Raises: QueryError; where it reads others too."""
    if not reads_only_names(sql):
        raise _Unknowable
    return tables_named(sql)


def _files(
    tables: Sequence[str], sources: dict[str, Source], root: Path, within: tuple[str, ...]
) -> Iterator[str]:
    for table in tables:
        source = sources.get(table.lower())
        if source is None or table.lower() in within:
            yield from _entries(table, root)
        elif source.sql is not None:
            yield from _files(tables_of(source.sql), sources, root, (*within, table.lower()))
        else:
            yield from _entries(source.parquet or source.csv or "", root)


def _entries(pattern: str, root: Path) -> Iterator[str]:
    if "://" in pattern:
        raise _Unknowable
    paths = sorted(glob.glob(str(root / pattern), recursive=True))  # noqa: PTH207  it may be absolute
    if not paths:
        raise _Unknowable
    for path in paths:
        entry = Path(path).stat()
        yield f"{path} {entry.st_size} {entry.st_mtime_ns} {entry.st_ino}"
