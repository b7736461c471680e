"""`forebay doctor`: what a setup lacks, and how to fix it. Checks of the machine are in `checks.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import click
from forebay.errors import Corrupt, Error
from rich.text import Text

from ann_index.snapshot import check_files, read_manifest
from cli.checks import Check, State, machine_checks
from cli.console import instant, print_json, stdout
from cli.options import json_option, target_options, target_settings
from cli.precompute import states_of
from cli.stream import stream_inspection
from cli.stream_checks import stream_check
from cli.target import Target, applications, open_target
from jobs.precomputed_state import PrecomputedState
from model_server.repository import ModelRepository
from registry.definitions import Index
from registry.plan import Plan
from registry.release import Release
from runtime.settings import Settings

_MARKS: dict[State, tuple[str, str]] = {
    "ok": ("ok  ", "green"),
    "warn": ("warn", "yellow"),
    "fail": ("FAIL", "red"),
}


@click.command()
@target_options
@json_option
def doctor(app: str | None, redis_url: str | None, artifacts: str | None, as_json: bool) -> None:
    """Check this machine, the store and what is applied; say how to fix what is wrong.

    Exit code 1 if a check fails; warnings alone are exit code 0.
    """
    settings = target_settings(app, redis_url, artifacts)
    checks = list(machine_checks(settings))
    checks += asyncio.run(_store_checks(settings))
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        _print(checks)
    if any(check.state == "fail" for check in checks):
        raise click.exceptions.Exit(1)


async def _store_checks(settings: Settings) -> list[Check]:
    if not settings.redis.url and not settings.redis.embedded_directory.is_dir():
        fix = "run `forebay apply FILE`, or `forebay demo --prepare-only` for an example"
        return [Check("store", "warn", "no embedded store was started here yet", fix)]
    try:
        return [check async for check in _checks_of_store(settings)]
    except Error as error:
        return [Check("store", "fail", error.message, "start the server, or correct the URL (--redis)")]


async def _checks_of_store(settings: Settings) -> AsyncIterator[Check]:
    async with open_target(settings, settings.app or "-") as target:
        begun_s = target.clock.monotonic_s()
        await target.connection.execute("PING")
        took_ms = (target.clock.monotonic_s() - begun_s) * 1000
        yield Check("store", "ok", f"answers in {took_ms:.2f} ms")
        applied = await applications(target.connection, target.clock)
        names = [settings.app] if settings.app else applied
        if not names:
            yield Check("application", "warn", "none is applied", "run `forebay apply FILE`")
    for name in names:
        async with open_target(settings, name) as target:
            async for check in _application_checks(target):
                yield check


async def _application_checks(target: Target) -> AsyncIterator[Check]:
    live = await target.registry.live()
    if live is None:
        yield Check(f"application {target.app}", "fail", "isn't applied", "run `forebay apply FILE`")
        return
    yield Check(f"application {target.app}", "ok", f"plan {live.plan}, release {live.number} is live")
    plan = await target.registry.plan(live.plan)
    for check in (*_views(plan, live), *_indexes(plan, live, target), *_models(plan, live)):
        yield check
    for state in await states_of(target):
        yield _precomputed(state)
    if plan.application.streams:
        for status in await stream_inspection(target).statuses():
            yield stream_check(status)


def _views(plan: Plan, live: Release) -> list[Check]:
    checks: list[Check] = []
    for name, view in plan.application.views.items():
        entry = live.views.get(name)
        if view.batch is None or (entry and entry.batch):
            as_of = f", as of {instant(entry.as_of_us)}" if entry and entry.as_of_us else ""
            generation = f"generation {entry.generation}{as_of}" if entry else "written in place"
            checks.append(Check(f"view {name}", "ok", generation))
        else:
            fix = f"run `forebay refresh run {name}`"
            checks.append(Check(f"view {name}", "warn", "was never refreshed", fix))
    return checks


def _indexes(plan: Plan, live: Release, target: Target) -> list[Check]:
    checks: list[Check] = []
    for name, declared in plan.application.indexes.items():
        entry = live.indexes.get(name)
        fix = f"run `forebay index build {name}`"
        if entry is None:
            checks.append(Check(f"index {name}", "warn", "no version is live", fix))
            continue
        directory = target.settings.artifacts / target.app / "indexes" / name / entry.version
        problem = _snapshot_problem(directory, declared)
        if problem:
            problem = f"version {entry.version} is live, but {problem}"
            checks.append(Check(f"index {name}", "fail", problem, f"correct --artifacts, or {fix}"))
        else:
            checks.append(Check(f"index {name}", "ok", f"version {entry.version}"))
    return checks


def _snapshot_problem(directory: Path, declared: Index) -> str:
    if not directory.is_dir():
        return f"not in {directory}"
    try:
        manifest = read_manifest(directory)
        check_files(directory, manifest)
    except Corrupt as error:
        return f"broken in {directory}: {error.message}"
    return manifest.misfit(declared)


def _models(plan: Plan, live: Release) -> list[Check]:
    checks: list[Check] = []
    for name, model in plan.application.models.items():
        repository = Path(plan.root) / model.repository
        entry = live.models.get(name)
        there = ModelRepository(repository).versions(name)
        if entry is None:
            fix = f"put {repository / name}/1/model.onnx there, and apply again"
            checks.append(Check(f"model {name}", "warn", "no version is live", fix))
        elif entry.champion in map(str, there):
            checks.append(Check(f"model {name}", "ok", f"version {entry.champion}"))
        else:
            problem = f"version {entry.champion} is live, but not in {repository / name}"
            checks.append(Check(f"model {name}", "fail", problem, "put it back, or apply with --set-traffic"))
    return checks


def _precomputed(state: PrecomputedState) -> Check:
    name, entry = f"precomputed {state.pipeline}", state.entry
    if entry is None or state.problem:
        return Check(name, "warn", state.problem, "`forebay precompute --help` tells how to say for whom")
    part = "" if state.coverage is None else f" ({state.coverage:.0%} of all)"
    detail = f"version {entry.version}, {entry.entity_count:,} entities{part}, of {instant(entry.as_of_us)}"
    if state.changes:
        fix = f"run `forebay precompute {state.pipeline}` again, or leave them until they are too old"
        return Check(name, "ok", f"{detail}; published since: {', '.join(state.changes)}", fix)
    return Check(name, "ok", detail)


def _print(checks: list[Check]) -> None:
    for check in checks:
        mark, style = _MARKS[check.state]
        stdout().print(Text.assemble((mark, style), f"  {check.name}: {check.detail}"))
        if check.fix:
            stdout().print(Text(f"      {check.fix}", "dim"))
    counts = {state: sum(check.state == state for check in checks) for state in _MARKS}
    click.echo(f"{counts['ok']} ok, {counts['warn']} warnings, {counts['fail']} failures")
