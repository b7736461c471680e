"""Record batches of a view's query as keys and rows of the store, column by column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from forebay.errors import InvalidRequest, NotUsable
from numpy.typing import NDArray

from feature_store.codec import RowEncoder
from feature_store.keys import canonical_texts, row_keys
from feature_store.schema import FeatureView
from jobs.arrow_columns import ColumnError, column_data
from registry.columns import ColumnData
from registry.dtypes import DType, Scalar

_TIMESTAMP = DType(Scalar.TIMESTAMP)


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """n rows as the store takes them, and the texts of their keys."""

    texts: list[str]
    keys: list[bytes]
    rows: list[bytes]


@dataclass(frozen=True, slots=True)
class ReadRows:
    """n rows as they were read: the texts of their keys, their columns, their event times."""

    texts: list[str]
    columns: dict[str, ColumnData]
    event_times_us: NDArray[np.int64]


class RowMaker:
    """Makes the rows of one batch of one view.

    `event_time` is the column of their event times; without one, or where it is null, an event happened at
    `started_us`. `number` is the batch's, which its rows carry as their write time.
    """

    def __init__(
        self, view: FeatureView, generation: int, number: int, event_time: str | None, started_us: int
    ) -> None:
        self._view = view
        self._generation = generation
        self._number = number
        self._event_time = event_time
        self._started_us = started_us
        self._encoder = RowEncoder(view.schema)
        self.event_times_us: list[int] = []
        """The oldest and the newest event time encoded so far; empty before the first row."""

    def read(self, batch: Any) -> ReadRows:
        """Return the columns of an Arrow record batch, which has at least one row and no null among its keys.

        Raises: NotUsable naming the view and the column that doesn't fit.
        """
        return ReadRows(self._texts(batch), self.columns(batch), self._event_times(batch))

    def columns(self, batch: Any) -> dict[str, ColumnData]:
        """Return the features' columns of an Arrow record batch. Raises: as `read`."""
        features = self._view.schema.features
        return {feature.name: self._column(batch, feature.name, feature.dtype) for feature in features}

    def encode(self, read: ReadRows) -> EncodedRows:
        """Return the rows as the store takes them. Raises: NotUsable naming the view and the column."""
        keys = row_keys(self._view.entity_id, self._view.view_id, self._generation, read.texts)
        return EncodedRows(read.texts, keys, self._rows(read.columns, read.event_times_us))

    def _texts(self, batch: Any) -> list[str]:
        fields = self._view.key
        columns: list[Any] = [self._column(batch, field.name, field.dtype).values for field in fields]
        try:
            return canonical_texts(fields, columns)
        except InvalidRequest as error:
            raise NotUsable(f"views.{self._view.name}: {error.message}") from error

    def _rows(self, columns: dict[str, ColumnData], event_times_us: NDArray[np.int64]) -> list[bytes]:
        try:
            return self._encoder.encode(columns, event_times_us, self._number)
        except InvalidRequest as error:
            raise NotUsable(f"views.{self._view.name}: {error.message}") from error

    def _event_times(self, batch: Any) -> NDArray[np.int64]:
        times_us = np.full(batch.num_rows, self._started_us, dtype=np.int64)
        if self._event_time is not None:
            column = self._column(batch, self._event_time, _TIMESTAMP)
            known: NDArray[np.int64] = np.asarray(column.values, dtype=np.int64)
            times_us = known if column.nulls is None else np.where(column.nulls, times_us, known)
        extremes = [*self.event_times_us, int(times_us.min()), int(times_us.max())]
        self.event_times_us = [min(extremes), max(extremes)]
        return times_us

    def _column(self, batch: Any, name: str, dtype: DType) -> ColumnData:
        try:
            return column_data(batch.column(name), dtype)
        except ColumnError as error:
            raise NotUsable(f"views.{self._view.name}: column {name} can't be {dtype}: {error}") from error
