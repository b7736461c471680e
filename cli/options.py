"""The options that many commands share, and the settings that they give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from runtime.settings import Settings, load_settings

Command = TypeVar("Command", bound=Callable[..., Any])

_TARGET = (
    click.option(
        "--app", metavar="NAME", help="The application. Default: FOREBAY_APP, or the only one applied."
    ),
    click.option(
        "--redis",
        "redis_url",
        metavar="URL",
        help="Where the store and the registry live. Default: FOREBAY_REDIS_URL, or an embedded store.",
    ),
    click.option(
        "--artifacts", metavar="DIR", help="Where index snapshots live. Default: .forebay/artifacts."
    ),
)


def target_options(command: Command) -> Command:
    """Give a command --app, --redis and --artifacts; it receives `app`, `redis_url` and `artifacts`."""
    for option in reversed(_TARGET):
        command = option(command)
    return command


def json_option(command: Command) -> Command:
    """Give a command --json; it receives `as_json`."""
    option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
    return option(command)


def target_settings(app: str | None, redis_url: str | None, artifacts: str | None, **flags: Any) -> Settings:
    """Return the settings that the flags, the environment and the file give. Raises: SettingsError."""
    return load_settings(app=app, redis_url=redis_url, artifacts=artifacts, **flags)
