"""The file that a training set is: its columns, in order, and what is counted of them while it is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from forebay.errors import InvalidRequest, NotUsable
from numpy.typing import NDArray

from feature_store.types import Status
from jobs.progress import Progress
from jobs.training.arrow_values import (
    EVENT_TIME_TYPE,
    STATUS_TYPE,
    arrow_type,
    event_time_array,
    feature_array,
    status_array,
)
from jobs.training.joining import Chunk, Joining
from jobs.training.model_inputs import SCORE, ModelInputs
from jobs.training.request_values import request_array
from jobs.training.view_values import NO_TIME, ViewValues
from jobs.training.wanted import Wanted
from registry.definitions import split_column
from registry.dtypes import DType

SERVED = "served"
"""Whether the label would have had an answer."""
COLUMNS_METADATA = b"forebay.columns"
"""Of a model input: which of the application's columns it holds, in order, with their widths, as JSON."""


@dataclass(slots=True)
class Tally:
    """What is counted of a training set: labels; of each feature how many have which status; of each view how
    many labels found a row, and the oldest and the newest event time among them; labels without an answer."""

    labels: int = 0
    statuses: dict[str, dict[str, int]] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    event_times_us: dict[str, tuple[int, int]] = field(default_factory=dict)
    unserved: int = 0

    def note_view(self, view: str, values: ViewValues) -> None:
        """Count the rows of a view."""
        self.found[view] = self.found.get(view, 0) + int(values.is_found.sum())
        times_us = values.event_times_us[values.event_times_us != NO_TIME]
        if len(times_us):
            known = self.event_times_us.get(view, (int(times_us[0]), int(times_us[0])))
            least, greatest = int(times_us.min()), int(times_us.max())
            self.event_times_us[view] = min(known[0], least), max(known[1], greatest)

    def note_feature(self, feature: str, statuses: NDArray[np.uint8]) -> None:
        """Count a feature's statuses."""
        counts = self.statuses.setdefault(feature, {})
        for number, count in enumerate(np.bincount(statuses).tolist()):
            if count:
                name = Status(number).name
                counts[name] = counts.get(name, 0) + count


class Columns(Protocol):
    """What a training set adds to the labels' own columns."""

    def fields(self) -> list[Any]:
        """Return the columns as Arrow fields."""
        ...

    def arrays(self, chunk: Chunk, tally: Tally) -> list[Any]:
        """Return the columns' values for a chunk, and count them."""
        ...


@dataclass(frozen=True, slots=True)
class FeatureColumns:
    """Each feature with its status, the event time of each view's row, and the request features."""

    wanted: Wanted

    def fields(self) -> list[Any]:
        found: list[Any] = []
        for view, feature, dtype in self._features():
            found += [pa.field(f"{view}.{feature}", arrow_type(dtype))]
            found += [pa.field(f"{view}.{feature}.status", STATUS_TYPE)]
        found += [pa.field(f"{view}.event_time", EVENT_TIME_TYPE) for view in self._views()]
        for name, declared in self.wanted.request.items():
            found.append(pa.field(f"request.{name}", arrow_type(declared.dtype)))
        return found

    def arrays(self, chunk: Chunk, tally: Tally) -> list[Any]:
        made: list[Any] = []
        for view, feature, dtype in self._features():
            column = chunk.views[view].column(feature)
            tally.note_feature(f"{view}.{feature}", column.statuses)
            made += [feature_array(column, dtype), status_array(column.statuses)]
        for view in self._views():
            tally.note_view(view, chunk.views[view])
            made.append(event_time_array(chunk.views[view].event_times_us))
        for name, declared in self.wanted.request.items():
            made.append(request_array(chunk.request.values[name], declared.dtype))
        return made

    def _views(self) -> list[str]:
        return [name for name, view in self.wanted.views.items() if view.features]

    def _features(self) -> Iterator[tuple[str, str, DType]]:
        for column in self.wanted.features:
            view, feature = split_column(column)
            yield view, feature, self.wanted.views[view].view.dtype(feature)


@dataclass(frozen=True, slots=True)
class InputColumns:
    """The model's inputs, one column of fixed lists for each, and whether serving would have answered."""

    wanted: Wanted
    inputs: ModelInputs

    def fields(self) -> list[Any]:
        model = self.inputs.application.models[self.inputs.pipeline.predict]
        found: list[Any] = []
        for plan in self.inputs.plans:
            declared = model.inputs[plan.name]
            named = json.dumps(self.inputs.widths(declared.columns)).encode()
            dtype = pa.list_(pa.from_numpy_dtype(plan.dtype), plan.width)
            found.append(pa.field(plan.name, dtype, nullable=False, metadata={COLUMNS_METADATA: named}))
        return [*found, pa.field(SERVED, pa.bool_())]

    def arrays(self, chunk: Chunk, tally: Tally) -> list[Any]:
        for name, view in self.wanted.views.items():
            tally.note_view(name, chunk.views[name])
            for feature in view.features:
                tally.note_feature(f"{name}.{feature}", chunk.views[name].column(feature).statuses)
        found = self.inputs.of(chunk.views, chunk.request, given_score(chunk))
        tally.unserved += int((~found.served).sum())
        tensors = [
            pa.FixedSizeListArray.from_arrays(pa.array(tensor.reshape(-1)), tensor.shape[1])
            for tensor in found.tensors.values()
        ]
        return [*tensors, pa.array(found.served)]


def given_score(chunk: Chunk) -> NDArray[np.float32] | None:
    """Return the retrieval scores that the labels bring along; None where they bring none."""
    if SCORE not in chunk.given.schema.names:
        return None
    try:
        score = chunk.given.column(SCORE).cast(pa.float32(), safe=False)
    except pa.ArrowInvalid as error:
        raise InvalidRequest(f"labels: column {SCORE} isn't a number", field=SCORE) from error
    return np.asarray(score.fill_null(np.nan).to_numpy(zero_copy_only=False), np.float32)


def check_output(path: Path) -> None:
    """Raises: InvalidRequest where no file can be written there."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InvalidRequest(f"--output: {path} is a directory, or lies in none", field="output")


def write_training_set(joining: Joining, columns: Columns, path: Path, progress: Progress) -> Tally:
    """Write the labels and what they see; return what was counted. The file is there whole, or as it was.

    Raises: NotUsable where it can't be written, or a view's value doesn't fit; InvalidRequest for a request
    feature. Cost: memory for a chunk.
    """
    schema = pa.schema([*joining.schema, *columns.fields()])
    partial = path.with_name(f".{path.name}.partial")
    tally = Tally()
    try:
        with pq.ParquetWriter(partial, schema) as writer:
            for chunk in joining.chunks():
                arrays = [*chunk.given.columns, *columns.arrays(chunk, tally)]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
                tally.labels += len(chunk.times_us)
                progress("training set", "write", tally.labels, joining.labels.count)
        partial.replace(path)
    except OSError as error:
        raise NotUsable(f"{path} can't be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return tally


def made_names(columns: Columns) -> tuple[str, ...]:
    """Return the names of the columns that are added."""
    return tuple(column.name for column in columns.fields())
