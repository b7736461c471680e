"""The command line as a whole: the table of commands, the help, exit codes, one-line failures."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import click
import pytest
from forebay.errors import Conflict, InvalidRequest, NotFound, NotUsable, Unavailable

from cli.failures import describe, exit_code
from cli.main import ENTRIES, run
from jobs.refused import Refused
from registry.application_file import ApplicationFileError, Problem
from runtime.settings import SettingsError


@pytest.mark.parametrize("name", ENTRIES)
def test_every_command_of_the_table_is_there_with_a_help(name: str) -> None:
    entry = ENTRIES[name]
    command = getattr(importlib.import_module(entry.module), entry.attribute)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.help


@pytest.mark.parametrize("name", ENTRIES)
def test_help_of_every_command_is_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert "Usage: forebay " + name in capsys.readouterr().out


def test_help_lists_every_command_and_loads_none_of_them() -> None:
    code = (
        "import sys; from cli.main import run; run(['--help']);"
        "heavy = ('duckdb', 'ibis', 'faiss', 'onnxruntime', 'pyarrow');"
        "print([name for name in heavy if name in sys.modules])"
    )
    root = Path(__file__).parents[3]
    path = f"{root}:{root / 'sdk'}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": path}
    )
    assert all(name in done.stdout for name in ENTRIES)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["--nothing"],
        ["refresh", "nothing"],
        ["apply"],
        ["apply", "/no/such/file.yaml"],
        ["index"],
    ],
)
def test_usage_is_wrong_when_arguments_are(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("a rule"), 3),
        (InvalidRequest("usage"), 2),
        (NotFound("a name"), 2),
        (SettingsError(["x: wrong"]), 2),
        (ApplicationFileError([Problem("views.a", 3, "wrong")], Path("app.yaml")), 2),
        (NotUsable("state"), 1),
        (Unavailable("redis"), 1),
        (Conflict("lost"), 1),
        (OSError("disk"), 1),
        (KeyError("a bug"), 1),
    ],
)
def test_exit_code_is_that_of_the_kind_of_failure(error: Exception, code: int) -> None:
    assert exit_code(error) == code
    assert describe(error)


def test_mistakes_of_a_file_are_printed_as_compilers_do() -> None:
    problems = [Problem("views.b", 7, "worse"), Problem("views.a", 3, "wrong")]
    lines = describe(ApplicationFileError(problems, Path("app.yaml"))).splitlines()
    assert lines == ["app.yaml:3: views.a: wrong", "app.yaml:7: views.b: worse"]


def test_wrong_setting_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--app", "x", "--bind", "0.0.0.0:1"]) == 2
    assert "server.bind" in capsys.readouterr().err
