"""`forebay store`: the embedded store that commands share where no Redis is set."""

from __future__ import annotations

import click

from runtime.embedded_store import join_embedded_store, stop_embedded_store
from runtime.settings import load_settings


@click.group()
def store() -> None:
    """Say where the embedded store is, or stop it. Its data stays in .forebay/."""


@store.command()
def start() -> None:
    """Start the embedded store, if it doesn't run, and print its URL."""
    joined = join_embedded_store(load_settings().redis.embedded_directory)
    click.echo(f"{joined.url} ({joined.version}, {joined.program})")


@store.command()
def stop() -> None:
    """Stop the embedded store, its data written to disk first."""
    directory = load_settings().redis.embedded_directory
    click.echo("stopped" if stop_embedded_store(directory) else f"no store runs in {directory}")
