"""`forebay batches`: the refreshes that ran."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import click

from cli.console import instant, print_json, print_table
from cli.options import json_option, target_options, target_settings
from cli.releases import LIMIT
from cli.target import open_target, require_applied
from registry.batch import BatchRecord


@click.command()
@LIMIT
@target_options
@json_option
def batches(limit: int, app: str | None, redis_url: str | None, artifacts: str | None, as_json: bool) -> None:
    """List refreshes: what they loaded, how many rows, how they ended and why they failed."""
    settings = target_settings(app, redis_url, artifacts)

    async def listed() -> list[BatchRecord]:
        async with open_target(settings) as target:
            await require_applied(target)
            return await target.registry.batches(limit)

    found = asyncio.run(listed())
    if as_json:
        print_json([json.loads(record.to_json()) for record in found])
        return
    rows = [
        {
            "batch": record.id,
            "status": record.status,
            "views": ", ".join(record.views),
            "indexes": ", ".join(record.indexes),
            "pipelines": ", ".join(record.pipelines),
            "rows": record.row_count,
            "checks": _checks(record),
            "code": record.code_version,
            "began": instant(record.started_at_us),
            "seconds": _seconds(record),
            "error": record.error,
        }
        for record in found
    ]
    columns = [
        "batch",
        "status",
        "views",
        "indexes",
        "pipelines",
        "rows",
        "checks",
        "code",
        "began",
        "seconds",
        "error",
    ]
    print_table(rows, columns, empty="no refresh has run: run `forebay refresh run`")


def _checks(record: BatchRecord) -> str:
    """Return how many checks came out how, such as `12 ok, 1 alarm`."""
    outcomes = Counter(text.partition(":")[0] for text in record.checks.values())
    kinds = ("ok", "alarm", "accepted", "broken")
    return ", ".join(f"{outcomes[kind]} {kind}" for kind in kinds if outcomes[kind])


def _seconds(record: BatchRecord) -> float | None:
    if record.finished_at_us is None:
        return None
    return (record.finished_at_us - record.started_at_us) / 1e6
