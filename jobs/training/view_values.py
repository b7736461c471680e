"""Joined rows into features and statuses, by the row encoder and the reader that serve: what a training set
holds was written and read as the store does it, narrowed, defaulted and aged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from forebay.errors import InvalidRequest, NotUsable
from numpy.typing import NDArray

from feature_store.codec import FeatureColumn, RowBlock, RowEncoder, ViewReader
from feature_store.types import Status
from jobs.training.as_of import EVENT_US, FOUND, since_refresh
from jobs.training.wanted import Join, WantedView
from jobs.view_rows import RowMaker

NO_TIME = np.iinfo(np.int64).min
_NUMBER = 1
"""The write time of rows that are never stored."""


@dataclass(frozen=True, slots=True)
class ViewValues:
    """What n labels see of one view.

    Shapes: all (n,). `rows` are the rows as stored, None where there is none; `stale` those older than the
    view's `max_age`; `event_times_us` NO_TIME where there is no row, or one without.
    """

    reader: ViewReader
    rows: list[bytes | None]
    stale: NDArray[np.bool_]
    event_times_us: NDArray[np.int64]
    block: RowBlock

    @property
    def is_found(self) -> NDArray[np.bool_]:
        """Which labels found a row, (n,)."""
        return np.asarray(self.block.row_statuses != Status.NOT_FOUND)

    def column(self, feature: str) -> FeatureColumn:
        """Return a feature's values and statuses as ReadFeatures would have answered them."""
        column = self.block.column(feature)
        if not self.stale.any():
            return column
        aged = self.stale & (column.statuses == Status.PRESENT)
        return FeatureColumn(column.values, np.where(aged, np.uint8(Status.STALE), column.statuses))


class ViewValueReader:
    """Makes the values of one view out of what `as_of.py` wrote."""

    def __init__(self, wanted: WantedView) -> None:
        self.wanted = wanted
        self._view = wanted.view
        # Ages differ from label to label: they are taken here, and not by the reader.
        self.reader = ViewReader(replace(wanted.view, max_age_us=None), None, None)
        self._maker = RowMaker(wanted.view, 0, _NUMBER, None, 0)
        self._encoder = RowEncoder(wanted.view.schema)

    def read(self, batch: Any, label_times_us: NDArray[np.int64]) -> ViewValues:
        """Return the values of n labels, given their times and their part of the joined file.

        Raises: NotUsable naming the view and a column that doesn't fit, as the refresh would.
        """
        is_found = batch.column(FOUND).is_valid()
        found = np.flatnonzero(is_found.to_numpy(zero_copy_only=False))
        rows: list[bytes | None] = [None] * batch.num_rows
        event_times_us = np.full(batch.num_rows, NO_TIME)
        stale = np.zeros(batch.num_rows, np.bool_)
        if found.size:
            kept = batch.filter(is_found)
            times = kept.column(EVENT_US)
            event_times_us[found] = times.fill_null(NO_TIME).to_numpy(zero_copy_only=False)
            stale[found] = self._stale(event_times_us[found], label_times_us[found])
            known_us = times.fill_null(0).to_numpy(zero_copy_only=False)
            for place, row in zip(found.tolist(), self._encoded(kept, known_us), strict=True):
                rows[place] = row
        return ViewValues(self.reader, rows, stale, event_times_us, self.reader.decode(rows, 0))

    def _encoded(self, batch: Any, times_us: NDArray[np.int64]) -> list[bytes]:
        try:
            return self._encoder.encode(self._maker.columns(batch), times_us, _NUMBER)
        except InvalidRequest as error:
            raise NotUsable(f"views.{self._view.name}: {error.message}") from error

    def _stale(
        self, event_times_us: NDArray[np.int64], label_times_us: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return which rows are older at their label's time than the view's `max_age`.

        A swapped generation is as old as the refresh that made it; a row written in place as old as its
        write: when it happened, or at the first refresh after that. A stream's worker is taken to run.
        """
        view, every_us = self._view, self.wanted.every_us
        if view.max_age_us is None or self.wanted.join is not Join.AS_OF:
            return np.zeros(len(label_times_us), np.bool_)
        if view.publish == "swap":
            if every_us is None:
                return np.zeros(len(label_times_us), np.bool_)
            as_of_us = label_times_us - since_refresh(label_times_us, every_us)
        elif every_us is None:
            as_of_us = event_times_us
        else:
            as_of_us = event_times_us + since_refresh(-event_times_us, every_us)
        return np.asarray(as_of_us < label_times_us - view.max_age_us)
