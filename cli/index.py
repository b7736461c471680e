"""`forebay index`: versions of vector indexes, built, published, rolled back and listed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from ann_index.snapshot import Manifest
from cli.console import instant, print_json, print_table
from cli.options import json_option, target_options, target_settings
from cli.progress import ProgressDisplay
from cli.refresh import SAME_SPACE, builder_of
from cli.target import Target, open_target, who
from jobs.index_release import IndexReleases, VersionState
from registry.release import Release
from runtime.settings import Settings

Result = TypeVar("Result")


@click.group()
def index() -> None:
    """Build, publish, roll back and list vector indexes."""


@index.command()
@click.argument("name", metavar="INDEX")
@click.option("--no-publish", is_flag=True, help="Build and verify only.")
@target_options
@json_option
def build(
    name: str,
    no_publish: bool,
    app: str | None,
    redis_url: str | None,
    artifacts: str | None,
    as_json: bool,
) -> None:
    """Build a version of INDEX from the live rows of its view, verify it, publish it if it is good enough.

    The search is tuned until `publish_if` holds. If it can't be, nothing is published (exit 3) and the
    snapshot is kept: `forebay index publish` makes it live all the same.
    """
    settings = target_settings(app, redis_url, artifacts)
    with ProgressDisplay() as display:

        async def built(target: Target) -> Manifest:
            _, builder = builder_of(target)
            return await _releases(target).build(builder, name, display.tell, publish=not no_publish)

        manifest = _on_target(settings, built)
    facts = _facts(manifest) | {"published": not no_publish}
    if as_json:
        print_json({"index": name, "version": manifest.version, **facts})
        return
    click.echo(
        f"index {name} {manifest.version}: {manifest.count:,} vectors of {manifest.dimension}, "
        f"{manifest.factory}, recall@10 {manifest.recall.value:.4f} "
        f"(95% confident of at least {manifest.recall.bound:.4f}), p99 {manifest.latency.p99_us:,.0f} us"
    )
    click.echo("built, not published" if no_publish else "published")


@index.command()
@click.argument("name", metavar="INDEX")
@click.argument("version")
@SAME_SPACE
@target_options
def publish(
    name: str,
    version: str,
    same_space: bool,
    app: str | None,
    redis_url: str | None,
    artifacts: str | None,
) -> None:
    """Make a built VERSION of INDEX live."""
    settings = target_settings(app, redis_url, artifacts)

    async def published(target: Target) -> Release:
        return await _releases(target).publish(name, version, same_space=same_space)

    _print_live(name, _on_target(settings, published))


@index.command()
@click.argument("name", metavar="INDEX")
@click.argument("version", required=False)
@SAME_SPACE
@target_options
def rollback(
    name: str,
    version: str | None,
    same_space: bool,
    app: str | None,
    redis_url: str | None,
    artifacts: str | None,
) -> None:
    """Make an earlier version of INDEX live: VERSION, else the one that was live before."""
    settings = target_settings(app, redis_url, artifacts)

    async def rolled_back(target: Target) -> Release:
        return await _releases(target).rollback(name, version, same_space=same_space)

    _print_live(name, _on_target(settings, rolled_back))


@index.command("list")
@click.argument("name", metavar="[INDEX]", required=False)
@target_options
@json_option
def list_versions(
    name: str | None, app: str | None, redis_url: str | None, artifacts: str | None, as_json: bool
) -> None:
    """List the versions of INDEX, or of all indexes, with what was measured when they were built."""
    settings = target_settings(app, redis_url, artifacts)

    async def listed(target: Target) -> list[VersionState]:
        return await _releases(target).versions(name)

    rows = [_row(state) for state in _on_target(settings, listed)]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["built"] = instant(row.pop("created_at_us", 0))
        row["live"] = "live" if row["live"] else ""
    columns = ["index", "version", "live", "count", "dimension", "factory", "recall_at_10", "p99_us"]
    columns += ["size_bytes", "batch", "built", "problem"]
    print_table(rows, columns, empty="no version of an index is there: run `forebay index build INDEX`")


def _on_target(settings: Settings, work: Callable[[Target], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with open_target(settings) as target:
            return await work(target)

    return asyncio.run(run())


def _releases(target: Target) -> IndexReleases:
    return IndexReleases(target.registry, target.settings.artifacts, who())


def _print_live(name: str, release: Release) -> None:
    click.echo(f"index {name}: version {release.indexes[name].version}, release {release.number} is live")


def _row(state: VersionState) -> dict[str, Any]:
    row: dict[str, Any] = {"index": state.index, "version": state.version, "live": state.live}
    return row | (_facts(state.manifest) if state.manifest else {}) | {"problem": state.problem}


def _facts(manifest: Manifest) -> dict[str, Any]:
    return {
        "count": manifest.count,
        "dimension": manifest.dimension,
        "metric": manifest.metric.value,
        "factory": manifest.factory,
        "recall_at_10": manifest.recall.value,
        "recall_at_10_bound": manifest.recall.bound,
        "p99_us": round(manifest.latency.p99_us),
        "size_bytes": sum(facts.size_bytes for facts in manifest.files.values()),
        "batch": manifest.batch,
        "space": manifest.space,
        "created_at_us": manifest.created_at_us,
    }
