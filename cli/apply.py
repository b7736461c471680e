"""`forebay apply` and `forebay plan`: an application file checked, compared with the live one, applied."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from forebay.errors import InvalidRequest
from rich.text import Text

from cli.console import print_json, stderr, stdout
from cli.failures import located
from cli.options import json_option, target_options, target_settings
from cli.target import Target, open_target, who
from jobs.breaking import breaking_changes, loaded_views, pipelines_of
from jobs.change_costs import change_costs
from jobs.fallback_candidates import readable_fallback_candidates
from jobs.in_thread import in_thread
from jobs.model_checks import check_models, initial_versions
from jobs.refused import Refused
from jobs.source_checks import check_sources
from jobs.sources import Sources
from registry.application_file import ApplicationFile, ApplicationFileError, Problem, load_application_file
from registry.definitions import Application
from registry.evolution import evolution_problems
from registry.plan import Change, diff
from registry.release import FallbackRelease

FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
ALLOW_NULLS = click.option(
    "--allow-nulls",
    is_flag=True,
    help="Apply although live pipelines read features as null until the next refresh.",
)
_MARKS = {"add": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}


@click.command()
@FILE
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--set-traffic", is_flag=True, help="Also set the live model versions to those of the file.")
@ALLOW_NULLS
@target_options
@json_option
def apply(
    file: Path,
    dry_run: bool,
    set_traffic: bool,
    allow_nulls: bool,
    app: str | None,
    redis_url: str | None,
    artifacts: str | None,
    as_json: bool,
) -> None:
    """Check an application file, show what it changes, and make it the applied one.

    Every mistake is shown at once, with its line; then nothing is changed (exit 2). Files, columns and models
    that aren't there yet are warnings. A change that stored rows could not survive is refused (exit 3); so is
    one that would leave a live pipeline without values until the next refresh, without --allow-nulls. Live
    model versions stay as they are without --set-traffic. FILE names the application; paths in it are
    relative to it.

    \b
      forebay apply app.yaml --dry-run   what would change
      forebay apply app.yaml             change it
    """
    _apply(file, dry_run, set_traffic, allow_nulls, app, redis_url, artifacts, as_json)


@click.command()
@FILE
@ALLOW_NULLS
@target_options
@json_option
def plan(
    file: Path,
    allow_nulls: bool,
    app: str | None,
    redis_url: str | None,
    artifacts: str | None,
    as_json: bool,
) -> None:
    """Show what applying FILE would change, and change nothing: `forebay apply FILE --dry-run`."""
    _apply(file, True, False, allow_nulls, app, redis_url, artifacts, as_json)


def _apply(
    file: Path,
    dry_run: bool,
    set_traffic: bool,
    allow_nulls: bool,
    app: str | None,
    redis_url: str | None,
    artifacts: str | None,
    as_json: bool,
) -> None:
    settings = target_settings(app, redis_url, artifacts)
    loaded = load_application_file(file)
    name = loaded.application.app
    if app is not None and app != name:
        raise InvalidRequest(f"{file} is of application {name}, not {app}", field="app")
    scope = loaded.scope()
    check_sources(scope, loaded.root)
    errors = [problem for problem in scope.problems if problem.severity == "error"]
    if errors:
        raise ApplicationFileError(errors, file)
    _warn(file, [*loaded.warnings, *scope.problems])

    async def run() -> None:
        async with open_target(settings, name) as target:
            changes, costs = await _changes(target, loaded)
            if not as_json:
                _print_changes(changes, costs)
            if not allow_nulls:
                await _refuse_breaks(target, loaded)
            versions = await _versions(target, loaded, set_traffic)
            models = loaded.scope()
            await in_thread(check_models, models, loaded.root, versions)
            _warn(file, models.problems)
            numbers = {} if dry_run else await _made_live(target, loaded, set_traffic)
            if as_json:
                listed = [asdict(change) for change in changes]
                print_json({"app": name, "changes": listed, "costs": costs, **numbers})
            elif dry_run:
                click.echo("dry run: nothing was changed")
            else:
                click.echo(f"{name}: plan {numbers['plan']} is applied, release {numbers['release']} is live")

    asyncio.run(run())


async def _changes(target: Target, loaded: ApplicationFile) -> tuple[list[Change], list[str]]:
    """Return the differences from what is live, and what they cost.

    Raises: Refused where stored rows couldn't survive them.
    """
    newest = await target.registry.newest_plan()
    live_plan, live = await target.registry.live_plan(), await target.registry.live()
    problems = evolution_problems(newest.ids, loaded.application) if newest else []
    if problems:
        users = live_plan.application if live_plan is not None else loaded.application
        raise Refused("\n".join(_with_pipelines(problem, users) for problem in problems))
    return diff(live_plan, loaded.application), change_costs(live_plan, live, loaded.application)


def _with_pipelines(problem: Problem, live: Application) -> str:
    """Return a problem, with the live pipelines that use the feature that it is about."""
    said = f"{problem.path}: {problem.message}"
    part, _, rest = problem.path.partition(".")
    view, _, feature = rest.removesuffix(".dtype").partition(".features.")
    users = pipelines_of(live, f"{view}.{feature}") if part == "views" and feature else []
    return f"{said}; pipelines: {', '.join(users)}" if users else said


async def _refuse_breaks(target: Target, loaded: ApplicationFile) -> None:
    """Raises: Refused where a live pipeline would be left without values."""
    live_plan, live = await target.registry.live_plan(), await target.registry.live()
    rows = await loaded_views(target.registry, live)
    breaks = breaking_changes(live_plan, live, loaded.application, rows)
    if breaks:
        raise Refused("\n".join([*breaks, "or accept that until then: --allow-nulls"]))


async def _versions(target: Target, loaded: ApplicationFile, set_traffic: bool) -> dict[str, str]:
    """Return the version of each model that is live once the file is applied."""
    versions = initial_versions(loaded.application, loaded.root)
    live = await target.registry.live()
    if live is None or set_traffic:
        return versions
    return versions | {name: entry.champion for name, entry in live.models.items()}


async def _made_live(target: Target, loaded: ApplicationFile, set_traffic: bool) -> dict[str, int]:
    champions = initial_versions(loaded.application, loaded.root)
    fallbacks, missing = await in_thread(_fallbacks, loaded, target.clock.now_us())
    for sentence in missing:
        stderr().print(Text(f"warning: {sentence}", "yellow"), soft_wrap=True)
    plan, release = await target.registry.apply(
        loaded.application,
        loaded.root,
        models=champions,
        fallbacks=fallbacks,
        set_traffic=set_traffic,
        who=who(),
        why="apply",
    )
    return {"plan": plan.number, "release": release.number}


def _fallbacks(loaded: ApplicationFile, now_us: int) -> tuple[dict[str, FallbackRelease], list[str]]:
    with Sources(loaded.application.sources, loaded.root) as sources:
        return readable_fallback_candidates(loaded.application, sources, now_us)


def _warn(file: Path, problems: Sequence[Problem]) -> None:
    for problem in problems:
        stderr().print(Text(f"warning: {located(problem, file)}", "yellow"), soft_wrap=True)


def _print_changes(changes: list[Change], costs: list[str]) -> None:
    if not changes:
        click.echo("no changes")
    for change in changes:
        mark, style = _MARKS[change.kind]
        stdout().print(Text(f"{mark} {change.path}: {change.detail}", style), soft_wrap=True)
    for cost in costs:
        stdout().print(Text(f"! {cost}", "yellow"), soft_wrap=True)
