"""Entries of a source into events: fast where all of a chunk is well, one by one where it isn't."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feature_store.row_header import MAX_TIME_US
from jobs.stream.event_columns import columns_of
from jobs.stream.event_values import EventError, values_of
from jobs.stream.events import Column, Decoded, EventField, Events, Invalid, column_of
from jobs.stream.source import Entries, EventFormat


class EventDecoder:
    """Decodes the events of one stream. `event_time` is one of `fields`."""

    def __init__(
        self, fields: Sequence[EventField], event_time: str, layout: EventFormat, max_skew_us: int
    ) -> None:
        self._fields = fields
        self._event_time = event_time
        self._layout = layout
        self._max_skew_us = max_skew_us

    def decode(self, entries: Entries, now_us: int) -> Decoded:
        """Return the events among `entries`, and the entries that are none with the reason: a required field
        that is missing, a value that doesn't fit its field, a time later than `now_us` and the allowed skew.

        A field that is missing or null and not required is null; what isn't declared is passed over.
        """
        invalid: list[Invalid] = []
        columns = columns_of(entries.payloads, self._layout, self._fields) if entries.count else {}
        if not entries.count:
            columns = {field.name: column_of((), field) for field in self._fields}
        positions = entries.positions
        if columns is None:
            columns, places = self._one_by_one(entries, invalid)
            positions = positions[places]
        else:
            places = np.arange(entries.count)
        times_us = np.asarray(columns[self._event_time], np.int64)
        events = Events(positions, times_us, columns)
        early = (times_us > now_us + self._max_skew_us) | (times_us < -MAX_TIME_US)
        if early.any():
            for place in np.flatnonzero(early).tolist():
                payload = entries.payloads[int(places[place])]
                reason = self._untimely(int(times_us[place]), now_us)
                invalid.append(Invalid(int(positions[place]), reason, payload))
            invalid.sort(key=lambda one: one.position)
            events = events.where(~early)
        return Decoded(events, invalid)

    def _untimely(self, time_us: int, now_us: int) -> str:
        if time_us < now_us:
            return f"{self._event_time} is out of the range of event times"
        return f"{self._event_time} is over {self._max_skew_us / 1e6:g} s in the future"

    def _one_by_one(
        self, entries: Entries, invalid: list[Invalid]
    ) -> tuple[dict[str, Column], np.ndarray[tuple[int], np.dtype[np.intp]]]:
        rows, places = [], []
        for place, payload in enumerate(entries.payloads):
            try:
                rows.append(values_of(payload, self._layout, self._fields))
                places.append(place)
            except EventError as error:
                invalid.append(Invalid(int(entries.positions[place]), str(error), payload))
        columns = {
            field.name: column_of([row[place] for row in rows], field)
            for place, field in enumerate(self._fields)
        }
        return columns, np.array(places, np.intp)
