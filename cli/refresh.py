"""`forebay refresh`: batch sources into the store, published; and back again."""

from __future__ import annotations

import asyncio
from typing import Any

import click
from rich.text import Text

from cli.console import print_json, print_table, stderr
from cli.options import json_option, target_options, target_settings
from cli.progress import ProgressDisplay
from cli.target import Target, open_target, store_url, who
from feature_store.redis_store import RedisStore
from jobs.engines import engine_of
from jobs.index_build import IndexBuilder
from jobs.refresh import Refresh, RefreshOutcome
from jobs.refresh_options import RefreshOptions
from jobs.rollback import Rollback
from jobs.sources import load_engine

SAME_SPACE = click.option(
    "--same-space",
    is_flag=True,
    help="The embedding's basis did not change: what shares its space may stay as it is.",
)


@click.group()
def refresh() -> None:
    """Load views from their batch sources and publish them, or take a view back."""


@refresh.command()
@click.argument("views", metavar="[VIEW]...", nargs=-1)
@click.option("--allow-empty", is_flag=True, help="Publish a view even if its source returns no rows.")
@click.option("--allow-shrink", is_flag=True, help="Publish a view even with far fewer rows than are live.")
@click.option(
    "--accept",
    "accepted",
    metavar="CHECK",
    multiple=True,
    help="Publish although this check is broken, by its name; may be repeated.",
)
@click.option(
    "--since",
    metavar="last|TIME",
    default="",
    help="Read only rows whose event time is not before TIME (ISO 8601, UTC), or the last batch's newest.",
)
@SAME_SPACE
@target_options
@json_option
def run(
    views: tuple[str, ...],
    allow_empty: bool,
    allow_shrink: bool,
    accepted: tuple[str, ...],
    since: str,
    same_space: bool,
    app: str | None,
    redis_url: str | None,
    artifacts: str | None,
    as_json: bool,
) -> None:
    """Load VIEWs (all with a batch source, when none is named) and publish them in one release.

    A swapped view gets a new generation beside the live one; if anything fails, what is live stays live.
    Views that share a space are refreshed together, and live indexes over it are rebuilt in the same release:
    refreshing a part is refused (exit 3).

    Rows are checked before they are published: a source without rows, half of the live rows gone, and what
    the view's `checks` say. A refresh that breaks one is refused (exit 3). One that was killed is gone on
    with by the next one of the same views, where the source hasn't changed.

    \b
      forebay refresh run                                 everything
      forebay refresh run user_taste movie_profile        these, together
      forebay refresh run user_visits --since last        only what is new (publish: upsert)
    """
    settings = target_settings(app, redis_url, artifacts)
    options = RefreshOptions(
        allow_empty=allow_empty,
        allow_shrink=allow_shrink,
        accepted=frozenset(accepted),
        same_space=same_space,
        since=since,
        who=who(),
    )
    load_engine()
    with ProgressDisplay() as display:

        async def refreshed() -> RefreshOutcome:
            async with open_target(settings) as target:
                store, builder = builder_of(target)
                job = Refresh(
                    target.registry,
                    target.connection,
                    store,
                    builder,
                    target.clock,
                    display.tell,
                    engine_of(settings, store_url(settings)),
                )
                return await job.run(views, options)

        outcome = asyncio.run(refreshed())
    if as_json:
        print_json(_as_dict(outcome))
    else:
        _print_outcome(outcome)


@refresh.command()
@click.argument("view")
@SAME_SPACE
@target_options
def rollback(
    view: str, same_space: bool, app: str | None, redis_url: str | None, artifacts: str | None
) -> None:
    """Publish VIEW's previous generation again, in a new release.

    What shares its space goes back with it, indexes too, to what was live together with that generation. One
    generation before the live one is kept.
    """
    settings = target_settings(app, redis_url, artifacts)

    async def rolled_back() -> str:
        async with open_target(settings) as target:
            job = Rollback(target.registry, target.connection, who())
            release = await job.run(view, same_space=same_space)
            generation = release.views[view].generation
            return f"view {view} is back at generation {generation}: release {release.number} is live"

    click.echo(asyncio.run(rolled_back()))


def builder_of(target: Target) -> tuple[RedisStore, IndexBuilder]:
    """Return the store, and what builds indexes from it."""
    settings = target.settings
    store = RedisStore(target.connection, settings.feature_store)
    return store, IndexBuilder(target.connection, store, settings.artifacts, target.clock, settings.ann_index)


def _rows(outcome: RefreshOutcome) -> list[dict[str, Any]]:
    return [
        {
            "view": item.view,
            "publish": item.publish,
            "generation": item.generation,
            "rows": item.written.applied,
            "resumed": item.written.resumed,
            "without_key": item.counts.keyless,
            "repeated": item.counts.repeated,
            "older": item.written.older,
            "invalid": item.written.invalid,
        }
        for item in outcome.views
    ]


def _as_dict(outcome: RefreshOutcome) -> dict[str, Any]:
    return {
        "batch": outcome.batch,
        "release": outcome.release,
        "views": _rows(outcome),
        "indexes": outcome.indexes,
        "remarks": list(outcome.remarks),
    }


def _print_outcome(outcome: RefreshOutcome) -> None:
    rows = _rows(outcome)
    print_table(rows, list(rows[0]), empty="")
    for row in rows:
        if row["invalid"]:
            remark = f"warning: view {row['view']}: {row['invalid']:,} rows were refused by the store"
            stderr().print(Text(remark, "yellow"))
    for remark in outcome.remarks:
        stderr().print(Text(f"warning: {remark}", "yellow"), soft_wrap=True)
    for index, version in outcome.indexes.items():
        click.echo(f"index {index}: version {version} was built from these rows")
    click.echo(f"batch {outcome.batch}: release {outcome.release} is live")
