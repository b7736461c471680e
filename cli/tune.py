"""`forebay tune`: how seldom something may be done and still be good enough, found by replaying history."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from cli.console import print_json, print_table, stderr
from cli.options import json_option, target_options, target_settings
from cli.progress import ProgressDisplay
from cli.target import open_target
from cli.training_set import intervals
from jobs.refused import Refused
from jobs.training.labels import LabelOptions
from jobs.tuning.metrics import Interval
from jobs.tuning.options import LADDER, METRICS, Threshold, TuneOptions, parse_intervals
from jobs.tuning.tune_refresh import Step, Tuned, TuneRefresh
from registry.durations import format_duration


@click.group()
def tune() -> None:
    """Find out by history how seldom something may be done and still be good enough. Changes nothing."""


@tune.command()
@click.argument("view")
@click.option("--pipeline", required=True, help="The pipeline whose live model is replayed.")
@click.option(
    "--labels",
    metavar="FILE|SQL",
    required=True,
    help="What happened: as for `forebay training-set`.",
)
@click.option("--outcome", metavar="COLUMN", required=True, help="The labels' column that tells what came.")
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    default="auc",
    show_default=True,
    help="auc (outcomes 0 and 1), rmse (numbers), ndcg (gains, ranked within a group).",
)
@click.option(
    "--threshold",
    metavar="FIGURE|SHARE",
    default="1%",
    show_default=True,
    help="What has to be kept: the metric itself (0.72), or all but a share of the freshest's (1%).",
)
@click.option(
    "--intervals",
    "steps",
    metavar="INTERVAL,...",
    default=",".join(LADDER),
    show_default=True,
    help="The steps, each longer than the one before.",
)
@click.option("--time", "time_column", metavar="COLUMN", default="event_time", show_default=True)
@click.option("--group", metavar="COLUMN", default="", help="What ndcg ranks within. Default: VIEW's entity.")
@click.option("--at", metavar="N", type=click.IntRange(1, 10_000), default=10, show_default=True)
@click.option("--score", metavar="NAME", default="", help="Which of the model's scores. Default: the first.")
@click.option("--as-is", "as_is", metavar="VIEW", multiple=True, help="Join this other view as it is today.")
@click.option(
    "--refreshed", metavar="VIEW=INTERVAL", multiple=True, help="How often another view is refreshed."
)
@click.option("--allow-repeated", is_flag=True, help="Take labels that share keys and time.")
@click.option("--draws", type=click.IntRange(20, 100_000), default=300, show_default=True)
@click.option("--confidence", type=click.FloatRange(0.5, 0.999), default=0.95, show_default=True)
@click.option("--report", type=click.Path(path_type=Path), help="Write the figures to this file, as JSON.")
@target_options
@json_option
def refresh(
    view: str,
    pipeline: str,
    labels: str,
    outcome: str,
    metric: str,
    threshold: str,
    steps: str,
    time_column: str,
    group: str,
    at: int,
    score: str,
    as_is: tuple[str, ...],
    refreshed: tuple[str, ...],
    allow_repeated: bool,
    draws: int,
    confidence: float,
    report: Path | None,
    app: str | None,
    redis_url: str | None,
    artifacts: str | None,
    as_json: bool,
) -> None:
    """Find the longest interval at which VIEW may be refreshed.

    Labels are replayed over the sources' history: their features as they would have been, had VIEW been
    refreshed at every interval's multiple, go through PIPELINE's live model, and its scores are compared with
    what came. The interval is lengthened step by step while the metric stays good enough, then stepped back
    to the last that was. Good enough: the lower bound of what is left above the threshold, over draws of
    VIEW's entities, isn't negative. None that is: exit 3.

    \b
      forebay tune refresh user_ratings --pipeline will_like --outcome liked --threshold 1% \\
          --labels "select *, rating >= 4 as liked, rated_at - interval 1 second as event_time from ratings"
    """
    settings = target_settings(app, redis_url, artifacts)
    options = TuneOptions(
        view=view,
        pipeline=pipeline,
        labels=LabelOptions(labels, time_column, allow_repeated),
        outcome=outcome,
        metric=metric,
        threshold=Threshold.parse(threshold),
        intervals_us=parse_intervals(steps),
        as_is=frozenset(as_is),
        every_us=intervals("--refreshed", refreshed),
        group=group,
        at=at,
        score=score,
        draws=draws,
        confidence=confidence,
    )
    with ProgressDisplay() as display:

        async def tuned() -> Tuned:
            async with open_target(settings) as target:
                memory_bytes = settings.refresh.engine_memory_bytes
                job = TuneRefresh(target.registry, target.clock, display.tell, settings.onnx, memory_bytes)
                return await job.run(options)

        outcome_of = asyncio.run(tuned())
    figures = _as_dict(outcome_of, options)
    if report is not None:
        report.write_text(json.dumps(figures, indent=2) + "\n")
    for remark in outcome_of.remarks:
        stderr().print(Text(f"warning: {remark}", "yellow"), soft_wrap=True)
    if as_json:
        print_json(figures)
    else:
        _print(outcome_of, options)
    if outcome_of.chosen_us is None:
        raise Refused(f"no interval keeps {options.metric} at the threshold ({options.threshold})")


def _as_dict(tuned: Tuned, options: TuneOptions) -> dict[str, Any]:
    return {
        "view": tuned.view,
        "pipeline": tuned.pipeline,
        "model": tuned.model,
        "version": tuned.version,
        "labels": tuned.labels,
        "answered": tuned.compared,
        "metric": options.metric,
        "threshold": str(options.threshold),
        "chosen_us": tuned.chosen_us,
        "chosen": None if tuned.chosen_us is None else format_duration(tuned.chosen_us),
        "steps": [
            {
                "every_us": step.every_us,
                "refreshes_per_day": step.refreshes_per_day,
                "metric": _interval(step.metric),
                "margin": _interval(step.margin),
                "rows_found": step.found,
                "unanswered": step.unanswered,
                "good_enough": step.is_good_enough,
            }
            for step in tuned.steps
        ],
        "remarks": list(tuned.remarks),
    }


def _interval(figure: Interval) -> dict[str, float]:
    return {"value": figure.value, "low": figure.low, "high": figure.high}


def _print(tuned: Tuned, options: TuneOptions) -> None:
    rows = [
        {
            "interval": "all the time" if step.every_us is None else format_duration(step.every_us),
            "refreshes per day": "" if step.refreshes_per_day is None else f"{step.refreshes_per_day:.4g}",
            options.metric: f"{step.metric.value:.4f}",
            "between": f"{step.metric.low:.4f} and {step.metric.high:.4f}",
            "margin": f"{step.margin.value:+.4f}",
            "at least": f"{step.margin.low:+.4f}",
            "rows found": step.found,
            "": _verdict(step, tuned),
        }
        for step in tuned.steps
    ]
    print_table(rows, list(rows[0]), empty="")
    click.echo(
        f"{tuned.labels:,} labels through {tuned.model} version {tuned.version}; "
        f"threshold: {options.threshold}; between: {options.confidence:.0%} of {options.draws} draws"
    )
    if tuned.chosen_us is not None:
        click.echo(f"refresh {tuned.view} every {format_duration(tuned.chosen_us)}")


def _verdict(step: Step, tuned: Tuned) -> str:
    if step.every_us is not None and step.every_us == tuned.chosen_us:
        return "chosen"
    return "good enough" if step.is_good_enough else "too old"
