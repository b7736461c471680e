"""How commands print: tables for people or JSON for programs on stdout, progress and remarks on stderr."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH_WITHOUT_A_TERMINAL = 160
"""Columns of a table that goes into a pipe or a file: wide, so that nothing is cut off."""


def stdout() -> Console:
    """Return the console of results."""
    return _sized(Console(highlight=False))


def stderr() -> Console:
    """Return the console of progress and remarks."""
    return _sized(Console(stderr=True, highlight=False))


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str], *, empty: str) -> None:
    """Print the named columns of `rows`, numbers to the right; `empty` where there are no rows."""
    if not rows:
        click.echo(empty)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        numeric = all(isinstance(row.get(column), (int, float, type(None))) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    stdout().print(table)


def instant(at_us: int) -> str:
    """Return microseconds UTC as a person reads them; empty for none."""
    if not at_us:
        return ""
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _sized(console: Console) -> Console:
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_A_TERMINAL
    return console
