"""`forebay serve`: the gateway as a process, or as several that share one port."""

from __future__ import annotations

import asyncio

import click

from cli.options import target_options, target_settings
from cli.processes import run_processes
from cli.serving import serve_here
from cli.target import open_target, store_url
from gateway.app import Addresses
from runtime.settings import Settings


@click.command()
@target_options
@click.option("--bind", metavar="HOST:PORT", help="Where to serve. Default: 127.0.0.1:8500. Port 0: any.")
@click.option("--admin", metavar="HOST:PORT", help="The admin port. Default: 127.0.0.1:8501. Port 0: any.")
@click.option("--processes", type=click.IntRange(1, 256), help="How many share the port. Default: 1.")
def serve(
    app: str | None,
    redis_url: str | None,
    artifacts: str | None,
    bind: str | None,
    admin: str | None,
    processes: int | None,
) -> None:
    """Serve the application's pipelines, features and indexes over gRPC until SIGTERM or Ctrl-C.

    New releases are put in service as they are published. When the first one is, one line on stdout says
    where: `ready gateway=HOST:PORT admin=HOST:PORT`. The log goes to stderr. With several processes the admin
    port is the first one's.

    \b
      forebay serve --app movies
      forebay serve --app movies --bind 127.0.0.1:0 --admin 127.0.0.1:0
    """
    flags = {"server__bind": bind, "server__admin": admin, "server__processes": processes}
    settings = target_settings(app, redis_url, artifacts, **flags)
    url = store_url(settings)
    if not settings.app:
        settings = settings.model_copy(update={"app": asyncio.run(_only_app(settings))})
    run = run_processes if settings.server.processes > 1 else serve_here
    code = run(settings, url, _announce)
    if code:
        raise click.exceptions.Exit(code)


def _announce(addresses: Addresses) -> None:
    click.echo(f"ready gateway={addresses.gateway} admin={addresses.admin}")


async def _only_app(settings: Settings) -> str:
    async with open_target(settings) as target:
        return target.app
