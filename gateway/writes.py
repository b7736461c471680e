"""Writing feature rows in place, for WriteFeatures. Transport-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from forebay.deadline import Deadline
from forebay.errors import InvalidRequest, NotFound, NotUsable
from numpy.typing import NDArray

from feature_store.codec import Fault, RowEncoder, ViewReader
from feature_store.keys import canonical_texts
from feature_store.store import OnlineStore
from feature_store.types import Outcome, Status
from gateway.convert import Values, row_count
from gateway.features import KeyColumns
from registry.columns import ColumnData, VariableLists
from registry.dtypes import DType, Scalar
from runtime.clock import Clock

Typed = tuple[Values, Scalar]

Wrote = Callable[[str, Sequence[str]], None]
"""Is told of a view's rows, by their key texts, that have changed or may have."""

_APPLIED = Outcome.APPLIED.value


class Written(NamedTuple):
    """An Outcome per row, (n,) uint8; and for each feature that makes rows INVALID, in how many and why."""

    outcomes: NDArray[np.uint8]
    faults: tuple[Fault, ...]


class FeatureWrites:
    """Writes rows into views that publish by upsert; the newest event time wins, row by row."""

    def __init__(self, store: OnlineStore, clock: Clock, wrote: Wrote | None = None) -> None:
        self._store = store
        self._clock = clock
        self._wrote = wrote or _nobody

    async def write(
        self,
        reader: ViewReader,
        keys: KeyColumns,
        features: Mapping[str, Typed],
        statuses: Mapping[str, bytes],
        event_times: Typed | None,
        deadline: Deadline,
    ) -> Written:
        """Return what became of each row. A feature that is left out is written as null.

        Raises: InvalidRequest, NotFound; NotUsable for a view that isn't written in place.
        Cost: one round trip per chunk of rows.
        """
        view = reader.view
        if view.ring is not None:
            raise NotUsable(f"view {view.name} is made of a stream's events; publish events instead of rows")
        if view.publish != "upsert":
            raise NotUsable(
                f"view {view.name} is published by {view.publish}; only an upsert view is written in place"
            )
        texts = canonical_texts(view.key, list(keys.values()), "keys")
        columns = _columns(reader, features, statuses, len(texts))
        now_us = self._clock.now_us()
        times_us = _event_times(event_times, len(texts), now_us)
        rows, _, faults = RowEncoder(view.schema).encode_valid(columns, times_us, now_us)
        changed: Sequence[str] = texts  # Any of them, should the store not tell.
        try:
            # An invalid row is empty, which the store answers with INVALID.
            outcomes = await self._store.put_many(reader.row_keys(texts), rows, deadline)
            changed = [text for text, code in zip(texts, outcomes.tolist(), strict=True) if code == _APPLIED]
        finally:
            self._wrote(view.name, changed)
        return Written(outcomes, faults)


def _nobody(_view: str, _texts: Sequence[str]) -> None:
    """Where nothing is kept, nobody needs to know."""


def _columns(
    reader: ViewReader, features: Mapping[str, Typed], statuses: Mapping[str, bytes], count: int
) -> dict[str, ColumnData]:
    """Return every feature of the view as a column, those left out as nulls."""
    for name in features:
        if name not in reader.features:
            raise NotFound(f"view {reader.view.name} has no feature {name!r}", field=f"features.{name}")
    columns = {name: _null_column(feature.dtype, count) for name, feature in reader.features.items()}
    for name, (values, scalar) in features.items():
        field = f"features.{name}"
        if row_count(values) != count:
            raise InvalidRequest(
                f"{field}: has {row_count(values)} rows where keys have {count}", field=field
            )
        _check_type(scalar, reader.features[name].dtype, field)
        columns[name] = ColumnData(values, _nulls(statuses.get(name, b""), count, field))
    return columns


def _null_column(dtype: DType, count: int) -> ColumnData:
    nulls = np.ones(count, np.bool_)
    if dtype.is_variable_list:
        return ColumnData(
            VariableLists(np.empty(0, dtype.scalar.numpy), np.zeros(count + 1, np.int64)), nulls
        )
    if dtype.scalar is Scalar.STRING:
        return ColumnData([None] * count, nulls)
    shape = (count, dtype.length) if dtype.is_list else (count,)
    return ColumnData(np.zeros(shape, dtype.scalar.numpy), nulls)


def _check_type(given: Scalar, declared: DType, field: str) -> None:
    """An integer stands for a float, int64 and timestamp for each other; a float never for an integer."""
    wanted = declared.scalar
    whole = {Scalar.INT32, Scalar.INT64, Scalar.TIMESTAMP}
    if given is wanted or (wanted.is_float and (given.is_float or given.is_integer)):
        return
    if given in whole and wanted in whole:
        return
    raise InvalidRequest(f"{field}: expected {declared}, got {given.value}", field=field)


def _nulls(statuses: bytes, count: int, field: str) -> NDArray[np.bool_] | None:
    if not statuses:
        return None
    if len(statuses) != count:
        raise InvalidRequest(f"{field}: has {len(statuses)} statuses for {count} rows", field=field)
    absent: NDArray[np.bool_] = np.frombuffer(statuses, np.uint8) != Status.PRESENT
    return absent


def _event_times(given: Typed | None, count: int, now_us: int) -> NDArray[np.int64]:
    if given is None:
        return np.full(count, now_us, np.int64)
    values, scalar = given
    if (
        scalar not in (Scalar.TIMESTAMP, Scalar.INT64)
        or not isinstance(values, np.ndarray)
        or values.shape != (count,)
    ):
        raise InvalidRequest(f"event_times_us: must be {count} timestamps", field="event_times_us")
    return values.astype(np.int64)
