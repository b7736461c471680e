"""`forebay training-set`: labels joined to the features that were known when they were asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from forebay.errors import InvalidRequest
from rich.text import Text

from cli.console import instant, print_json, print_table, stderr
from cli.options import json_option, target_options, target_settings
from cli.progress import ProgressDisplay
from cli.target import open_target
from jobs.training.labels import LabelOptions
from jobs.training.training_set import TrainingSet, TrainingSetOptions, TrainingSetOutcome
from jobs.training.wanted import Asked
from registry.durations import format_duration, parse_duration_us

_STATUSES = ("PRESENT", "DEFAULTED", "NULL", "NOT_FOUND", "STALE")


@click.command("training-set")
@click.argument("names", metavar="PIPELINE|VIEW|VIEW.FEATURE...", nargs=-1, required=True)
@click.option(
    "--labels",
    metavar="FILE|SQL",
    required=True,
    help="A Parquet or CSV file with a header, or SQL over the application's sources.",
)
@click.option(
    "--output",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="The Parquet file to write; replaced when all of it is there.",
)
@click.option(
    "--time",
    "time_column",
    metavar="COLUMN",
    default="event_time",
    show_default=True,
    help="The labels' column that says when features were, or would have been, asked for.",
)
@click.option(
    "--as-is",
    "as_is",
    metavar="VIEW",
    multiple=True,
    help="Join this view as its source is today, not as it was: a leak, taken knowingly; may be repeated.",
)
@click.option(
    "--refreshed",
    metavar="VIEW=INTERVAL",
    multiple=True,
    help="This view is refreshed every so often (6h, 1d), and not all the time; may be repeated.",
)
@click.option(
    "--model-inputs",
    is_flag=True,
    help="Write the inputs of PIPELINE's model, as they are served, instead of single features.",
)
@click.option("--allow-repeated", is_flag=True, help="Take labels that share keys and time.")
@target_options
@json_option
def training_set(
    names: tuple[str, ...],
    labels: str,
    output: Path,
    time_column: str,
    as_is: tuple[str, ...],
    refreshed: tuple[str, ...],
    model_inputs: bool,
    allow_repeated: bool,
    app: str | None,
    redis_url: str | None,
    artifacts: str | None,
    as_json: bool,
) -> None:
    """Join labels to features as they were known at each label's time, and write a Parquet file.

    Labels have a column for each key field of the entities, one for the time, and whatever is to be learnt.
    The file has their rows in their order, with their columns, and for each feature its value and its status
    as the online store would have answered then; null where there is no value.

    A batch view gives the newest row that had happened by the label's time; a view of a stream the aggregates
    of the events that its windows covered then, out of the stream's `history`. A view whose source has no
    event time is refused, unless it is taken --as-is.

    \b
      forebay training-set user_taste movie_profile.year --labels clicks.parquet --output train.parquet
      forebay training-set will_like --labels labels.csv --time asked_at --output train.parquet
      forebay training-set will_like --model-inputs --output train.parquet \\
          --labels "select *, rated_at - interval 1 second as event_time from ratings"
      forebay training-set user_taste --refreshed user_taste=1d --labels clicks.parquet --output t.parquet

    The time is that of the question, not of the outcome: a label at the instant of what it tells sees it.
    """
    settings = target_settings(app, redis_url, artifacts)
    options = TrainingSetOptions(
        asked=Asked(names, frozenset(as_is), intervals("--refreshed", refreshed)),
        labels=LabelOptions(labels, time_column, allow_repeated),
        output=output,
        model_inputs=model_inputs,
    )
    with ProgressDisplay() as display:

        async def made() -> TrainingSetOutcome:
            async with open_target(settings) as target:
                memory_bytes = settings.refresh.engine_memory_bytes
                job = TrainingSet(target.registry, target.clock, display.tell, memory_bytes)
                return await job.run(options)

        outcome = asyncio.run(made())
    for remark in outcome.remarks:
        stderr().print(Text(f"warning: {remark}", "yellow"), soft_wrap=True)
    if as_json:
        print_json(_as_dict(outcome))
    else:
        _print_outcome(outcome)


def intervals(option: str, given: Sequence[str]) -> dict[str, int]:
    """Return `VIEW=INTERVAL` texts as microseconds by view. Raises: InvalidRequest naming the option."""
    found: dict[str, int] = {}
    for text in given:
        view, _, interval = text.partition("=")
        try:
            found[view] = parse_duration_us(interval)
        except ValueError as error:
            raise InvalidRequest(f"{option} takes VIEW=INTERVAL: {error}") from error
    return found


def _as_dict(outcome: TrainingSetOutcome) -> dict[str, Any]:
    tally = outcome.tally
    return {
        "output": str(outcome.output),
        "labels": tally.labels,
        "served": tally.labels - tally.unserved,
        "oldest_us": outcome.oldest_us,
        "newest_us": outcome.newest_us,
        "views": [
            {
                "view": view.name,
                "join": view.join.value,
                "refreshed_every_us": view.every_us,
                "found": tally.found.get(view.name, 0),
                "event_times_us": list(tally.event_times_us.get(view.name, ())),
            }
            for view in outcome.views
        ],
        "features": tally.statuses,
        "remarks": list(outcome.remarks),
    }


def _print_outcome(outcome: TrainingSetOutcome) -> None:
    tally = outcome.tally
    views = [
        {
            "view": view.name,
            "joined": view.join.value if view.every_us is None else f"every {format_duration(view.every_us)}",
            "rows found": tally.found.get(view.name, 0),
            "oldest": instant(tally.event_times_us.get(view.name, (0, 0))[0]),
            "newest": instant(tally.event_times_us.get(view.name, (0, 0))[1]),
        }
        for view in outcome.views
    ]
    print_table(views, list(views[0]), empty="")
    features = [
        {"feature": name, **{status: counts.get(status, 0) for status in _STATUSES}}
        for name, counts in tally.statuses.items()
    ]
    print_table(features, ["feature", *_STATUSES], empty="")
    spans = f"{instant(outcome.oldest_us)} to {instant(outcome.newest_us)}"
    click.echo(f"{outcome.output}: {tally.labels:,} labels, {spans}")
