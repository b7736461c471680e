"""`forebay stream`: runs a worker, publishes events, says how streams are, lists and requeues dead
letters."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import click
from forebay.errors import Error, NotUsable

from cli.console import instant, print_json, print_table
from cli.options import json_option, target_options, target_settings
from cli.progress import ProgressDisplay
from cli.serving import LOG_FORMAT
from cli.stream_display import StreamDisplay
from cli.target import Target, open_target, require_applied, store_url, who
from jobs.stream.dead_letters import DeadLetter, DeadLetters
from jobs.stream.event_sources import partition_count
from jobs.stream.partitions import PartitionKeys
from jobs.stream.publishing import (
    Event,
    Pace,
    is_line_file,
    line_file,
    open_destination,
    publish,
    read_lines,
    read_table,
)
from jobs.stream.requeue import Requeue
from jobs.stream.session import Sessions
from jobs.stream.status import StreamInspection, StreamStatus, check_stream
from jobs.stream.worker import StreamWorker
from registry.definitions import Stream
from runtime.process import run as run_process
from runtime.settings import Settings

_MOST_LISTED = 10_000


@click.group()
def stream() -> None:
    """Feed views from streams of events, and look after the streams.

    \b
      forebay stream run                          # until SIGTERM; any number of workers share the partitions
      forebay stream publish ratings events.jsonl
      forebay stream status
      forebay stream dead-letters ratings
    """


@stream.command()
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@click.option("--once", is_flag=True, help="End when all is applied that the streams held at the beginning.")
@target_options
def run(
    streams: tuple[str, ...], once: bool, app: str | None, redis_url: str | None, artifacts: str | None
) -> None:
    """Apply the events of STREAMs, all by default, to the views that they feed, until SIGTERM or Ctrl-C.

    A view whose stream names a `history` gets that first. Any number of workers share the partitions; one
    that is killed changes nothing: another goes on where it was. What can't be applied waits and is tried
    again; what is no event goes to the dead letters. When it works, one line on stdout says so: `ready
    worker=NAME app=APP`. The log goes to stderr.
    """
    settings = target_settings(app, redis_url, artifacts)
    url = store_url(settings)
    display = StreamDisplay()
    level = logging.WARNING if display.is_live else logging.INFO
    logging.basicConfig(level=level, format=LOG_FORMAT, stream=sys.stderr)

    async def main(stop: asyncio.Event) -> int:
        async with open_target(settings) as target:
            await require_applied(target)
            sessions = Sessions(target.settings, url, target.app, target.clock)
            worker = StreamWorker(sessions, target.connection, streams, once=once)

            def ready() -> None:
                click.echo(f"ready worker={worker.state.name} app={target.app}")

            async with display.showing(worker.state, target.clock):
                await worker.run(stop, ready)
            for line in worker.state.lines():
                click.echo(line)
        return 0

    code = run_process(main)
    if code:
        raise click.exceptions.Exit(code)


@stream.command("publish")
@click.argument("name", metavar="STREAM")
@click.argument("file", default="-", metavar="[FILE|-]")
@click.option(
    "--speed",
    default="max",
    show_default=True,
    metavar="max|Nx",
    help="As fast as it goes, or N times as fast as the events happened.",
)
@click.option(
    "--times",
    type=click.Choice(["keep", "now"]),
    default="keep",
    show_default=True,
    help="Keep the events' times, or give each the time at which it is published.",
)
@click.option("--limit", type=click.IntRange(1), help="Only the first so many events.")
@target_options
def publish_command(
    name: str,
    file: str,
    speed: str,
    times: str,
    limit: int | None,
    app: str | None,
    redis_url: str | None,
    artifacts: str | None,
) -> None:
    """Put the events of FILE, or of stdin, onto STREAM.

    A Parquet or CSV file is published in the order of event time, JSON lines (.json, .jsonl, .ndjson, stdin)
    as they come. A time is microseconds since 1970 or ISO 8601. Events aren't checked here: a worker does
    that.

    \b
      forebay stream publish ratings data/ratings.parquet --speed 3600x
      tail -f events.jsonl | forebay stream publish ratings
    """
    pace = Pace(_speed(speed), times == "now")
    settings = target_settings(app, redis_url, artifacts)
    if file != "-" and not Path(file).is_file():
        raise click.UsageError(f"there is no file {file}")

    async def published(display: ProgressDisplay) -> int:
        async with open_target(settings) as target:
            declared = await _declared(target, name)
            destination = await open_destination(
                declared, target.app, target.connection, target.settings.stream
            )
            events = _limited(_events(file, declared, target.settings), limit)

            done = 0

            def told(count: int) -> None:
                nonlocal done
                done = count
                display.tell(f"stream {name}", "published", count, 0)

            try:
                return await publish(events, destination, declared, pace, target.clock, told)
            except Error:
                if done:
                    click.echo(f"published {done:,} events on stream {name} before this:", err=True)
                raise
            finally:
                await destination.aclose()

    with ProgressDisplay() as display:
        count = asyncio.run(published(display))
    click.echo(f"published {count:,} events on stream {name}")


def _speed(text: str) -> float:
    if text == "max":
        return math.inf
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x?", text)
    if match is None or float(match[1]) <= 0:
        raise click.UsageError(f"--speed is max, or a number above 0 such as 60x, not {text!r}")
    return float(match[1])


async def _events(file: str, stream: Stream, settings: Settings) -> AsyncIterator[Sequence[Event]]:
    if is_line_file(file):
        with line_file(file, sys.stdin) as lines:
            async for chunk in read_lines(lines):
                yield chunk
        return
    async for chunk in read_table(Path(file), stream, settings):
        yield chunk


async def _limited(
    events: AsyncIterator[Sequence[Event]], limit: int | None
) -> AsyncIterator[Sequence[Event]]:
    left = math.inf if limit is None else limit
    async for chunk in events:
        yield chunk if len(chunk) <= left else chunk[: int(left)]
        left -= len(chunk)
        if left <= 0:
            return


@stream.command()
@click.argument("name", required=False, default="", metavar="[STREAM]")
@target_options
@json_option
def status(name: str, app: str | None, redis_url: str | None, artifacts: str | None, as_json: bool) -> None:
    """Say how far each partition is behind, who reads it, what was refused or lost, and how fresh views
    are."""
    settings = target_settings(app, redis_url, artifacts)
    found = asyncio.run(_statuses(settings, name))
    if as_json:
        print_json([one.as_json() for one in found])
        return
    partitions = [
        {
            "stream": one.stream,
            "partition": part.partition,
            "behind, events": part.lag_events,
            "seconds": part.behind_s,
            "complete until": instant(part.complete_until_us or 0),
            "applied": part.counts.get("applied", 0),
            "late": part.counts.get("late", 0),
            "lost": part.counts.get("lost", 0),
            "dead letters": part.dead_letters,
            "worker": part.worker or "none",
            "problem": part.problem,
        }
        for one in found
        for part in one.partitions
    ]
    columns = ["stream", "partition", "behind, events", "seconds", "complete until", "applied", "late"]
    columns += ["lost", "dead letters", "worker", "problem"]
    print_table(partitions, columns, empty="no streams")
    views = [
        {
            "view": view.view,
            "stream": one.stream,
            "complete until": instant(view.complete_until_us or 0),
            "age, seconds": view.age_s,
            "history": view.history,
            "its events": view.history_events if view.history else None,
        }
        for one in found
        for view in one.views
    ]
    columns = ["view", "stream", "complete until", "age, seconds", "history", "its events"]
    print_table(views, columns, empty="no views of streams")
    for one in found:
        if one.problem:
            click.echo(f"stream {one.stream}: {one.problem}", err=True)


async def _statuses(settings: Settings, name: str) -> list[StreamStatus]:
    async with open_target(settings) as target:
        await require_applied(target)
        return await stream_inspection(target).statuses(name)


def stream_inspection(target: Target) -> StreamInspection:
    """Return what looks at the streams of the target's application."""
    return StreamInspection(target.connection, target.registry, target.settings.stream, target.clock)


@stream.command("dead-letters")
@click.argument("name", metavar="STREAM")
@click.option(
    "--limit",
    type=click.IntRange(1, _MOST_LISTED),
    default=20,
    show_default=True,
    help="The newest so many of each partition.",
)
@click.option(
    "--requeue", "letters", multiple=True, metavar="LETTER", help="Put this one back; repeated for others."
)
@click.option("--requeue-all", "everything", is_flag=True, help="Put all of them back.")
@target_options
@json_option
def dead_letters(
    name: str,
    limit: int,
    letters: tuple[str, ...],
    everything: bool,
    app: str | None,
    redis_url: str | None,
    artifacts: str | None,
    as_json: bool,
) -> None:
    """List the events of STREAM that were refused, the newest first, and why; or put them back onto it.

    An event that is put back comes behind the stream's end, and is looked at as any other.
    """
    if letters and everything:
        raise click.UsageError("name the letters, or give --requeue-all")
    settings = target_settings(app, redis_url, artifacts)
    if letters or everything:
        click.echo(f"requeued {asyncio.run(_requeue(settings, name, letters))}")
        return
    found = asyncio.run(_letters(settings, name, limit))
    if as_json:
        print_json([letter.as_json() for letter in found])
        return
    rows = [
        {
            "letter": f"{letter.partition}/{letter.id}",
            "at": instant(letter.at_us),
            "reason": letter.reason,
            "event": b" ".join(letter.event).decode("utf-8", "backslashreplace")[:200],
        }
        for letter in found
    ]
    print_table(rows, ["letter", "at", "reason", "event"], empty="no dead letters")


async def _letters(settings: Settings, name: str, limit: int) -> list[DeadLetter]:
    async with open_target(settings) as target:
        declared = await _declared(target, name)
        return await _newest_letters(target, name, declared, limit)


async def _newest_letters(target: Target, name: str, declared: Stream, limit: int) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    for partition in range(await partition_count(declared, target.settings.stream)):
        keys = PartitionKeys(target.app, name, partition)
        found += await DeadLetters(target.connection, keys).newest(limit)
    return sorted(found, key=lambda letter: letter.at_us, reverse=True)


async def _requeue(settings: Settings, name: str, letters: Sequence[str]) -> int:
    async with open_target(settings) as target:
        declared = await _declared(target, name)
        if not letters:
            found = await _newest_letters(target, name, declared, _MOST_LISTED)
            letters = [f"{one.partition}/{one.id}" for one in reversed(found)]
        requeue = Requeue(target.connection, target.app, name, declared, target.settings.stream)
        for letter in letters:
            await requeue.put_back(letter)
        return len(letters)


@stream.command()
@click.argument("view")
@click.option(
    "--anew", is_flag=True, required=True, help="Begin with new rows; the view reads STALE until then."
)
@target_options
def backfill(view: str, anew: bool, app: str | None, redis_url: str | None, artifacts: str | None) -> None:
    """Give VIEW, of a stream, new rows: from its history and from what the stream still holds.

    For a history that was corrected, or changed under a backfill. A worker brings the rows in.
    """
    settings = target_settings(app, redis_url, artifacts)

    async def renewed() -> int:
        async with open_target(settings) as target:
            await require_applied(target)
            plan = await target.registry.live_plan()
            declared = None if plan is None else plan.application.views.get(view)
            if declared is None or declared.stream is None:
                raise NotUsable(f"{target.app} has no view {view!r} of a stream")
            release = await target.registry.renew(view, who=who(), why=f"new rows of view {view}")
            return release.number

    click.echo(f"release {asyncio.run(renewed())} is live: `forebay stream run` fills view {view}")


async def _declared(target: Target, name: str) -> Stream:
    await require_applied(target)
    plan = await target.registry.live_plan()
    assert plan is not None
    check_stream(plan, name)
    return plan.application.streams[name]
