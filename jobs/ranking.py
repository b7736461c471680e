"""What a SQL ranking returns: the keys of entities, the most important first, and request features where the
SQL names them. Precomputed answers and fallback candidates are made of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from forebay.errors import InvalidRequest, NotUsable

from jobs.arrow_columns import ColumnError, column_data, refusal
from jobs.combinations import Value
from jobs.sources import Sources
from registry.constants import mismatch
from registry.dtypes import DType

_CHUNK_ROWS = 10_000


@dataclass(slots=True)
class Ranking:
    """The ranked rows, column by column, each row once.

    `keyless` and `repeated` count rows that were left out: those with a null, and those that came before.
    """

    columns: dict[str, list[Value]]
    keyless: int = 0
    repeated: int = 0
    _seen: set[tuple[Value, ...]] = field(default_factory=set)

    @property
    def count(self) -> int:
        return len(self._seen)

    def take(self, row: tuple[Value, ...]) -> None:
        """Append a row that is whole; count it where it has come before."""
        if row in self._seen:
            self.repeated += 1
            return
        self._seen.add(row)
        for values, value in zip(self.columns.values(), row, strict=True):
            values.append(value)


def ranked(
    sources: Sources,
    sql: str,
    limit: int,
    keys: Sequence[str],
    dtypes: Mapping[str, DType],
    report: Callable[[int], None],
    *,
    place: str = "by",
) -> Ranking:
    """Return the first `limit` rows of the query. `dtypes` are all the columns that it may return, `place` is
    where the query stands, for the errors.

    Raises: InvalidRequest for SQL that isn't one query, that lacks a key field, or returns what is no input;
    NotUsable for a column of another type, or a value that doesn't fit it.
    Cost: blocking; stops reading at `limit`. Memory for `limit` rows.
    """
    with sources.rows(sql, _CHUNK_ROWS, place=place) as reader:
        names = list(reader.schema.names)
        _check_columns(names, {field.name: field.type for field in reader.schema}, keys, dtypes, place)
        ranking = Ranking({name: [] for name in names})
        for batch in reader:
            for row in _rows(batch, names, dtypes, place):
                if None in row:
                    ranking.keyless += 1
                    continue
                ranking.take(row)
                if ranking.count >= limit:
                    return ranking
            report(ranking.count)
    return ranking


def _check_columns(
    names: Sequence[str],
    types: Mapping[str, Any],
    keys: Sequence[str],
    dtypes: Mapping[str, DType],
    place: str,
) -> None:
    if len(set(names)) < len(names):
        raise InvalidRequest(f"{place}: the SQL returns a column twice: {', '.join(names)}", field=place)
    missing = [name for name in keys if name not in names]
    unknown = [name for name in names if name not in dtypes]
    if missing or unknown:
        lacks = (
            f"lacks {', '.join(missing)}" if missing else f"returns {', '.join(unknown)}, which is no input"
        )
        raise InvalidRequest(
            f"{place}: the SQL {lacks}; it returns {', '.join(names)}, and has to return {', '.join(keys)}"
            + _allowed(keys, dtypes),
            field=place,
        )
    reasons = {name: refusal(types[name], dtypes[name]) for name in names}
    problems = [
        f"{place}: column {name} can't be {dtypes[name]}: {reason}"
        for name, reason in reasons.items()
        if reason
    ]
    if problems:
        raise NotUsable("\n".join(problems))


def _check_range(name: str, values: Sequence[float], dtype: DType, place: str) -> None:
    """Raises: NotUsable for a number beyond what `dtype` holds; NaN is none."""
    largest = max((abs(value) for value in values if not math.isnan(value)), default=0.0)
    reason = mismatch(largest, dtype)
    if reason is not None:
        raise NotUsable(f"{place}: column {name}: a value {reason}")


def _allowed(keys: Sequence[str], dtypes: Mapping[str, DType]) -> str:
    more = [name for name, dtype in dtypes.items() if name not in keys and not dtype.is_list]
    return f"; it may return {', '.join(more)} too" if more else ""


def _rows(
    batch: Any, names: Sequence[str], dtypes: Mapping[str, DType], place: str
) -> Iterator[tuple[Any, ...]]:
    """Yield a record batch's rows as Python values, None for null and NaN."""
    columns: list[list[Any]] = []
    for name in names:
        try:
            data = column_data(batch.column(name), dtypes[name])
        except ColumnError as error:
            raise NotUsable(f"{place}: column {name}: {error}") from error
        values = data.values
        if not isinstance(values, np.ndarray | list):
            raise NotUsable(f"{place}: column {name} holds lists")
        plain: list[Any] = values.tolist() if isinstance(values, np.ndarray) else list(values)
        nulls = data.nulls
        if dtypes[name].scalar.is_float:
            _check_range(name, plain, dtypes[name], place)
            plain = [None if math.isnan(value) else value for value in plain]
        elif nulls is not None:
            plain = [None if null else value for value, null in zip(plain, nulls.tolist(), strict=True)]
        columns.append(plain)
    return zip(*columns, strict=True)
