"""Events onto a stream, as `forebay stream publish` puts them there: from JSON lines as they come, from
Parquet or CSV in the order of event time; as fast as it goes, or at a multiple of the speed at which they
happened.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

import pyarrow as pa
from forebay.errors import InvalidRequest, Unavailable

from jobs.sources import Sources
from jobs.stream.event_sources import kafka, partition_count
from jobs.stream.event_values import EventError, timestamp_us
from jobs.stream.partitions import events_key, partition_of
from registry.definitions import Source, Stream
from runtime.clock import Clock
from runtime.redis_connection import RedisConnection
from runtime.settings import Settings
from runtime.stream_settings import StreamSettings

Event = Mapping[str, Any]
"""An event by field: None, a bool, a number, a text or a list of them; a time in microseconds or ISO 8601."""

_CHUNK = 500
_LINE_FILES = (".json", ".jsonl", ".ndjson")


class Destination(Protocol):
    """Where events are put. Raises: Unavailable; NotUsable."""

    async def put(self, events: Sequence[tuple[str, Event]]) -> None:
        """Put events, each with the text of its `partition_by`, in order; return when the stream has them."""
        ...

    async def aclose(self) -> None:
        """Release what it holds."""
        ...


class RedisDestination:
    """The Redis Streams of a declared stream, trimmed to about so many events each."""

    def __init__(self, connection: RedisConnection, app: str, stream: Stream, kept: int) -> None:
        assert stream.redis is not None
        self._connection = connection
        self._partitions = stream.redis.partitions
        self._keys = [events_key(app, stream.redis.stream, number) for number in range(self._partitions)]
        self._kept = kept

    async def put(self, events: Sequence[tuple[str, Event]]) -> None:
        """One round trip."""
        commands: list[tuple[bytes | str | int, ...]] = [
            ("XADD", self._key(text), "MAXLEN", "~", self._kept, "*", *_flat(event)) for text, event in events
        ]
        for reply in await self._connection.execute_many(commands):
            if isinstance(reply, Exception):
                raise Unavailable(f"the stream takes no events: {reply}") from reply

    def _key(self, text: str) -> str:
        return self._keys[partition_of(text, self._partitions)]

    async def aclose(self) -> None:
        """Nothing: the connection is somebody else's."""


async def open_destination(
    stream: Stream, app: str, connection: RedisConnection, settings: StreamSettings
) -> Destination:
    """Return where a declared stream's events are put. Raises: Unavailable; NotUsable."""
    if stream.redis is not None:
        return RedisDestination(connection, app, stream, settings.kept_events)
    partitions = await partition_count(stream, settings)
    destination: Destination = kafka().KafkaDestination(stream.kafka, partitions, settings.kafka_options)
    return destination


@dataclass(frozen=True, slots=True)
class Pace:
    """`speed`: how many times as fast as they happened events are put; infinite for as fast as it goes.
    `as_of_now`: events get the time at which they are put."""

    speed: float = math.inf
    as_of_now: bool = False


async def publish(
    events: AsyncIterator[Sequence[Event]],
    destination: Destination,
    stream: Stream,
    pace: Pace,
    clock: Clock,
    told: Callable[[int], None],
) -> int:
    """Put all events; return how many. `told` hears how many are put so far.

    Raises: InvalidRequest for an event without its `partition_by`, or, at a pace, without its time; what the
    destination does.
    """
    count, began_s, first_us = 0, clock.monotonic_s(), None
    async for chunk in events:
        start = 0
        while start < len(chunk):
            stop = len(chunk)
            if pace.speed != math.inf:
                first_us = _time_us(chunk[0], stream, count) if first_us is None else first_us
                stop, wait_s = _due(chunk, start, stream, first_us, pace, clock.monotonic_s() - began_s)
                if stop == start:
                    await asyncio.sleep(min(wait_s, 1.0))
                    continue
            part = [
                _prepared(event, stream, pace, clock, count + place)
                for place, event in enumerate(chunk[start:stop], start)
            ]
            await destination.put(part)
            start = stop
            told(count + start)
        count += len(chunk)
    return count


def _due(
    chunk: Sequence[Event], start: int, stream: Stream, first_us: int, pace: Pace, elapsed_s: float
) -> tuple[int, float]:
    """Return the end of what is due by now, and in how many seconds what comes next is."""
    stop = start
    while stop < len(chunk):
        due_s = (_time_us(chunk[stop], stream, stop) - first_us) / 1e6 / pace.speed
        if due_s > elapsed_s:
            return stop, due_s - elapsed_s
        stop += 1
    return stop, 0.0


def _prepared(event: Event, stream: Stream, pace: Pace, clock: Clock, place: int) -> tuple[str, Event]:
    key = event.get(stream.partition_by)
    if key is None or isinstance(key, (list, dict)):
        raise InvalidRequest(
            f"event {place + 1} has no {stream.partition_by}, which the stream is partitioned by"
        )
    if pace.as_of_now:
        event = {**event, stream.event_time: clock.now_us()}
    return _text(key), event


def _time_us(event: Event, stream: Stream, place: int) -> int:
    try:
        return timestamp_us(event.get(stream.event_time), stream.event_time)
    except EventError as error:
        raise InvalidRequest(f"event {place + 1}: {error}") from error


def _flat(event: Event) -> Iterator[str]:
    for name, value in event.items():
        if value is not None:
            yield name
            yield _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value)


async def read_lines(file: TextIO) -> AsyncIterator[list[Event]]:
    """Yield the events of JSON lines, as they come: what is there is yielded without waiting for more.

    Raises: InvalidRequest naming the line that is no JSON object, or behind which a text is no UTF-8.
    """
    number = 0
    while True:
        try:
            lines = await asyncio.to_thread(_some_lines, file)
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"what follows line {number} is no UTF-8 text: {error.reason}") from error
        if not lines:
            return
        events: list[Event] = []
        for line in lines:
            number += 1
            if line.strip():
                events.append(_object(line, number))
        yield events


def _some_lines(file: TextIO) -> list[str]:
    """Return the lines of about 64 KiB, at least one; from a terminal or a slow pipe one at a time."""
    first = file.readline()
    if not first:
        return []
    return [first, *(file.readlines(1 << 16) if file.seekable() else [])]


def _object(line: str, number: int) -> Event:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise InvalidRequest(f"line {number} is no JSON") from error
    if not isinstance(found, dict):
        raise InvalidRequest(f"line {number} is no JSON object")
    return found


async def read_table(file: Path, stream: Stream, settings: Settings) -> AsyncIterator[list[Event]]:
    """Yield the rows of a Parquet or CSV file in the order of event time. Raises: NotUsable;
    InvalidRequest."""
    kind = {"csv": str(file)} if file.suffix == ".csv" else {"parquet": str(file)}
    source = Source.model_validate(kind)
    with Sources({"events": source}, Path(), settings.refresh.engine_memory_bytes) as sources:
        query = f'select * from events order by "{stream.event_time}"'
        with sources.rows(query, _CHUNK, place=str(file)) as reader:
            while (batch := await asyncio.to_thread(_next_batch, reader)) is not None:
                yield _rows(batch)


def is_line_file(name: str) -> bool:
    """Return whether a file of that name holds JSON lines; `-` is what comes on stdin."""
    return name == "-" or Path(name).suffix in _LINE_FILES


@contextmanager
def line_file(name: str, stdin: TextIO) -> Iterator[TextIO]:
    """Give a file of JSON lines, or `stdin` for `-`."""
    if name == "-":
        yield stdin
        return
    with Path(name).open(encoding="utf-8") as file:
        yield file


def _next_batch(reader: Any) -> Any | None:
    try:
        return reader.read_next_batch()
    except StopIteration:
        return None


def _rows(batch: Any) -> list[Event]:
    columns: dict[str, list[Any]] = {}
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        values = _whole_times(array).to_pylist()
        columns[name] = [
            None if isinstance(value, float) and math.isnan(value) else value for value in values
        ]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _whole_times(array: Any) -> Any:
    """Return an array of times as microseconds, any other as it is."""
    if not (pa.types.is_timestamp(array.type) or pa.types.is_date(array.type)):
        return array
    zone = getattr(array.type, "tz", None)
    return array.cast(pa.timestamp("us", tz=zone), safe=False).cast(pa.int64())
