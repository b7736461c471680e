"""Responses to ReadFeatures, as bytes: each feature of the plan is a column, written by `column_bytes.py`."""

from __future__ import annotations

from collections.abc import Mapping

from feature_store.codec import RowBlock
from gateway.column_bytes import ColumnWriter
from gateway.convert import statuses_bytes
from gateway.features import ReadPlan

Blocks = Mapping[str, RowBlock]


class ReadWriter:
    """Writes the responses to reads, one after another. One thread at a time."""

    def __init__(self) -> None:
        self._columns = ColumnWriter()

    def bytes(self, plan: ReadPlan, blocks: Blocks, event_times: bool) -> bytes:
        """Return a serialised ReadFeaturesResponse: the plan's columns, with event times where asked for."""
        parts: list[bytes] = []
        write = self._columns.write
        shared, raw = None, b""
        for wanted in plan.wanted:
            block = blocks[wanted.view]
            values, statuses = block.column(wanted.feature)
            if statuses is not shared:  # columns of one view mostly share theirs
                shared, raw = statuses, statuses_bytes(statuses)
            times_us = block.event_times_us if event_times else None
            write(parts, wanted.reference, values, wanted.scalar, raw, times_us)
        return b"".join(parts)
