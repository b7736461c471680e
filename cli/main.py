"""The `forebay` command: which subcommand lives in which file, and which failure is which exit code.

A subcommand's file is imported when it is run, by the table below: `forebay --help` loads none of them.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

import click

import runtime.threads  # noqa: F401  before whatever loads OpenMP
from cli.failures import describe, exit_code
from jobs.code_version import code_version


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a subcommand is (`module`, `attribute`), and its line in the help."""

    module: str
    attribute: str
    help: str


OWN_PACKAGES = ("cli", "jobs", "gateway", "feature_store", "ann_index", "model_server", "registry", "runtime")

ENTRIES = {
    "demo": Entry("cli.demo", "demo", "Recommend real movies to real people, end to end, in two minutes."),
    "doctor": Entry("cli.doctor", "doctor", "Check what this machine lacks, and say how to fix it."),
    "plan": Entry("cli.apply", "plan", "Show what applying FILE would change."),
    "apply": Entry("cli.apply", "apply", "Check an application file, and make it the applied one."),
    "refresh": Entry("cli.refresh", "refresh", "Load views from their batch sources, and publish them."),
    "index": Entry("cli.index", "index", "Build, publish, list and roll back vector indexes."),
    "precompute": Entry(
        "cli.precompute", "precompute", "Make a pipeline's answers before they are asked for."
    ),
    "training-set": Entry(
        "cli.training_set", "training_set", "Join labels to the features that were known at their time."
    ),
    "stream": Entry("cli.stream", "stream", "Feed views from streams of events; publish events."),
    "tune": Entry("cli.tune", "tune", "Find by history how seldom a view may be refreshed."),
    "serve": Entry("cli.serve", "serve", "Serve predictions, features and similar entities."),
    "worker": Entry("cli.worker", "worker", "Make predictions that were submitted; list those given up."),
    "trace": Entry("cli.trace", "trace", "Draw a recent request: its steps, what each took and was given."),
    "releases": Entry("cli.releases", "releases", "List what was published, when, by whom and why."),
    "batches": Entry(
        "cli.batches", "batches", "List the refreshes and the like that ran, and how they ended."
    ),
    "store": Entry("cli.store", "store", "Say where the embedded store is, or stop it."),
}


class EntryGroup(click.Group):
    """A group that imports a subcommand's module when the subcommand is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names in the order of the table: the order in which a newcomer needs them."""
        return list(ENTRIES)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return the command of that name."""
        entry = ENTRIES.get(name)
        if entry is None:
            return None
        try:
            command: click.Command = getattr(importlib.import_module(entry.module), entry.attribute)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in OWN_PACKAGES:
                raise
            raise click.ClickException(
                f"`forebay {name}` needs the package {error.name}, which is not installed: `make setup` in a "
                "checkout installs everything, `forebay doctor` says what is missing"
            ) from error
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table's lines, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in ENTRIES.items()])


_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=EntryGroup, context_settings=_CONTEXT)
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
@click.version_option(code_version(), prog_name="forebay", message="%(prog)s %(version)s")
def forebay(debug: bool) -> None:
    """An online feature store and prediction gateway.

    One YAML file says what there is; these commands apply it, fill it and serve it:

    \b
      forebay apply app.yaml          check the file, make it the applied one
      forebay refresh run             load the views from their batch sources
      forebay index build NAME        build an index, publish it if it is good enough
      forebay serve --app NAME        serve it

    Without a Redis URL (--redis, FOREBAY_REDIS_URL or forebay.toml) commands share an embedded store, whose
    data lives in .forebay/. Exit codes: 0 done, 1 failed, 2 bad usage, file or setting, 3 refused by a rule.
    """


def run(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code. A failure is one line on stderr, never a traceback."""
    try:
        code = forebay.main(args=list(arguments), prog_name="forebay", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("stopped", err=True)
        return 1
    except Exception as error:  # noqa: BLE001  the outermost frame: whatever it is, it is one line and an exit code
        if "--debug" in arguments:
            traceback.print_exception(error)
        click.echo(describe(error), err=True)
        return exit_code(error)
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run as the process's entry point."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
