"""`forebay releases`: what was published."""

from __future__ import annotations

import asyncio
import json

import click

from cli.console import instant, print_json, print_table
from cli.options import json_option, target_options, target_settings
from cli.target import open_target, require_applied
from registry.release import Release

LIMIT = click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, the newest first."
)


@click.command()
@LIMIT
@target_options
@json_option
def releases(
    limit: int, app: str | None, redis_url: str | None, artifacts: str | None, as_json: bool
) -> None:
    """List releases: every apply, refresh, publication and rollback made one. The first is live."""
    settings = target_settings(app, redis_url, artifacts)

    async def listed() -> list[Release]:
        async with open_target(settings) as target:
            await require_applied(target)
            return await target.registry.releases(limit)

    found = asyncio.run(listed())
    if as_json:
        print_json([json.loads(release.to_json()) for release in found])
        return
    rows = [
        {
            "release": release.number,
            "plan": release.plan,
            "at": instant(release.at_us),
            "who": release.who,
            "why": release.why,
            "views": _listed({name: entry.generation for name, entry in release.views.items()}),
            "indexes": _listed({name: entry.version for name, entry in release.indexes.items()}),
            "models": _listed({name: entry.champion for name, entry in release.models.items()}),
            "precomputed": _listed({name: entry.version for name, entry in release.precomputed.items()}),
        }
        for release in found
    ]
    columns = ["release", "plan", "at", "who", "why", "views", "indexes", "models", "precomputed"]
    print_table(rows, columns, empty="nothing was published: run `forebay apply FILE`")


def _listed(entries: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in entries.items())
