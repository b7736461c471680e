"""`forebay worker`: makes submitted predictions; says how the queue is; lists and requeues dead letters."""

from __future__ import annotations

import asyncio
import logging
import sys

import click

from cli.console import instant, print_json, print_table
from cli.options import json_option, target_options, target_settings
from cli.serving import LOG_FORMAT
from cli.target import Target, open_target, require_applied, store_url
from gateway.submissions.inspection import DeadLetter, Inspection, QueueStatus
from gateway.worker_app import work
from runtime.process import run
from runtime.settings import Settings

_MOST_LISTED = 10_000


@click.group(invoke_without_command=True)
@target_options
@click.pass_context
def worker(context: click.Context, app: str | None, redis_url: str | None, artifacts: str | None) -> None:
    """Make predictions that were submitted (SubmitPrediction) until SIGTERM or Ctrl-C.

    Any number of workers share an application's queue. When the release is loaded, one line on stdout says
    so: `ready worker=NAME app=APP`. On SIGTERM the mini-batch under way is ended first. The log goes to
    stderr.

    \b
      forebay worker --app movies
      forebay worker status --app movies
      forebay worker dead-letters list --app movies
    """
    if context.invoked_subcommand is not None:
        if app or redis_url or artifacts:
            name = context.invoked_subcommand
            raise click.UsageError(f"give the options after the subcommand: forebay worker {name} --app NAME")
        return
    settings = target_settings(app, redis_url, artifacts)
    url = store_url(settings)
    if not settings.app:
        settings = settings.model_copy(update={"app": asyncio.run(_only_app(settings))})
    code = _work(settings, url)
    if code:
        raise click.exceptions.Exit(code)


def _work(settings: Settings, url: str) -> int:
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)

    def announce(name: str) -> None:
        click.echo(f"ready worker={name} app={settings.app}")

    async def main(stop: asyncio.Event) -> int:
        counts = await work(settings, url, stop, announce)
        logging.getLogger(__name__).info("ended: %s", counts)
        return 0

    return run(main)


async def _only_app(settings: Settings) -> str:
    async with open_target(settings) as target:
        return target.app


@worker.command()
@target_options
@json_option
def status(app: str | None, redis_url: str | None, artifacts: str | None, as_json: bool) -> None:
    """Say how many predictions wait, how many are being made, how old the oldest is, and who works."""
    settings = target_settings(app, redis_url, artifacts)

    async def inspected() -> QueueStatus:
        async with open_target(settings) as target:
            await require_applied(target)
            return await _inspection(target).status()

    found = asyncio.run(inspected())
    if as_json:
        print_json(found.as_json())
        return
    facts = {
        "waiting": found.waiting,
        "being made": found.taken,
        "oldest, seconds": found.oldest_age_s,
        "dead letters": found.dead_letters,
    }
    print_table([{"what": what, "is": value} for what, value in facts.items()], ["what", "is"], empty="")
    rows = [
        {"worker": one.name, "has taken": one.taken, "last heard of, seconds ago": one.idle_s}
        for one in found.workers
    ]
    print_table(
        rows,
        ["worker", "has taken", "last heard of, seconds ago"],
        empty="no worker: run `forebay worker`",
    )


@worker.group("dead-letters")
def dead_letters() -> None:
    """Predictions that were given up: list them, or put them back into the queue."""


@dead_letters.command("list")
@click.option(
    "--limit", type=click.IntRange(1, _MOST_LISTED), default=20, show_default=True, help="The newest so many."
)
@target_options
@json_option
def list_letters(
    limit: int, app: str | None, redis_url: str | None, artifacts: str | None, as_json: bool
) -> None:
    """List dead letters, the newest first: which prediction, why, when, after how many attempts."""
    settings = target_settings(app, redis_url, artifacts)

    async def listed() -> list[DeadLetter]:
        async with open_target(settings) as target:
            await require_applied(target)
            return await _inspection(target).dead_letters(limit)

    found = asyncio.run(listed())
    if as_json:
        print_json([letter.as_json() for letter in found])
        return
    rows = [
        {
            "letter": letter.id,
            "prediction": letter.prediction_id,
            "pipeline": letter.pipeline,
            "at": instant(letter.at_us),
            "attempts": letter.deliveries,
            "reason": letter.reason,
        }
        for letter in found
    ]
    columns = ["letter", "prediction", "pipeline", "at", "attempts", "reason"]
    print_table(rows, columns, empty="no dead letters")


@dead_letters.command()
@click.argument("letters", nargs=-1, metavar="[LETTER]...")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@target_options
def requeue(
    letters: tuple[str, ...], everything: bool, app: str | None, redis_url: str | None, artifacts: str | None
) -> None:
    """Put dead letters back into the queue: their predictions are pending again, under the same ids."""
    if bool(letters) == everything:
        raise click.UsageError("name the letters, or give --all")
    settings = target_settings(app, redis_url, artifacts)

    async def requeued() -> int:
        async with open_target(settings) as target:
            await require_applied(target)
            inspection = _inspection(target)
            names = list(letters)
            if everything:
                names = [letter.id for letter in await inspection.dead_letters(_MOST_LISTED)]
            return sum([await inspection.requeue(name) for name in names])

    click.echo(f"requeued {asyncio.run(requeued())}")


def _inspection(target: Target) -> Inspection:
    return Inspection(target.connection, target.app, target.settings.submissions, target.clock)
