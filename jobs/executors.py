"""A view's rows written by the machines that compute them: what each does with its part, and what it tells.
`view_load.py` hands it out; `spark/sources.py` runs it. Nothing here knows the engine.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import pyarrow as pa
from forebay.errors import Error, NotUsable, Unavailable

from feature_store.redis_store import RedisStore
from feature_store.schema import FeatureView
from jobs.generation_keys import GenerationKeys, packed
from jobs.load import CHUNK_ROWS, GenerationChunk, Place, Written, load_generation, upsert
from jobs.measures import Measures
from jobs.view_rows import RowMaker
from runtime.clock import SystemClock
from runtime.engine_settings import FeatureStoreSettings
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """How an executor reaches the store: everything that the job itself was given."""

    url: str
    redis: RedisSettings
    store: FeatureStoreSettings


@dataclass(slots=True)
class PartReport:
    """What became of one part, or of several: rows written, values counted, the oldest and the newest event
    time; or the error that ended it."""

    written: Written = field(default_factory=Written)
    measures: Measures = field(default_factory=Measures)
    event_times_us: list[int] = field(default_factory=list)
    error: str = ""
    is_unavailable: bool = False

    def to_json(self) -> str:
        """Return the report as text, for its way back."""
        plain = asdict(self)
        plain["measures"]["ranged"] = sorted(self.measures.ranged)
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> PartReport:
        """Return what `to_json` wrote."""
        plain = json.loads(text)
        measures = plain.pop("measures")
        measures["extremes"] = {name: tuple(pair) for name, pair in measures["extremes"].items()}
        return cls(Written(**plain.pop("written")), Measures(**measures), **plain)


REPORT_COLUMN = "report"
"""The one column of what a part gives back: a PartReport as JSON, in one row."""


@dataclass(frozen=True, slots=True)
class PartWriter:
    """Writes one part of a view's rows, wherever it runs: it is pickled, and holds nothing open.

    `kind`: rows of a new generation, rows in place, or none at all, only counted. `ranged` are the features
    whose least and greatest are wanted.
    """

    address: StoreAddress
    app: str
    view: FeatureView
    generation: int
    number: int
    event_time: str | None
    started_us: int
    kind: Literal["generation", "in place", "count"]
    ranged: tuple[str, ...] = ()

    def __call__(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield one record batch, the part's report, when all rows of `batches` are stored.

        Our own errors are part of the report: an engine would wrap them in its own.
        """
        try:
            report = asyncio.run(self._written(_cut(batches)))
        except Error as error:
            report = PartReport(error=error.message, is_unavailable=isinstance(error, Unavailable))
        yield pa.RecordBatch.from_pydict({REPORT_COLUMN: [report.to_json()]})

    async def _written(self, batches: Iterator[Any]) -> PartReport:
        maker = RowMaker(self.view, self.generation, self.number, self.event_time, self.started_us)
        report = PartReport(measures=Measures(self.ranged))
        if self.kind == "count":
            for batch in batches:
                report.measures.add(maker.columns(batch), batch.num_rows)
            return report
        connection = await RedisConnection.connect(self.address.url, self.address.redis, SystemClock())
        try:
            store = RedisStore(connection, self.address.store)
            keys = GenerationKeys(connection, self.app, self.view.view_id)
            if self.kind == "generation":
                place = Place(store, connection, keys)
                chunks = self._chunks(maker, batches, report.measures)
                report.written = await load_generation(place, self.generation, chunks, _admit, _unheard)
            else:
                rows = (maker.encode(maker.read(batch)) for batch in batches)  # counted before, by "count"
                report.written = await upsert(store, rows, _unheard)
        finally:
            await connection.aclose()
        report.event_times_us = list(maker.event_times_us)
        return report

    def _chunks(
        self, maker: RowMaker, batches: Iterator[Any], measures: Measures
    ) -> Iterator[GenerationChunk]:
        for batch in batches:
            read = maker.read(batch)
            measures.add(read.columns, batch.num_rows)
            yield GenerationChunk(batch.num_rows, packed(read.texts), maker.encode(read))


class Executors(Protocol):
    """The machines of an engine that spreads its work."""

    @property
    def address(self) -> StoreAddress:
        """Where they write to."""
        ...

    def run(self, table: Any, writer: PartWriter, *, place: str) -> PartReport:
        """Return what became of all rows of an expression, each part written by `writer` where it is.

        Blocking. Raises: NotUsable, Unavailable as the writer does; what is wrong with the query.
        """
        ...

    def sample(self, table: Any, rows: int, *, place: str) -> pa.Table:
        """Return some rows of an expression, at most `rows`. Blocking; raises as `run`."""
        ...


def combined(reports: Sequence[PartReport]) -> PartReport:
    """Return the reports of all parts as one. Raises: NotUsable, Unavailable for a part that failed."""
    total = PartReport()
    for report in reports:
        if report.error:
            kind = Unavailable if report.is_unavailable else NotUsable
            raise kind(report.error)
        total.written.add(report.written)
        total.measures.merge(report.measures)
        times_us = [*total.event_times_us, *report.event_times_us]
        total.event_times_us = [min(times_us), max(times_us)] if times_us else []
    return total


def _cut(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield record batches of at most CHUNK_ROWS, none of them empty."""
    for batch in batches:
        for start in range(0, batch.num_rows, CHUNK_ROWS):
            yield batch.slice(start, CHUNK_ROWS)


async def _admit(chunk: GenerationChunk) -> None:
    """Let every chunk in: the job has looked for room before."""


def _unheard(written: int) -> None:
    """Tell nobody how far a part is."""
