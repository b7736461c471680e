"""Labels and the views that are joined to them, read in step. A training set is written from it
(`training_set.py`), and schedules of refreshes are tried on it (`../tuning`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow.parquet as pq
from forebay.errors import InvalidRequest, NotUsable
from numpy.typing import NDArray

from jobs.progress import Progress
from jobs.sources import Sources
from jobs.training.aligned import chunks
from jobs.training.as_of import join_batch_view
from jobs.training.labels import CHUNK_ROWS, TIME_US, LabelOptions, Labels, read_labels
from jobs.training.request_values import RequestValues, check_request, request_values
from jobs.training.view_values import ViewValueReader, ViewValues
from jobs.training.wanted import Join, Wanted, WantedView
from jobs.training.window_rows import join_window_view
from jobs.view_load import batch_of
from registry.plan import Plan


@dataclass(frozen=True, slots=True)
class Chunk:
    """n labels and what they see. `start` counts the labels before; `given` are their own columns."""

    start: int
    given: Any
    times_us: NDArray[np.int64]
    views: Mapping[str, ViewValues]
    request: RequestValues


class Joining:
    """Joins views to labels, in files of a temporary directory. A context manager: they are gone at the end.

    Blocking, all of it. Raises: as `read_labels`, `join_batch_view`.
    """

    def __init__(
        self,
        plan: Plan,
        chosen: Wanted,
        options: LabelOptions,
        made: tuple[str, ...],
        now_us: int,
        progress: Progress,
        memory_bytes: int,
    ) -> None:
        self._plan = plan
        self._chosen = chosen
        self._options = options
        self._made = made
        self._now_us = now_us
        self._progress = progress
        self._sources = Sources(plan.application.sources, Path(plan.root), memory_bytes)
        self._place = TemporaryDirectory(prefix="forebay-training-")
        self._directory = Path(self._place.name)
        self._readers: dict[str, ViewValueReader] = {}
        self.labels: Labels

    def __enter__(self) -> Self:
        self._sources.__enter__()
        try:
            self._progress("labels", "read", 0, 0)
            self.labels = read_labels(
                self._sources, self._options, self._chosen.keys, self._made, self._directory, self._now_us
            )
            check_request(self.schema, self._chosen.request)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sources.__exit__(kind, error, trace)
        self._place.cleanup()

    @property
    def schema(self) -> Any:
        """The Arrow schema of the labels as they were given."""
        schema = pq.read_schema(self.labels.path)
        return schema.remove_metadata().empty_table().select(list(self.labels.columns)).schema

    @property
    def readers(self) -> Mapping[str, ViewValueReader]:
        """What reads each view that is joined."""
        return self._readers

    def join_all(self) -> None:
        """Join every view that is wanted.

        Raises: with what is wrong in all of them: InvalidRequest where a definition is, else NotUsable.
        """
        problems: list[InvalidRequest | NotUsable] = []
        for view in self._chosen.views.values():
            try:
                self.join(view)
            except (InvalidRequest, NotUsable) as error:
                problems.append(error)
        if len(problems) == 1:
            raise problems[0]
        if problems:
            is_invalid = any(isinstance(problem, InvalidRequest) for problem in problems)
            kind = InvalidRequest if is_invalid else NotUsable
            raise kind("\n".join(dict.fromkeys(problem.message for problem in problems)))

    def join(self, wanted: WantedView) -> None:
        """Join one view, in place of how it was joined before."""
        subject = f"view {wanted.name}"
        self._progress(subject, "join", 0, self.labels.count)
        path = self._path(wanted.name)
        if wanted.join is Join.WINDOWS:
            join_window_view(self._sources, self.labels, wanted, self._plan, path)
        else:
            batch = batch_of(self._plan, wanted.name)
            join_batch_view(self._sources, self.labels, wanted, batch, path)
        self._readers[wanted.name] = ViewValueReader(wanted)
        self._progress(subject, "join", self.labels.count, self.labels.count)

    def chunks(self) -> Iterator[Chunk]:
        """Yield all labels with what they see, in their order, a few thousand at a time.

        Raises: NotUsable for a value that its view can't hold.
        """
        names = list(self._readers)
        files = [chunks(self._path(name), CHUNK_ROWS) for name in names]
        start = 0
        for labels, *joined in zip(chunks(self.labels.path, CHUNK_ROWS), *files, strict=True):
            times_us = labels.column(TIME_US).to_numpy()
            views = {
                name: self._readers[name].read(batch, times_us)
                for name, batch in zip(names, joined, strict=True)
            }
            given = labels.select(list(self.labels.columns))
            request = request_values(given, self._chosen.request, start)
            yield Chunk(start, given, times_us, views, request)
            start += labels.num_rows

    def _path(self, view: str) -> Path:
        return self._directory / f"view_{view}.parquet"
