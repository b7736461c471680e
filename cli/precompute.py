"""`forebay precompute`: a pipeline's answers before anybody asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import click
from rich.text import Text

from cli.console import instant, print_json, print_table, stderr
from cli.options import json_option, target_options, target_settings
from cli.progress import ProgressDisplay
from cli.target import Target, open_target, require_applied, who
from feature_store.redis_store import RedisStore
from jobs.precompute import Precompute, PrecomputeOutcome
from jobs.precomputed_state import PrecomputedState, precomputed_states
from jobs.precomputed_versions import PrecomputedVersions, check_known
from registry.precomputed import PrecomputedFor
from runtime.settings import Settings

DEFAULT_TOP = 10_000
_SHOWN_FAILURES = 3
_ACTIONS = ("status", "rollback", "drop")


@click.command()
@click.argument("pipeline", required=False)
@click.option("--by", "sql", metavar="SQL", help="A query over the sources: keys, the most important first.")
@click.option(
    "--top",
    type=click.IntRange(1, 10_000_000),
    help="How many rows of the ranking are taken. Default: 10000.",
)
@click.option(
    "--combinations",
    multiple=True,
    metavar="INPUT=VALUE,...",
    help="Values of one more input; repeated for others. Every combination is computed.",
)
@click.option(
    "--bin",
    "bins",
    multiple=True,
    metavar="INPUT=WIDTH",
    help="Requests whose INPUT falls into one bin share an answer. Default: the bins of cache.key.",
)
@click.option(
    "--rows",
    type=click.IntRange(1, 10_000),
    help="Rows that each answer ranks: the largest `top` it can serve. Default: the pipeline's.",
)
@click.option(
    "--return-feature",
    "features",
    multiple=True,
    metavar="VIEW.FEATURE",
    help="A feature that the answers carry, for requests that ask it back; repeated for others.",
)
@click.option("--status", is_flag=True, help="Show coverage and age of what is precomputed, and stop.")
@click.option("--rollback", is_flag=True, help="Publish PIPELINE's answers before the live ones again.")
@click.option("--drop", is_flag=True, help="Remove everything that is precomputed for PIPELINE.")
@target_options
@json_option
def precompute(
    pipeline: str | None,
    sql: str | None,
    top: int | None,
    combinations: tuple[str, ...],
    bins: tuple[str, ...],
    rows: int | None,
    features: tuple[str, ...],
    status: bool,
    rollback: bool,
    drop: bool,
    app: str | None,
    redis_url: str | None,
    artifacts: str | None,
    as_json: bool,
) -> None:
    """Make PIPELINE's answers now, through the same steps as a request, and publish them in a release.

    What to make: for the entities that --by ranks, the first --top of them; for values of other inputs, or of
    key fields, that --combinations lists; for both, every combination. An input that neither names has its
    default. With none of these options, what is live is made again.

    The pipeline says `precomputed: first` (such answers are given instead of computing) or `fallback` (where
    computing fails, if `degrade.predict` lists precomputed).

    \b
      forebay precompute movies_for_user --top 10000 \\
          --by "select user_id from ratings group by 1 order by count(*) desc"
      forebay precompute movies_for_user --combinations hour=0,6,12,18 --bin hour=6 \\
          --by "select user_id from ratings group by 1 order by count(*) desc"
      forebay precompute movies_for_user               # again, after a refresh
      forebay precompute --status                      # coverage and age, of every pipeline
      forebay precompute movies_for_user --drop

    The answers go beside the live ones: where anything fails, or the command is stopped, those stay. SQL that
    returns no rows, and a store without room, are refused (exit 3).
    """
    settings = target_settings(app, redis_url, artifacts)
    chosen = [name for name, given in zip(_ACTIONS, (status, rollback, drop), strict=True) if given]
    given = [sql, top, combinations, bins, rows, features]
    if len(chosen) > 1 or (chosen and any(given)):
        raise click.UsageError("--status, --rollback and --drop stand alone")
    if status:
        _show_status(settings, pipeline or "", as_json)
        return
    if pipeline is None:
        raise click.UsageError("name a PIPELINE, or ask for --status")
    if rollback:
        _roll_back(settings, pipeline, as_json)
    elif drop:
        _drop(settings, pipeline, as_json)
    else:
        if any(given) and not sql and not combinations:
            raise click.UsageError(
                "say for which entities: --by SQL, --combinations INPUT=VALUE,..., or both"
            )
        options = PrecomputedFor(sql or "", top or DEFAULT_TOP, combinations, bins, rows, features)
        _run(settings, pipeline, options if any(given) else None, as_json)


def _run(settings: Settings, pipeline: str, options: PrecomputedFor | None, as_json: bool) -> None:
    with ProgressDisplay() as display:

        async def made() -> PrecomputeOutcome:
            async with open_target(settings) as target:
                job = Precompute(versions_of(target), settings, target.clock, display.tell)
                return await job.run(pipeline, options)

        outcome = asyncio.run(made())
    _warn(outcome)
    if as_json:
        print_json(_as_dict(outcome))
        return
    entry, tally = outcome.entry, outcome.tally
    size = f"{tally.size_bytes / (1 << 20):.1f} MiB"
    click.echo(
        f"{entry.count:,} answers for {entry.entity_count:,} entities, about {size}: version {entry.version}"
    )
    click.echo(f"batch {entry.batch}: release {outcome.release} is live")


def _warn(outcome: PrecomputeOutcome) -> None:
    tally, remarks = outcome.tally, list[str]()
    if outcome.keyless:
        remarks.append(f"{outcome.keyless:,} rows of the ranking hold a null and were left out")
    if outcome.repeated:
        remarks.append(f"{outcome.repeated:,} rows of the ranking repeat an earlier one and were left out")
    if tally.degraded:
        remarks.append(
            f"{tally.degraded:,} answers had to do without features, and say so when they are given"
        )
    for reason, count in list(tally.failed.items())[:_SHOWN_FAILURES]:
        remarks.append(f"{count:,} answers could not be made: {reason}")
    if len(tally.failed) > _SHOWN_FAILURES:
        remarks.append(f"and others, for {len(tally.failed) - _SHOWN_FAILURES} more reasons")
    for remark in remarks:
        stderr().print(Text(f"warning: {remark}", "yellow"), soft_wrap=True)


def _as_dict(outcome: PrecomputeOutcome) -> dict[str, Any]:
    entry, tally = outcome.entry, outcome.tally
    return {
        "pipeline": outcome.pipeline,
        "version": entry.version,
        "release": outcome.release,
        "batch": entry.batch,
        "answers": entry.count,
        "entities": entry.entity_count,
        "rows": entry.top,
        "bytes": tally.size_bytes,
        "degraded": tally.degraded,
        "failed": tally.failed_count,
        "failures": tally.failed,
        "without_key": outcome.keyless,
        "repeated": outcome.repeated,
    }


def _show_status(settings: Settings, pipeline: str, as_json: bool) -> None:
    async def looked() -> Sequence[PrecomputedState]:
        async with open_target(settings) as target:
            await require_applied(target)
            return await states_of(target, pipeline)

    rows = [_state_row(state) for state in asyncio.run(looked())]
    if as_json:
        print_json(rows)
        return
    shown = [
        {
            **row,
            "made": instant(row["made_at_us"]),
            "age": _age(row["age_s"]),
            "coverage": _percent(row["coverage"]),
            "changed since": ", ".join(row["changed_since"]),
        }
        for row in rows
    ]
    columns = ["pipeline", "precomputed", "version", "answers", "entities", "of", "coverage", "made"]
    columns += ["age", "made_by_release", "changed since", "problem"]
    print_table(shown, columns, empty="no pipeline says `precomputed: first` or `precomputed: fallback`")


def _state_row(state: PrecomputedState) -> dict[str, Any]:
    entry = state.entry
    return {
        "pipeline": state.pipeline,
        "precomputed": state.mode,
        "max_age_s": state.max_age_us / 1e6,
        "version": None if entry is None else entry.version,
        "answers": 0 if entry is None else entry.count,
        "entities": 0 if entry is None else entry.entity_count,
        "of": state.entity_total,
        "coverage": state.coverage,
        "made_at_us": 0 if entry is None else entry.as_of_us,
        "age_s": None if entry is None else state.age_us / 1e6,
        "made_by_release": None if entry is None else entry.made_by,
        "changed_since": list(state.changes),
        "problem": state.problem,
    }


def _age(age_s: float | None) -> str:
    if age_s is None:
        return ""
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if age_s >= 2 * length_s:
            return f"{age_s / length_s:.0f} {unit}"
    return f"{age_s:.0f} s"


def _percent(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1%}"


def _roll_back(settings: Settings, pipeline: str, as_json: bool) -> None:
    async def rolled_back() -> tuple[int, int]:
        async with open_target(settings) as target:
            release = await versions_of(target).rollback(pipeline)
            return release.number, release.precomputed[pipeline].version

    number, version = asyncio.run(rolled_back())
    if as_json:
        print_json({"pipeline": pipeline, "version": version, "release": number})
    else:
        click.echo(f"pipeline {pipeline} is back at version {version}: release {number} is live")


def _drop(settings: Settings, pipeline: str, as_json: bool) -> None:
    async def dropped() -> tuple[int, int]:
        async with open_target(settings) as target:
            release, count = await versions_of(target).drop(pipeline)
            return release.number, count

    number, count = asyncio.run(dropped())
    if as_json:
        print_json({"pipeline": pipeline, "removed": count, "release": number})
    else:
        click.echo(f"{count:,} precomputed answers of {pipeline} are gone: release {number} is live")


def versions_of(target: Target) -> PrecomputedVersions:
    """Return the stored versions of the target's application."""
    store = RedisStore(target.connection, target.settings.feature_store)
    return PrecomputedVersions(target.registry, target.connection, store, who())


async def states_of(target: Target, pipeline: str = "") -> Sequence[PrecomputedState]:
    """Return what is precomputed, of every pipeline or of one. Raises: NotFound."""
    live = await target.registry.live()
    if live is None:
        return []
    plan = await target.registry.plan(live.plan)
    if pipeline:
        check_known(plan, pipeline)
    return await precomputed_states(versions_of(target), plan, live, target.clock.now_us(), pipeline)
